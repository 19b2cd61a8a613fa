// Libraries that must be refused: each with its own message, exit code 4, and never a crash. In process through load_plugin, and
// through the real command line in a process of its own.
#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/source.hpp>
#include <wayfarer/version.hpp>

#include "registry/registry.hpp"

namespace {

namespace fs = std::filesystem;
using namespace wayfarer;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

fs::path const fixtures = WAYFARER_HOSTILE_DIR;
std::string const host_sdk = "SDK " + std::to_string(WAYFARER_SDK_MAJOR) + "." + std::to_string(WAYFARER_SDK_MINOR);

fs::path fixture(std::string const& id) {
  return fixtures / ("wayfarer_" + id + ".so");
}

/// A folder that is removed with its contents.
class scratch {
 public:
  scratch() {
    std::string name = testing::TempDir() + "wayfarer-hostile-XXXXXX";
    if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = fs::canonical(name);
  }
  ~scratch() { fs::remove_all(path_); }
  scratch(scratch const&) = delete;
  scratch& operator=(scratch const&) = delete;
  fs::path operator/(std::string const& name) const { return path_ / name; }
  fs::path const& path() const { return path_; }

 private:
  fs::path path_;
};

std::string bytes_of(fs::path const& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(fs::path const& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

struct outcome {
  int code = -1;  ///< exit code, -1 if a signal ended it
  int signal = 0;
  std::string text;  ///< standard output and standard error
};

outcome wayfarer_cli(std::string const& arguments) {
  std::string const command = "WAYFARER_PLUGIN_PATH= '" WAYFARER_BINARY "' " + arguments + " 2>&1";
  outcome result;
  FILE* const pipe = ::popen(("exec env " + command).c_str(), "r");
  if (!pipe) throw std::runtime_error("can't start a shell");
  std::array<char, 4096> some{};
  while (std::size_t const n = std::fread(some.data(), 1, some.size(), pipe)) result.text.append(some.data(), n);
  int const status = ::pclose(pipe);
  if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

outcome describe(fs::path const& folder, std::string const& id) {
  return wayfarer_cli("plugins describe " + id + " --plugin-path '" + folder.string() + "'");
}

std::string refusal(fs::path const& library) {
  try {
    host::load_plugin(library);
  } catch (plugin_error const& e) {
    return e.what();
  }
  return "it was loaded";
}

struct bad_library {
  char const* id;
  std::vector<std::string> says;
};

void PrintTo(bad_library const& b, std::ostream* out) {
  *out << b.id;
}

class refused : public testing::TestWithParam<bad_library> {};

TEST_P(refused, in_process) {
  auto const library = fixture(GetParam().id);
  auto const text = refusal(library);
  EXPECT_THAT(text, StartsWith(library.string() + ": "));
  for (auto const& part : GetParam().says) EXPECT_THAT(text, HasSubstr(part));
}

TEST_P(refused, again_with_the_same_words) {
  EXPECT_EQ(refusal(fixture(GetParam().id)), refusal(fixture(GetParam().id)));
}

TEST_P(refused, by_the_program_with_exit_code_4) {
  auto const told = describe(fixtures, GetParam().id);
  EXPECT_EQ(told.code, 4) << "signal " << told.signal << "\n" << told.text;
  EXPECT_THAT(told.text, HasSubstr(fixture(GetParam().id).string() + ": "));
  for (auto const& part : GetParam().says) EXPECT_THAT(told.text, HasSubstr(part));
}

std::string const next_major = "SDK " + std::to_string(WAYFARER_SDK_MAJOR + 7) + "." + std::to_string(WAYFARER_SDK_MINOR);
std::string const next_minor = "SDK " + std::to_string(WAYFARER_SDK_MAJOR) + "." + std::to_string(WAYFARER_SDK_MINOR + 1);

INSTANTIATE_TEST_SUITE_P(
    library, refused,
    testing::Values(
        bad_library{"no_symbol", {"no function wayfarer_plugin", "WAYFARER_SOURCE", host_sdk}},
        bad_library{"data_symbol", {"no function wayfarer_plugin"}},
        bad_library{"borrowed_symbol", {"no function wayfarer_plugin"}},
        bad_library{"undefined_symbol", {"can't be loaded", "wayfarer_fixture_function_that_nobody_has", "rebuild"}},
        bad_library{"throws_at_load", {"can't be loaded", "static objects", "static trouble"}},
        bad_library{"crashes_at_load", {"can't be loaded", "ended the process", "Aborted"}},
        bad_library{"exits_at_load", {"can't be loaded", "ended the process"}},
        bad_library{"throws_descriptor", {"wayfarer_plugin() threw", host_sdk}},
        bad_library{"null_descriptor", {"returns no descriptor", host_sdk}},
        bad_library{"wild_descriptor", {"not into the library", host_sdk}},
        bad_library{"wrong_magic", {"wrong magic", "rebuild", host_sdk}},
        bad_library{"truncated_descriptor", {"truncated descriptor", "64 bytes", "136", host_sdk, "rebuild"}},
        bad_library{"no_tail", {"truncated descriptor", "end mark", host_sdk}},
        bad_library{"wrong_major", {"built for " + next_major, "this host has " + host_sdk, "major versions", "rebuild"}},
        bad_library{"newer_minor",
                    {"built for " + next_minor, "newer than this host's " + host_sdk, "update the host or rebuild"}},
        bad_library{"wrong_tag", {"'itanium-libc++'", WAYFARER_ABI_TAG, host_sdk, "compiler"}},
        bad_library{"wrong_id", {"'another_name'", "'wrong_id'", "rename the file to wayfarer_another_name.so"}},
        bad_library{"path_id", {"its id \"../path_id\" is not a plugin id"}},
        bad_library{"unknown_kind", {"kind 9", "source, model, probe, metric", host_sdk}},
        bad_library{"null_text", {"the version is a null pointer", host_sdk}},
        bad_library{"wild_text", {"the summary is not in the library"}},
        bad_library{"terminal_escape", {"the summary is not one line of plain UTF-8 text", "\\x1b"}},
        bad_library{"wild_constructor", {"its constructor is not in the library"}},
        bad_library{"wild_table", {"its table of parameters is not in the library"}},
        bad_library{"endless_table", {"4294967295 parameters", "at most 256"}},
        bad_library{"beyond_table", {"its table of ports is not in the library"}},
        bad_library{"old_descriptor", {"no list of the types that it was compiled with", host_sdk, "build it again"}},
        bad_library{"no_layouts", {"its list of the types that it was compiled with is empty", host_sdk, "build it again"}},
        bad_library{"wild_layouts", {"its list of types is not in the library"}},
        bad_library{"wild_member", {"a name in the list of 'param_value' is no short plain text in the library"}},
        bad_library{"dropped_layouts", {"its list of types lacks 'metric'", "the section wayfarer_layouts"}},
        bad_library{"other_layout",
                    {"another 'param_value' (wayfarer/config.hpp)", "'value_' is at byte 8 there, and at byte 0", host_sdk,
                     "build it again with the headers of this host"}},
        bad_library{"host_key", {"'sweep.two' is taken", "'sweep' is a key of the host's own"}},
        bad_library{"same_name_twice", {"two of its parameters and ports are called 'one'"}},
        bad_library{"bad_choice", {"the default \"lion\" of the parameter 'optimizer' is none of its choices, \"adam|sgd\""}}),
    [](auto const& which) { return std::string(which.param.id); });

// ---- files that are no libraries ----

TEST(hostile_file, text_empty_folder_pipe_and_links) {
  scratch const here;
  write(here / "wayfarer_words.so", "nodes: {}\n");
  write(here / "wayfarer_nothing.so", "");
  fs::create_directory(here / "wayfarer_folder.so");
  ASSERT_EQ(::mkfifo((here / "wayfarer_pipe.so").c_str(), 0600), 0);
  fs::create_symlink(fixture("well_made"), here / "wayfarer_well_made.so");
  fs::create_symlink(here / "not_there", here / "wayfarer_dangling.so");
  std::vector<bad_library> const expected{{"words", {"not an ELF shared library"}},
                                          {"nothing", {"an empty file"}},
                                          {"folder", {"a folder, not a shared library"}},
                                          {"pipe", {"not a regular file"}},
                                          {"well_made", {"leads out of its folder", fixture("well_made").string()}},
                                          {"dangling", {"can't be opened"}}};
  for (auto const& e : expected) {
    SCOPED_TRACE(e.id);
    auto const text = refusal(here / ("wayfarer_" + std::string(e.id) + ".so"));
    for (auto const& part : e.says) EXPECT_THAT(text, HasSubstr(part));
    auto const told = describe(here.path(), e.id);
    EXPECT_EQ(told.code, 4) << told.text;
    EXPECT_THAT(told.text, HasSubstr(text));
  }
}

TEST(hostile_file, the_host_itself_is_no_plugin) {
  scratch const here;
  fs::copy_file(WAYFARER_BINARY, here / "wayfarer_host.so");
  fs::copy_file(WAYFARER_BINARY, here / "wayfarer_hardlink.so");
  EXPECT_EQ(describe(here.path(), "host").code, 4);
}

TEST(hostile_file, link_within_the_folder_is_fine) {
  scratch const here;
  fs::copy_file(fixture("well_made"), here / "wayfarer_well_made.so.1");
  fs::create_symlink("wayfarer_well_made.so.1", here / "wayfarer_well_made.so");
  EXPECT_EQ(describe(here.path(), "well_made").code, 0);
}

TEST(hostile_file, name_is_not_a_plugins) {
  scratch const here;
  fs::copy_file(fixture("well_made"), here / "libwell_made.so");
  EXPECT_THAT(refusal(here / "libwell_made.so"), HasSubstr("wayfarer_ID.so"));
  EXPECT_THAT(refusal("wayfarer_.so"), HasSubstr("wayfarer_ID.so"));
  EXPECT_THAT(refusal("wayfarer_so"), HasSubstr("wayfarer_ID.so"));
}

TEST(hostile_file, anybody_may_write_to_it_or_its_folders) {
  scratch const here;
  auto const library = here / "wayfarer_well_made.so";
  fs::copy_file(fixture("well_made"), library);
  fs::permissions(library, fs::perms::others_write, fs::perm_options::add);
  EXPECT_THAT(refusal(library), HasSubstr("every user may write to it"));
  fs::permissions(library, fs::perms::others_write, fs::perm_options::remove);
  fs::permissions(here.path(), fs::perms::others_write, fs::perm_options::add);
  EXPECT_THAT(refusal(library), AllOf(HasSubstr("every user may write to the folder"), HasSubstr("chmod o-w")));
  fs::permissions(here.path(), fs::perms::others_write, fs::perm_options::remove);
  EXPECT_EQ(refusal(library), "it was loaded");
}

TEST(hostile_file, another_machine_class_or_type) {
  scratch const here;
  std::string const good = bytes_of(fixture("well_made"));
  auto const refusal_with = [&](std::size_t at, std::uint16_t value, std::size_t size) {
    std::string spoiled = good;
    std::memcpy(spoiled.data() + at, &value, size);
    write(here / "wayfarer_well_made.so", spoiled);
    return refusal(here / "wayfarer_well_made.so");
  };
  EXPECT_THAT(refusal_with(offsetof(Elf64_Ehdr, e_machine), EM_S390, 2),
              AllOf(HasSubstr("another kind of machine"), HasSubstr("build it on this one")));
  EXPECT_THAT(refusal_with(EI_CLASS, ELFCLASS32, 1), HasSubstr("another kind of machine"));
  EXPECT_THAT(refusal_with(offsetof(Elf64_Ehdr, e_type), ET_EXEC, 2), HasSubstr("not a shared library"));
  EXPECT_THAT(refusal_with(offsetof(Elf64_Ehdr, e_phentsize), 1, 2), HasSubstr("program headers"));
  EXPECT_THAT(refusal_with(offsetof(Elf64_Ehdr, e_phnum), 0xffff, 2), HasSubstr("table of segments"));
  EXPECT_THAT(refusal_with(offsetof(Elf64_Ehdr, e_shnum), 0xfeff, 2), HasSubstr("table of sections"));
}

TEST(hostile_file, segment_beyond_the_end) {
  scratch const here;
  std::string spoiled = bytes_of(fixture("well_made"));
  Elf64_Ehdr head;
  std::memcpy(&head, spoiled.data(), sizeof head);
  for (std::uint64_t const offset : {std::uint64_t{1} << 40, ~std::uint64_t{0} - 10}) {
    Elf64_Phdr segment;
    std::memcpy(&segment, spoiled.data() + head.e_phoff, sizeof segment);
    segment.p_offset = offset;
    std::memcpy(spoiled.data() + head.e_phoff, &segment, sizeof segment);
    write(here / "wayfarer_well_made.so", spoiled);
    EXPECT_THAT(refusal(here / "wayfarer_well_made.so"), HasSubstr("truncated or damaged: a segment"));
  }
}

// A mapped file that is shorter than its headers say is SIGBUS in the dynamic loader. A process each, so that one crash is one
// failure.
TEST(hostile_file, cut_anywhere) {
  scratch const here;
  std::string const whole = bytes_of(fixture("well_made"));
  ASSERT_GT(whole.size(), 4096u);
  std::vector<std::size_t> cuts{1, 3, 4, 15, 16, 17, 63, 64, 65, 100, whole.size() - 1, whole.size() - 63, whole.size() - 64};
  for (std::size_t i = 1; i < 40; ++i) cuts.push_back(whole.size() * i / 40);
  for (std::size_t const n : cuts) {
    SCOPED_TRACE("cut after " + std::to_string(n) + " of " + std::to_string(whole.size()) + " bytes");
    write(here / "wayfarer_well_made.so", whole.substr(0, n));
    auto const told = describe(here.path(), "well_made");
    EXPECT_EQ(told.signal, 0);
    EXPECT_EQ(told.code, 4) << told.text;
    EXPECT_THAT(told.text, HasSubstr((here / "wayfarer_well_made.so").string() + ": "));
  }
  write(here / "wayfarer_well_made.so", whole);
  EXPECT_EQ(describe(here.path(), "well_made").code, 0);
}

// ---- plugins that misbehave when they are made ----

class throwing_constructor : public testing::TestWithParam<std::pair<char const*, char const*>> {};

TEST_P(throwing_constructor, is_an_error_that_names_node_plugin_and_library) {
  auto const [id, says] = GetParam();
  scratch const here;
  write(here / "p.yaml", "title: A plugin that fails\nnodes:\n  broken_node: {source: " + std::string(id) + "}\n");
  for (std::string const verb : {"check", "run"}) {
    auto const told = wayfarer_cli(verb + " '" + (here / "p.yaml").string() + "' --plugin-path '" + fixtures.string() + "'" +
                                   (verb == "run" ? " --out '" + (here / "r.h5").string() + "'" : ""));
    EXPECT_EQ(told.code, 4) << "signal " << told.signal << "\n" << told.text;
    EXPECT_THAT(told.text, AllOf(HasSubstr("broken_node"), HasSubstr(id), HasSubstr(says), HasSubstr(fixture(id).string())));
    EXPECT_FALSE(fs::exists(here / "r.h5"));
  }
}

INSTANTIATE_TEST_SUITE_P(library, throwing_constructor,
                         testing::Values(std::pair("throws_error", "the moon is wrong"),
                                         std::pair("throws_int", "not an exception")),
                         [](auto const& which) { return std::string(which.param.first); });

TEST(throwing_constructor_in_process, comes_out_unchanged) {
  host::registry plugins({fixtures});
  config const none;
  EXPECT_THROW(plugins.find("throws_error")->create<source>(none), std::runtime_error);
  EXPECT_THROW(plugins.find("throws_int")->create<source>(none), int);
}

TEST(refused_library_in_a_pipeline, is_named_with_exit_code_4) {
  scratch const here;
  write(here / "p.yaml", "title: A plugin that is not for this host\nnodes:\n  old: {source: wrong_major}\n");
  auto const told = wayfarer_cli("check '" + (here / "p.yaml").string() + "' --plugin-path '" + fixtures.string() + "'");
  EXPECT_EQ(told.code, 4) << told.text;
  EXPECT_THAT(told.text, AllOf(HasSubstr(fixture("wrong_major").string()), HasSubstr(host_sdk)));
}

// ---- searching ----

TEST(search, first_folder_wins_and_the_hidden_one_is_told) {
  scratch const one, two;
  fs::copy_file(fixture("well_made"), one / "wayfarer_well_made.so");
  fs::copy_file(fixture("well_made"), two / "wayfarer_well_made.so");
  fs::copy_file(fixture("no_parts"), two / "wayfarer_no_parts.so");
  host::registry plugins({one.path(), two.path(), one.path()});
  EXPECT_EQ(plugins.find("well_made")->library(), one / "wayfarer_well_made.so");
  EXPECT_EQ(plugins.find("no_parts")->library(), two / "wayfarer_no_parts.so");
  EXPECT_THAT(plugins.shadowed(), testing::Contains(two / "wayfarer_well_made.so"));
  EXPECT_THAT(plugins.ids(), testing::IsSupersetOf({"no_parts", "well_made"}));
}

TEST(search, a_broken_first_match_is_not_passed_over) {
  scratch const one;
  write(one / "wayfarer_well_made.so", "text");
  host::registry plugins({one.path(), fixtures});
  EXPECT_THROW(plugins.find("well_made"), plugin_error);
  EXPECT_THROW(plugins.find("well_made"), plugin_error);
}

TEST(search, an_id_is_never_a_path) {
  scratch const here;
  fs::create_directory(here / "inner");
  fs::copy_file(fixture("well_made"), here / "wayfarer_well_made.so");
  host::registry plugins({here / "inner"});
  for (auto const* id :
       {"../wayfarer_well_made", "x/../../wayfarer_well_made", "", "Well_made", "well_made.so", "no_such_plugin"})
    EXPECT_EQ(plugins.find(id), nullptr) << id;
  EXPECT_THROW(host::registry({here / "missing"}), usage_error);
  EXPECT_THROW(host::registry({here / "wayfarer_well_made.so"}), usage_error);
}

TEST(search, environment_names_absolute_folders) {
  ASSERT_EQ(::setenv("WAYFARER_PLUGIN_PATH", ("/does/not/exist::" + fixtures.string()).c_str(), 1), 0);
  EXPECT_NE(host::registry().find("well_made"), nullptr);
  ASSERT_EQ(::setenv("WAYFARER_PLUGIN_PATH", "plugins", 1), 0);
  EXPECT_THROW(host::registry(), usage_error);
  ::unsetenv("WAYFARER_PLUGIN_PATH");
}

// Descriptors stay open, or the loader would mistake a later file for an earlier one with the same number.
TEST(search, many_libraries_one_after_the_other_are_told_apart) {
  EXPECT_EQ(host::load_plugin(fixture("well_made")).id(), "well_made");
  EXPECT_EQ(host::load_plugin(fixture("no_parts")).id(), "no_parts");
  EXPECT_EQ(host::load_plugin(fixture("throws_int")).id(), "throws_int");
  EXPECT_EQ(host::load_plugin(fixture("well_made")).id(), "well_made");
}

// ---- the verb ----

TEST(plugins_verb, describes_as_json) {
  auto const told = wayfarer_cli("plugins describe well_made --json --plugin-path '" + fixtures.string() + "'");
  ASSERT_EQ(told.code, 0) << told.text;
  auto const j = parse_json(told.text, "output");
  EXPECT_EQ(j.at("id").as_string(), "well_made");
  EXPECT_EQ(j.at("kind").as_string(), "probe");
  EXPECT_EQ(j.at("version").as_string(), "1.2.3");
  EXPECT_EQ(j.at("library").as_string(), fixture("well_made").string());
  ASSERT_EQ(j.at("ports").size(), 3u);
  EXPECT_EQ(j.at("ports").at(1).at("kind").as_string(), "source");
  EXPECT_TRUE(j.at("ports").at(1).at("optional").as_bool());
  auto const p = j.at("parameters");
  ASSERT_EQ(p.size(), 9u);
  EXPECT_EQ(p.at(0).at("default").as_integer(), 1000);
  EXPECT_EQ(p.at(0).at("minimum").as_number(), 1);
  EXPECT_TRUE(p.at(0).at("maximum").is_null());
  EXPECT_EQ(p.at(1).at("unit").as_string(), "nats");
  EXPECT_TRUE(p.at(2).at("default").as_bool());
  EXPECT_EQ(p.at(3).at("choices").at(1).as_string(), "sgd");
  EXPECT_EQ(p.at(4).at("type").as_string(), "text list");
  EXPECT_EQ(p.at(4).at("default").at(1).as_string(), "hook_embed");
  EXPECT_EQ(p.at(5).at("default").at(2).as_integer(), 1001);
  EXPECT_EQ(p.at(6).at("default").at(1).as_number(), 1e-3);
  EXPECT_TRUE(p.at(8).at("required").as_bool());
  EXPECT_TRUE(p.at(8).at("default").is_null());
}

TEST(plugins_verb, describes_for_people) {
  auto const told = describe(fixtures, "well_made");
  EXPECT_EQ(told.code, 0);
  for (auto const* part : {"Shows every type of parameter", "adam | sgd", "0 to 1", "at least 1", "nats", "required", "of.what"})
    EXPECT_THAT(told.text, HasSubstr(part));
  EXPECT_THAT(describe(fixtures, "no_parts").text, HasSubstr("Measures nothing"));
}

TEST(plugins_verb, lists_broken_ones_with_their_error) {
  auto const told = wayfarer_cli("plugins list --json --plugin-path '" + fixtures.string() + "'");
  EXPECT_EQ(told.code, 4);
  // Before the JSON, standard error: the thread sanitizer speaks of plugins that throw out of dlopen.
  auto const j = parse_json(told.text.substr(std::min(told.text.find('{'), told.text.size())), "output");
  std::vector<std::string> good, broken;
  for (json_value const p : j.at("plugins").elements()) good.push_back(p.at("id").as_string());
  for (json_value const p : j.at("broken").elements()) broken.push_back(p.at("id").as_string());
  EXPECT_THAT(good, testing::IsSupersetOf({"well_made", "no_parts", "throws_int", "throws_error"}));
  EXPECT_THAT(broken, testing::IsSupersetOf({"wrong_magic", "wild_table", "throws_at_load"}));
  auto const text = wayfarer_cli("plugins list --plugin-path '" + fixtures.string() + "'");
  EXPECT_EQ(text.code, 4);
  EXPECT_THAT(text.text,
              AllOf(HasSubstr("well_made"), HasSubstr("broken: " + fixture("wrong_magic").string() + ": wrong magic")));
}

TEST(plugins_verb, names_what_comes_near) {
  auto const told = describe(fixtures, "wel_made");
  EXPECT_EQ(told.code, 2);
  EXPECT_THAT(told.text, AllOf(HasSubstr("no plugin 'wel_made'"), HasSubstr("did you mean 'well_made'?")));
  EXPECT_EQ(wayfarer_cli("plugins lst").code, 2);
  EXPECT_EQ(wayfarer_cli("plugins describe").code, 2);
  EXPECT_EQ(wayfarer_cli("plugins list --plugin-path /does/not/exist").code, 2);
}

}  // namespace
