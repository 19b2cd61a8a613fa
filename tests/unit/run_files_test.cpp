#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/run_files.hpp>

#include "cli/outputs.hpp"

namespace wayfarer {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

struct run_files : testing::Test {
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "wayfarer-run-files-XXXXXX").string();
    folder = ::mkdtemp(name.data());
    rule.option = "--out", rule.wanted = "a result", rule.force = "--force";
    rule.is_own = [](std::string const& path) { return read_text(path, 100) == "own"; };
  }
  void TearDown() override {
    provide_run_inputs({});
    fs::remove_all(folder);
  }
  std::string put(std::string const& name, std::string const& text = "foreign") const {
    std::ofstream(folder / name) << text;
    return at(name);
  }
  std::string at(std::string const& name) const { return (folder / name).string(); }
  std::string refusal(std::string const& path) const {
    try {
      check_output(path, rule);
    } catch (usage_error const& e) {
      EXPECT_THAT(e.what(), HasSubstr("--out " + (path.empty() ? "''" : path) + ": "));
      return e.what();
    }
    return "";
  }

  fs::path folder;
  output_rule rule;
};

TEST_F(run_files, an_output_takes_the_place_of_nothing_or_of_an_earlier_output) {
  auto const fresh = check_output(at("new.h5"), rule);
  EXPECT_EQ(fresh.path, at("new.h5"));
  EXPECT_FALSE(fresh.replaces);
  EXPECT_TRUE(check_output(put("old.h5", "own"), rule).replaces);
  EXPECT_THAT(refusal(put("thesis.txt")), AllOf(HasSubstr("not a result"), HasSubstr("--force")));
  rule.forced = true;
  EXPECT_TRUE(check_output(at("thesis.txt"), rule).replaces);
}

TEST_F(run_files, an_output_is_never_what_is_no_regular_file) {
  fs::create_directory(folder / "sub");
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", at("to_pipe"));
  for (bool const forced : {false, true}) {
    rule.forced = forced;
    EXPECT_THAT(refusal(""), HasSubstr("is empty"));
    EXPECT_THAT(refusal(at("sub")), HasSubstr("is a folder"));
    EXPECT_THAT(refusal(at("sub/")), HasSubstr("is a folder"));
    EXPECT_THAT(refusal(at("none/r.h5")), AllOf(HasSubstr("there is no folder"), HasSubstr("mkdir -p " + at("none"))));
    EXPECT_THAT(refusal(put("file") + "/r.h5"), HasSubstr("is not a folder"));
    EXPECT_THAT(refusal(at("pipe")), HasSubstr("is a pipe"));
    EXPECT_THAT(refusal(at("to_pipe")), HasSubstr("is a pipe"));
    EXPECT_THAT(refusal("/dev/null"), HasSubstr("is a device"));
    EXPECT_THAT(refusal(at(std::string(256, 'x'))), HasSubstr("longer than"));
  }
}

TEST_F(run_files, an_output_is_never_an_input_whatever_leads_to_it) {
  put("p.yaml");
  fs::create_directory(folder / "model");
  put("model/weights", "foreign");
  put("blob");
  fs::create_symlink("../blob", at("model/linked"));
  put("model/earlier.h5", "own");
  put("named.h5", "own");
  fs::create_hard_link(at("model/weights"), at("hard"));
  fs::create_symlink("p.yaml", at("soft"));
  fs::create_symlink("model", at("same_model"));
  provide_run_inputs({at("p.yaml"), at("same_model"), at("named.h5"), at("missing")});
  for (bool const forced : {false, true}) {
    rule.forced = forced;
    EXPECT_THAT(refusal(at("p.yaml")), HasSubstr("is read by this run"));
    EXPECT_THAT(refusal(at("soft")), AllOf(HasSubstr("leads to"), HasSubstr("is read by this run")));
    EXPECT_THAT(refusal(at("hard")), HasSubstr("is read by this run as " + at("same_model/weights")));
    EXPECT_THAT(refusal(at("blob")), HasSubstr("is read by this run as " + at("same_model/linked")));
    EXPECT_THAT(refusal(at("named.h5")), HasSubstr("is read by this run"));
  }
  rule.forced = false;
  EXPECT_TRUE(check_output(at("model/earlier.h5"), rule).replaces) << "no model is read from a result";
  EXPECT_FALSE(check_output(at("model/new.h5"), rule).replaces);
}

TEST_F(run_files, a_link_is_followed_and_may_lead_to_a_file_that_is_still_to_come) {
  put("old.h5", "own");
  fs::create_symlink("old.h5", at("a"));
  fs::create_symlink(at("a"), at("b"));
  EXPECT_EQ(fs::path(check_output(at("b"), rule).path).lexically_normal(), at("old.h5"));
  fs::create_symlink("to_come.h5", at("c"));
  EXPECT_EQ(fs::path(check_output(at("c"), rule).path).lexically_normal(), at("to_come.h5"));
  fs::create_symlink("loop", at("loop"));
  EXPECT_THAT(refusal(at("loop")), HasSubstr("leads to itself"));
}

TEST_F(run_files, a_read_only_file_needs_force) {
  put("old.h5", "own");
  fs::permissions(at("old.h5"), fs::perms::owner_read);
  EXPECT_THAT(refusal(at("old.h5")), HasSubstr("may not be written"));
  rule.forced = true;
  EXPECT_TRUE(check_output(at("old.h5"), rule).replaces);
}

TEST_F(run_files, replacing_a_file_keeps_its_mode) {
  put("old");
  fs::permissions(at("old"), static_cast<fs::perms>(0640));
  write_file_atomically(at("old"), std::string_view("new"));
  EXPECT_EQ(fs::status(at("old")).permissions(), static_cast<fs::perms>(0640));
  EXPECT_EQ(read_text(at("old"), 10), "new");
}

TEST_F(run_files, what_was_read_is_remembered_as_a_file) {
  provide_run_inputs({});
  auto const read = put("read"), mapped = put("mapped"), ignored = put("ignored");
  fs::create_hard_link(read, at("other_name"));
  read_text(read, 100);
  mapped_file const map(mapped);
  EXPECT_TRUE(was_read(*identity_of(at("other_name"))));
  EXPECT_TRUE(was_read(*identity_of(mapped)));
  EXPECT_FALSE(was_read(*identity_of(ignored)));
  note_read(ignored);
  EXPECT_TRUE(was_read(*identity_of(ignored)));
  EXPECT_FALSE(identity_of(at("none")));
}

TEST(result_names, are_made_of_settings) {
  host::settings const known{{"seed", "7"}, {"m.path", "a/b"}, {"m.up", ".."}, {"m.d_model", "32"}, {"m.odd", "x\ny"}};
  EXPECT_EQ(host::fill_in("r.h5", known), "r.h5");
  EXPECT_EQ(host::fill_in("out/s{seed}-{m.d_model}.h5", known), "out/s7-32.h5");
  EXPECT_EQ(host::fill_in("{m.path}.h5", known), "a%2Fb.h5");
  EXPECT_EQ(host::fill_in("{m.up}/r.h5", known), "%2E%2E/r.h5");
  EXPECT_EQ(host::fill_in("{m.odd}", known), "x\\x0ay");
  EXPECT_EQ(host::fill_in("{{seed}}", known), "{seed}");
  auto const wrong = [&](std::string const& name) {
    try {
      host::fill_in(name, known);
    } catch (usage_error const& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(wrong("{sed}.h5"), HasSubstr("did you mean 'seed'?"));
  EXPECT_THAT(wrong("{m.dmodel}"), HasSubstr("did you mean 'm.d_model'?"));
  EXPECT_THAT(wrong("{}"), HasSubstr("no setting ''"));
  EXPECT_THAT(wrong("a{seed"), HasSubstr("'{' is not closed"));
  EXPECT_THAT(wrong("seed}"), HasSubstr("'}' is not opened"));
}

}  // namespace
}  // namespace wayfarer
