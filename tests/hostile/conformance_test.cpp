// `wayfarer plugins check` against plugins with one planted fault each: what it must find, and what it must not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <conformance/guarded.hpp>
#include <conformance/rules.hpp>
#include <wayfarer/json.hpp>

#include "command.hpp"

namespace {

namespace fs = std::filesystem;
using namespace wayfarer;
using namespace wayfarer::test;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

std::string library(std::string const& id) {
  return std::string(WAYFARER_FAULTS_DIR) + "/wayfarer_" + id + ".so";
}

struct checked {
  int code = -1;
  std::vector<std::string> broken, noted;  ///< rules
  std::string text;
};

checked check(std::string const& id, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments{"plugins", "check", library(id), "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  outcome const r = run_wayfarer(arguments);
  checked out{r.code, {}, {}, r.out};
  auto const j = parse_json(r.out, "report", {std::size_t{8} << 20, 16, 100'000});
  for (json_value const f : j.at("findings").elements()) {
    auto const rule = f.at("rule").as_string();
    EXPECT_EQ(f.at("documentation").as_string(), "docs/conformance.md#" + rule);
    EXPECT_FALSE(f.at("message").as_string().empty());
    if (f.at("level").as_string() == "broken") out.broken.push_back(rule);
    if (f.at("level").as_string() == "noted") out.noted.push_back(rule);
  }
  EXPECT_EQ(j.at("conforms").as_bool(), out.code == 0);
  return out;
}

TEST(conformance, a_sound_probe_keeps_every_rule) {
  auto const r = check("sound_probe");
  EXPECT_EQ(r.code, 0) << r.text;
  EXPECT_THAT(r.broken, IsEmpty()) << r.text;
}

struct planted {
  char const* id;
  char const* rule;
};
void PrintTo(planted const& p, std::ostream* out) {
  *out << p.id;
}

class planted_fault : public testing::TestWithParam<planted> {};

TEST_P(planted_fault, is_found) {
  auto const r = check(GetParam().id);
  EXPECT_EQ(r.code, 4) << r.text;
  EXPECT_THAT(r.broken, Contains(std::string(GetParam().rule))) << r.text;
}

INSTANTIATE_TEST_SUITE_P(
    conformance, planted_fault,
    testing::Values(planted{"fault_merge", "merge_order"}, planted{"fault_merge", "split_invariance"},
                    planted{"fault_global_state", "repeatable"}, planted{"fault_data_race", "many_threads"},
                    planted{"fault_undeclared_hook", "declared_hooks"}, planted{"fault_dimensions", "named_dimensions"},
                    planted{"fault_no_output", "writes_results"}, planted{"fault_silent", "states_its_finding"},
                    planted{"fault_unseen", "says_its_view"}, planted{"fault_renamed", "says_its_view"},
                    planted{"fault_exception", "typed_errors"}, planted{"fault_one_family", "typed_errors"},
                    planted{"fault_parameter", "parameter_is_used"}, planted{"fault_random", "repeatable"},
                    planted{"fault_out_of_range", "within_bounds"}, planted{"fault_writes_input", "leaves_input_alone"},
                    planted{"fault_hangs", "finishes"}, planted{"fault_shared", "shared_values"},
                    planted{"fault_part_of_head", "logits"}, planted{"fault_gradient", "gradients"}),
    [](auto const& one) { return std::string(one.param.id) + "_breaks_" + one.param.rule; });

TEST(conformance, a_head_in_parts_that_differ_is_told_with_the_tokens) {
  auto const r = check("fault_part_of_head");
  EXPECT_THAT(r.text, HasSubstr("unembed_tokens(x, 0, 11) has other bytes than unembed(x) there"));
}

TEST(conformance, takes_parameters_and_says_what_is_wrong_with_them) {
  EXPECT_EQ(check("sound_probe", {"--set", "scale=2", "--seed", "7"}).code, 0);
  auto const wrong = run_wayfarer({"plugins", "check", library("sound_probe"), "--set", "scales=2"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.out, HasSubstr("did you mean 'scale'?"));
  EXPECT_EQ(run_wayfarer({"plugins", "check", library("sound_probe"), "--set", "scale=9"}).code, 2);
  EXPECT_EQ(run_wayfarer({"plugins", "check", "no_such_plugin"}).code, 2);
}

TEST(conformance, a_library_that_cant_be_loaded_breaks_the_first_rule) {
  fs::path const folder = fs::temp_directory_path() / ("wayfarer-conformance-" + std::to_string(getpid()));
  fs::create_directory(folder);
  std::ofstream(folder / "wayfarer_text.so") << "no library";
  auto const r = run_wayfarer({"plugins", "check", (folder / "wayfarer_text.so").string()});
  fs::remove_all(folder);
  EXPECT_EQ(r.code, 4) << r.out;
  EXPECT_THAT(r.out, HasSubstr("docs/conformance.md#loads"));
}

// Every rule has a section that says what it asks for, in the same order, and there are no others.
TEST(conformance, rules_are_documented) {
  std::string const text = slurp(fs::path(WAYFARER_SOURCE_DIR) / "docs/conformance.md");
  std::size_t last = 0, count = 0;
  for (auto const& r : host::conformance::all_rules()) {
    std::size_t const at = text.find(std::string("### ") + r.name + "\n");
    ASSERT_NE(at, text.npos) << r.name;
    EXPECT_GT(at, last) << r.name;
    last = at, ++count;
  }
  std::size_t sections = 0;
  for (std::size_t at = 0; (at = text.find("\n### ", at)) != text.npos; ++at) ++sections;
  EXPECT_EQ(sections, count);
}

TEST(conformance, guard_pages_touch_the_numbers) {
  auto const t = tensor::of(std::vector<float>{1, 2, 3}, {{"x", 3}});
  for (auto const side : {host::conformance::guard_side::after, host::conformance::guard_side::before}) {
    auto const g = host::conformance::guarded(t, side);
    EXPECT_EQ(g.get({2}), 3);
    EXPECT_EQ(g.shape(), t.shape());
    auto const* const data = g.view<float const>().data();
    auto const* const beyond = side == host::conformance::guard_side::after ? data + 3 : data - 1;
    EXPECT_DEATH({ [[maybe_unused]] float volatile const v = *beyond; }, "");
  }
}

}  // namespace
