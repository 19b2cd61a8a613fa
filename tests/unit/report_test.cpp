#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <limits>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

#include "cli/verbs.hpp"
#include "report/cut.hpp"
#include "report/encode.hpp"
#include "report/page.hpp"
#include "report/report.hpp"
#include "store/store.hpp"

namespace wayfarer::host {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(report_cut, keeps_what_fits_and_shortens_the_longest_axes_first) {
  EXPECT_THAT(part_that_fits({{"layer", 12}, {"head", 12}}, 144), ElementsAre(12, 12));
  EXPECT_THAT(part_that_fits({{"layer", 12}, {"head", 12}, {"query", 1024}, {"key", 1024}}, 1'440'000),
              ElementsAre(12, 12, 100, 100));
  EXPECT_THAT(part_that_fits({{"token", 50'000}, {"d_model", 768}}, 76'800), ElementsAre(277, 277));
  EXPECT_THAT(part_that_fits({{"token", 50'000}, {"axis", 3}}, 300), ElementsAre(100, 3));
  EXPECT_THAT(part_that_fits({{"a", 7}, {"b", 5}}, 1), ElementsAre(1, 1));
  EXPECT_THAT(part_that_fits({{"a", 7}, {"b", 5}}, 0), ElementsAre(1, 1));
  EXPECT_THAT(part_that_fits({{"a", 0}, {"b", 5}}, 3), ElementsAre(0, 5));
  EXPECT_THAT(part_that_fits({}, 3), ElementsAre());
  std::size_t const huge = std::numeric_limits<std::size_t>::max();
  EXPECT_THAT(part_that_fits({{"a", huge}, {"b", huge}, {"c", huge}}, 1000), ElementsAre(10, 10, 10));
}

TEST(report_encode, base64_and_hashes_are_the_standard_ones) {
  EXPECT_EQ(base64(std::string_view("")), "");
  EXPECT_EQ(base64(std::string_view("f")), "Zg==");
  EXPECT_EQ(base64(std::string_view("fo")), "Zm8=");
  EXPECT_EQ(base64(std::string_view("foobar")), "Zm9vYmFy");
  EXPECT_EQ(policy_hash(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
}

TEST(report_encode, text_can_not_become_markup) {
  EXPECT_EQ(html_text("<b a='\"'>&\xff"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;\\xff");
  EXPECT_EQ(clean_utf8("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
}

TEST(report_encode, planes_put_first_bytes_first) {
  EXPECT_EQ(in_planes(std::as_bytes(std::span("abcdef", 6)), 2), "acebdf");
}

struct report : testing::Test {
  void SetUp() override {
    if (bundled_page().script.empty()) GTEST_SKIP() << "built without esbuild or d3, so without the page";
    initialise_store();
    folder = fs::temp_directory_path() / ("wayfarer-report-" + std::to_string(::getpid()));
    fs::create_directories(folder);
  }
  void TearDown() override { fs::remove_all(folder); }

  std::string page_of(results const& r, report_options o = {}, std::string const& title = "A title") {
    auto const file = folder / "r.h5";
    {
      result_writer w(file, title, 7);
      node_record const node{"lens", "logit_lens", "probe", "1.0.0", "abc", "{}", std::string(64, 'a'), 0.5};
      w.write(node, r);
      run_record run;
      run.pipeline_text = "# What it shows\ntitle: t\n";
      run.plan_json = "{}";
      run.started = run.ended = "2026-01-02T03:04:05Z";
      w.commit(run, {node});
    }
    o.file_name = "r.h5";
    return make_report(result_reader(file), o);
  }
  fs::path folder;
};

std::string const attack = "</script><script>alert(1)</script><img src=x onerror=alert(2)>";

TEST_F(report, nothing_of_a_hostile_file_is_markup) {
  results r;
  r.add("top_tokens", {attack, attack}, {{attack.substr(10, 7), 2}})
      .about(attack)
      .units(attack)
      .view_as_stored("{\"kind\": \"x\"}");
  std::string const page = page_of(r, {}, attack);
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)"));  // the title, as text
}

TEST_F(report, policy_names_the_script_and_the_style_by_their_hashes_and_nothing_else) {
  results r;
  r.add("x", 1.0);
  std::string const page = page_of(r);
  EXPECT_THAT(page, HasSubstr("default-src 'none'; script-src " + policy_hash(bundled_page().script) + "; style-src " +
                              policy_hash(bundled_page().style) + "; img-src data:;"));
  EXPECT_THAT(page, Not(HasSubstr("unsafe")));
  EXPECT_THAT(page, Not(HasSubstr("https:")));
  EXPECT_TRUE(page.starts_with(report_mark));
}

TEST_F(report, stays_below_its_size_and_is_the_same_each_time) {
  results r;
  std::vector<float> noise(400'000);
  std::uint32_t state = 1;
  for (float& x : noise) x = static_cast<float>((state = state * 1664525 + 1013904223)) * 1e-9F;
  r.add("large", tensor::of(noise, {{"query", 500}, {"key", 800}}));
  std::vector<std::string> texts(20'000, "a rather long text");
  for (std::size_t i = 0; i < texts.size(); ++i) texts[i] += std::to_string(noise[i]) + std::to_string(noise[i + 20'000]);
  r.add("texts", texts).dims("item");
  r.add("small", tensor::of(std::vector<double>{1, 2, 3}, {{"layer", 3}}));
  std::size_t const frame = page_of({}).size();
  report_options o;
  o.max_bytes = frame + 400'000;
  std::string const page = page_of(r, o);
  EXPECT_LE(page.size(), o.max_bytes);
  EXPECT_GE(page.size(), frame + 200'000);
  EXPECT_EQ(page, page_of(r, o));
  o.max_bytes = 1'000;
  EXPECT_THROW(page_of(r, o), usage_error);
}

TEST_F(report, empty_missing_and_unknown_things_are_told_apart) {
  results r;
  r.add("none", tensor(dtype::f32, {{"item", 0}}));
  r.add("nan", std::numeric_limits<double>::quiet_NaN());
  r.add("far", std::numeric_limits<double>::infinity());
  EXPECT_GT(page_of(r).size(), 1'000u);
  report_options o;
  o.nodes = {"lense"};
  try {
    page_of(r, o);
    ADD_FAILURE() << "no error";
  } catch (usage_error const& e) {
    EXPECT_THAT(e.what(), HasSubstr("did you mean 'lens'?"));
  }
}

TEST_F(report, the_verb_replaces_nothing_but_reports) {
  results r;
  r.add("x", 1.0);
  page_of(r);
  std::string const in = (folder / "r.h5").string(), out = (folder / "r.html").string();
  auto const refuses = [&](words const& w, char const* why) {
    try {
      report_verb(w);
      ADD_FAILURE() << "no error";
    } catch (usage_error const& e) {
      EXPECT_THAT(e.what(), HasSubstr(why));
    }
  };
  testing::internal::CaptureStdout();
  EXPECT_EQ(report_verb({in, "--out", out}), 0);
  EXPECT_EQ(report_verb({in, "--out", out, "--node", "lens"}), 0);  // a report may be replaced
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("open it in a browser"));
  EXPECT_EQ(read_text(out, 1 << 20).substr(0, sizeof report_mark - 1), report_mark);
  auto const other = (folder / "notes.html").string();
  {
    atomic_file notes(other);
    notes.write("mine");
    notes.commit();
  }
  refuses({in, "--out", other}, "--out");
  EXPECT_EQ(read_text(other, 100), "mine");
  testing::internal::CaptureStdout();
  EXPECT_EQ(report_verb({in, "--out", other, "--force"}), 0);
  testing::internal::GetCapturedStdout();
  refuses({in, "--out", in, "--force"}, "--out");
  refuses({in, "--out", folder.string(), "--force"}, "--out");
  refuses({in, "--out", (folder / "none" / "r.html").string()}, "--out");
  refuses({in, "--out", ""}, "--out");
  refuses({in, "--out", out, "--max-size", "5K"}, "give it more");
  refuses({in, "--out", out, "--node", "lense"}, "did you mean 'lens'?");
  EXPECT_THROW(report_verb({other, "--out", out}), data_error);
  EXPECT_THROW(report_verb({(folder / "none.h5").string(), "--out", out}), data_error);
}

}  // namespace
}  // namespace wayfarer::host
