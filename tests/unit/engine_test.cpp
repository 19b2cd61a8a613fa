// Sweeps, stacking and expectations, on small plugins made here.
#include <atomic>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <oneapi/tbb/task_arena.h>

#include <wayfarer/error.hpp>

#include "engine/expectations.hpp"
#include "engine/stack.hpp"
#include "engine/sweep.hpp"

namespace wf = wayfarer;
using namespace wayfarer::host;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

struct numbers final : wf::source {
  explicit numbers(std::size_t n) {
    info_.items = n;
    info_.has_words = true;
  }
  wf::source_info const& info() const override { return info_; }
  wf::item_block read(wf::item_range r) const override {
    wf::item_block b;
    b.first = r.first, b.count = r.size();
    for (std::size_t i = r.first; i < r.last; ++i) {
      std::int32_t const word = static_cast<std::int32_t>(i);
      b.words.push_back({&word, 1});
    }
    return b;
  }
  wf::source_info info_;
};

/// Sums of a hash-like, badly conditioned function of the item: any change of merge order shows in the last bits.
struct uneven final : wf::probe {
  void shape(wf::accumulator& a, wf::probe_context const&) const override { a.define("sum", {}), a.define_rows("row", {}); }
  void observe(wf::accumulator& a, wf::sample const& s, wf::probe_context const&) const override {
    for (std::size_t i = 0; i < s.size(); ++i) {
      double const v = 1.0 / (1 + s[i].words()[0]) + s.random("noise", s[i]).normal() * 1e6;
      a["sum"]() += v;
      a["row"](i) = v;
    }
  }
  void finish(wf::accumulator const&, wf::results&, wf::probe_context const&) const override {}
};

struct silent final : wf::progress {
  void at(std::size_t, std::size_t, std::string_view) override {}
  void warn(std::string_view) override {}
};

observer swept(std::size_t items, std::size_t block, int threads, std::size_t in_flight) {
  numbers const data(items);
  uneven const what;
  std::vector<observer> all{{&what, "probe", {}, 5}};
  silent quiet;
  tbb::task_arena arena(threads);
  arena.execute([&] { sweep({nullptr, &data, {0, items}, "", "source", block, 0, 0, in_flight}, all, quiet); });
  return all[0];
}

TEST(sweep, gives_the_same_bits_for_any_number_of_threads) {
  auto const one = swept(1000, 16, 1, 1);
  for (int threads : {2, 4})
    for (std::size_t in_flight : {1u, 3u, 8u}) {
      auto const many = swept(1000, 16, threads, in_flight);
      EXPECT_EQ(one.sums["sum"](), many.sums["sum"]());
      EXPECT_TRUE(std::ranges::equal(one.sums["row"].values<double const>(), many.sums["row"].values<double const>()));
    }
}

TEST(sweep, items_draw_the_same_numbers_whatever_block_they_are_in) {
  auto const fine = swept(100, 1, 2, 4), coarse = swept(100, 64, 2, 4);
  EXPECT_TRUE(std::ranges::equal(fine.sums["row"].values<double const>(), coarse.sums["row"].values<double const>()));
}

struct failing final : wf::probe {
  void shape(wf::accumulator& a, wf::probe_context const&) const override { a.define("x", {}); }
  void observe(wf::accumulator&, wf::sample const& s, wf::probe_context const&) const override {
    if (s.items().first >= 32) throw std::runtime_error("odd item");
  }
  void finish(wf::accumulator const&, wf::results&, wf::probe_context const&) const override {}
};

TEST(sweep, says_which_items_a_plugin_failed_on) {
  numbers const data(100);
  failing const what;
  std::vector<observer> all{{&what, "probe", {}, 5}};
  silent quiet;
  try {
    sweep({nullptr, &data, {0, 100}, "", "source", 16, 0, 0, 1}, all, quiet);
    FAIL() << "the plugin's exception must come out";
  } catch (wf::plugin_error const& e) {
    EXPECT_THAT(e.what(), HasSubstr("items 32 to 47: probe: the plugin failed: odd item"));
  }
}

wf::results at_step(double v) {
  wf::results r;
  wf::tensor t(wf::dtype::f64, {{"topic", 2}});
  t(0) = v, t(1) = -v;
  r.add("mean", t).about("a mean").labels("topic", {"first", "second"});
  r.add("names", std::vector<std::string>{"a", "b"});
  return r;
}

TEST(stack, adds_the_dimension_step_and_keeps_the_rest) {
  std::vector<wf::results> parts;
  parts.push_back(at_step(1));
  parts.push_back(at_step(2));
  auto const r = stack_steps({100, 200}, parts);
  EXPECT_EQ(wf::describe(r.at("mean").shape()), "step 2 x topic 2");
  EXPECT_EQ(r.at("mean").values()(1, 1), -2);
  EXPECT_EQ(r.at("mean").coordinate_map().at("step").get({1}), 200);
  EXPECT_EQ(r.at("mean").about(), "a mean");
  EXPECT_THAT(*r.at("mean").find_labels("topic"), ElementsAre("first", "second"));
  EXPECT_THAT(r.at("names").texts(), ElementsAre("a", "b"));
}

TEST(stack, refuses_shapes_that_change) {
  std::vector<wf::results> parts;
  parts.push_back(at_step(1));
  wf::results other;
  other.add("mean", wf::tensor(wf::dtype::f64, {{"topic", 3}}));
  other.add("names", std::vector<std::string>{"a", "b"});
  parts.push_back(std::move(other));
  EXPECT_THROW(stack_steps({1, 2}, parts), wf::plugin_error);
}

struct expectation_case : testing::Test {
  plan p;
  wf::results r;
  expectation_case() {
    p.file = "test.yaml";
    p.nodes.resize(1);
    p.nodes[0].name = "node";
    std::vector<wf::results> parts;
    parts.push_back(at_step(1));
    parts.push_back(at_step(2));
    r = stack_steps({100, 200}, parts);
    r.add("scalar", 5.5);
  }
  verdict check(expectation e) {
    e.what = "node/" + e.dataset;
    p.expectations = {e};
    return compare_with_expected(p, [&](std::size_t) -> wf::results const& { return r; }).front();
  }
};

TEST_F(expectation_case, compares_by_range_and_by_tolerance) {
  expectation e;
  e.dataset = "scalar";
  e.near = 5.58, e.within = 0.1;
  EXPECT_TRUE(check(e).within);
  e.within = 0.05;
  EXPECT_FALSE(check(e).within);
  e.near.reset();
  e.at_least = 5.5, e.at_most = 5.5;
  EXPECT_TRUE(check(e).within);
  e.at_most = 5.4;
  EXPECT_FALSE(check(e).within);
}

TEST_F(expectation_case, takes_the_last_step_unless_told_otherwise) {
  expectation e;
  e.dataset = "mean";
  e.at_least = 0.0;
  e.select = {{"topic", 0}};
  EXPECT_EQ(check(e).measured, 2);
  e.select = {{"topic", 1}, {"step", 100}};
  EXPECT_EQ(check(e).measured, -1);
  e.select = {{"topic", 1}, {"step", 150}};
  EXPECT_THROW(check(e), wf::usage_error);
  e.select = {};
  EXPECT_THROW(check(e), wf::usage_error);
  e.select = {{"topic", 1}, {"stop", 100}};
  EXPECT_THROW(check(e), wf::usage_error);
}

TEST_F(expectation_case, a_number_that_is_none_is_never_within) {
  expectation e;
  r.add("bad", std::numeric_limits<double>::quiet_NaN());
  e.dataset = "bad";
  e.at_least = -1e300;
  EXPECT_FALSE(check(e).within);
}

}  // namespace
