// Sweeps, stacking and expectations, on small plugins made here.
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <oneapi/tbb/task_arena.h>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

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
  void warn(std::string_view) override { ++warnings; }
  int warnings = 0;
};

observer swept(std::size_t items, std::size_t block, int threads, std::size_t in_flight) {
  numbers const data(items);
  uneven const what;
  std::vector<observer> all{{&what, "probe", {}, 5}};
  silent quiet;
  tbb::task_arena arena(threads);
  sweep_plan p;
  p.data = &data, p.items = {0, items}, p.data_name = "source", p.block = block, p.in_flight = in_flight;
  p.scratch = testing::TempDir();
  wf::accumulator counts;
  arena.execute([&] { sweep(p, all, quiet, counts); });
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
    sweep_plan p;
    p.data = &data, p.items = {0, 100}, p.data_name = "source", p.block = 16, p.in_flight = 1;
    wf::accumulator counts;
    sweep(p, all, quiet, counts);
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

/// Numbers that must not be asked for.
struct no_numbers final : wf::source {
  wf::source_info const& info() const override { return info_; }
  wf::item_block read(wf::item_range) const override { throw wf::data_error("read again"); }
  wf::source_info info_{};
};

TEST(sweep, takes_finished_blocks_as_they_are_and_makes_the_others_again) {
  std::string folder = testing::TempDir() + "wayfarer-blocks-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  block_store const blocks(folder, std::string(64, 'a')), others(folder, std::string(64, 'b'));
  numbers const data(100);
  no_numbers const none;
  uneven const what;
  silent quiet;
  auto const run = [&](wf::source const& from, block_store const* kept) {
    std::vector<observer> all{{&what, "probe", {}, 5}};
    sweep_plan p;
    p.data = &from, p.items = {0, 100}, p.data_name = "source", p.block = 16, p.blocks = kept;
    wf::accumulator counts;
    sweep(p, all, quiet, counts);
    return all[0];
  };
  auto const wanted = run(data, nullptr), first = run(data, &blocks), second = run(none, &blocks);
  for (auto const* o : {&first, &second}) {
    EXPECT_EQ(o->sums["sum"](), wanted.sums["sum"]());
    EXPECT_TRUE(std::ranges::equal(o->sums["row"].values<double const>(), wanted.sums["row"].values<double const>()));
  }
  EXPECT_THROW(run(none, &others), wf::data_error) << "another key, other blocks";
  // Cut, changed and missing blocks are made again, and right.
  std::vector<std::filesystem::path> files(std::filesystem::directory_iterator(folder), {});
  ASSERT_EQ(files.size(), 7u);
  std::filesystem::resize_file(files[0], 10);
  std::filesystem::remove(files[1]);
  {
    std::fstream f(files[2], std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(-70, std::ios::end);
    f.put('?');
  }
  EXPECT_THROW(run(none, &blocks), wf::data_error);
  quiet.warnings = 0;
  EXPECT_EQ(run(data, &blocks).sums["sum"](), wanted.sums["sum"]());
  EXPECT_EQ(quiet.warnings, 2) << "a damaged block is named, a missing one is not";
  EXPECT_EQ(run(none, &blocks).sums["sum"](), wanted.sums["sum"]());
  // A whole block under the name of another is not taken for it.
  auto const place = [&](char const* items) { return folder + "/" + std::string(40, 'a') + items + ".block"; };
  std::filesystem::copy_file(place("-16-32"), place("-32-48"), std::filesystem::copy_options::overwrite_existing);
  EXPECT_THROW(run(none, &blocks), wf::data_error);
  EXPECT_EQ(run(data, &blocks).sums["sum"](), wanted.sums["sum"]());
  EXPECT_EQ(run(none, &blocks).sums["sum"](), wanted.sums["sum"]());
  std::ofstream(folder + "/mine.txt").put('x');
  std::ofstream(folder + "/" + std::string(40, 'c') + "-0-16.block").put('x');
  remove_blocks(folder, {std::string(64, 'a'), std::string(64, 'b')});
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 2) << "only blocks of these keys are removed";
  std::filesystem::remove_all(folder);
}

/// The same sums without rows.
struct uneven_sum final : wf::probe {
  void shape(wf::accumulator& a, wf::probe_context const&) const override { a.define("sum", {}); }
  void observe(wf::accumulator& a, wf::sample const& s, wf::probe_context const&) const override {
    for (std::size_t i = 0; i < s.size(); ++i) a["sum"]() += 1.0 / (1 + s[i].words()[0]) + s.random("noise", s[i]).normal() * 1e6;
  }
  void finish(wf::accumulator const&, wf::results&, wf::probe_context const&) const override {}
};

TEST(sweep, of_many_blocks_is_merged_from_parts_with_the_same_bits) {
  constexpr std::size_t items = 70'000;
  std::string folder = testing::TempDir() + "wayfarer-merged-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  block_store const merged(folder, std::string(64, 'a'));
  numbers const data(items);
  no_numbers const none;
  uneven_sum const what;
  silent quiet;
  std::vector<observer> const observers{{&what, "probe", {}, 5}};
  sweep_plan p;
  p.data = &data, p.items = {0, items}, p.data_name = "source", p.block = 1, p.in_flight = 4;
  auto const run = [&] {
    auto all = observers;
    wf::accumulator counts;
    sweep(p, all, quiet, counts);
    EXPECT_EQ(all[0].sums.items(), items);
    return all[0].sums["sum"]();
  };
  double const whole = run();
  EXPECT_EQ(merge_levels(p), 2u);
  EXPECT_EQ(parts_of_pass(p, 1).size(), 274u);
  ASSERT_EQ(parts_of_pass(p, 2).size(), 2u);
  p.merged = &merged;
  EXPECT_EQ(run(), whole) << "makes the parts itself";
  // In any order, and with what is damaged made again.
  std::filesystem::remove_all(folder), std::filesystem::create_directory(folder);
  block_maker const make(p, observers, quiet);
  auto parts = parts_of_pass(p, 1);
  std::reverse(parts.begin(), parts.end());
  for (auto const r : parts) make.merge(r, 1);
  std::filesystem::resize_file(merged.path_of(parts[100]), 20);
  make.merge(parts_of_pass(p, 2)[1], 2);
  EXPECT_EQ(quiet.warnings, 0);
  make.merge(parts_of_pass(p, 2)[0], 2);
  EXPECT_EQ(quiet.warnings, 1);
  p.data = &none;
  EXPECT_EQ(run(), whole) << "no block is read";
  std::filesystem::remove_all(folder);
  EXPECT_NE(swept(items, 1, 1, 1).sums["sum"](), whole) << "one after another, as with rows: else nothing here shows an order";
}

TEST(blocks, are_never_written_or_removed_through_a_link) {
  namespace fs = std::filesystem;
  std::string name = testing::TempDir() + "wayfarer-blocks-XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  fs::path const here = name, theirs = here / "theirs", link = here / "r.h5.blocks";
  fs::create_directory(theirs);
  std::string const block = std::string(40, 'a') + "-0-16.block";
  std::ofstream(theirs / block).put('x');
  fs::create_directory_symlink(theirs, link);
  EXPECT_THROW(make_block_folder(link), wf::usage_error);
  remove_blocks(link, {std::string(64, 'a')});
  EXPECT_TRUE(fs::exists(theirs / block));
  EXPECT_TRUE(fs::is_symlink(link));
  fs::remove(link);
  std::ofstream(link).put('x');
  EXPECT_THROW(make_block_folder(link), wf::usage_error);
  fs::remove(link);
  fs::create_symlink(here / "nowhere", link);
  EXPECT_THROW(make_block_folder(link), wf::usage_error);
  EXPECT_THROW(make_block_folder(here / "none" / "r.h5.blocks"), wf::resource_error);
  fs::remove(link);
  // A folder that another run was done with is made again.
  make_block_folder(link);
  fs::remove(link);
  std::vector<wf::accumulator> sums(1, wf::accumulator(1));
  block_store const blocks(link, std::string(64, 'a'));
  EXPECT_EQ(blocks.load({0, 1}, sums), block_store::found::nothing);
  blocks.save({0, 1}, sums);
  EXPECT_EQ(blocks.load({0, 1}, sums), block_store::found::whole);
  fs::remove_all(here);
}

TEST(blocks, that_are_first_in_a_folder_at_the_same_moment_are_all_kept) {
  namespace fs = std::filesystem;
  std::string name = testing::TempDir() + "wayfarer-blocks-XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  fs::path const folder = fs::path(name) / "r.h5.blocks";
  block_store const blocks(folder, std::string(64, 'a'));
  std::vector<wf::accumulator> const sums(1, wf::accumulator(1));
  std::atomic<int> failed{0};
  for (int round = 0; round < 300; ++round) {
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < 4; ++i)
      threads.emplace_back([&, i] {
        for (++ready; ready < 4;) continue;
        try {
          blocks.save({i, i + 1}, sums);
        } catch (wf::error const&) {
          ++failed;
        }
      });
    for (auto& t : threads) t.join();
    fs::remove_all(folder);
  }
  EXPECT_EQ(failed, 0);
  fs::remove_all(name);
}

TEST(stack, adds_the_dimension_step_and_keeps_the_rest) {
  std::vector<wf::results> parts;
  parts.push_back(at_step(1));
  parts.push_back(at_step(2));
  parts[0].add("ratio", 1.0).view("curve");
  parts[1].add("ratio", std::nan("")).missing("no such pair").view("curve");
  auto const r = stack_parts({step_axis({100, 200})}, parts, "");
  EXPECT_EQ(r.at("ratio").missing(), "no such pair") << "said only where there is one";
  EXPECT_EQ(r.at("ratio").view(), R"({"kind":"curve"})");
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
  EXPECT_THROW(stack_parts({step_axis({1, 2})}, parts, ""), wf::plugin_error);
}

TEST(stack, takes_apart_what_it_put_together) {
  std::vector<axis> const axes{step_axis({100, 200, 300}), {"norm", {"none", "l2"}}};
  std::vector<wf::results> parts;
  for (int i = 0; i < 6; ++i) {
    parts.push_back(at_step(i));
    parts.back().add("best", std::vector<std::string>{"word " + std::to_string(i)}).dims("rank");
  }
  auto const whole = stack_parts(axes, parts, "");
  EXPECT_EQ(wf::describe(whole.at("mean").shape()), "step 3 x norm 2 x topic 2");
  EXPECT_THAT(*whole.at("mean").find_labels("norm"), ElementsAre("none", "l2"));
  EXPECT_EQ(whole.at("mean").values()(2, 1, 0), 5);
  EXPECT_EQ(wf::describe(whole.at("best").shape()), "step 3 x norm 2 x rank 1");  // texts that differ are stacked too
  EXPECT_EQ(whole.at("best").texts()[3], "word 3");
  auto const one = slice_parts(axes, parts, {{"norm", 1}, {"step", 0}}, "");
  EXPECT_EQ(one.at("mean").values()(0), 1);
  auto const of_norm = slice_parts(axes, parts, {{"norm", 0}}, "");
  EXPECT_EQ(wf::describe(of_norm.at("mean").shape()), "step 3 x topic 2");
  EXPECT_EQ(of_norm.at("mean").values()(2, 0), 4);
  EXPECT_EQ(name_of_part(axes, 3), "step 200, norm=l2");
}

TEST(stack, makes_one_dimension_of_many_where_a_tensor_has_no_more) {
  std::vector<axis> const axes{{"a", {"0", "1"}}, {"b", {"x", "y"}}};
  std::vector<wf::results> parts(4);
  for (auto& p : parts) p.add("deep", wf::tensor(wf::dtype::f64, {{"1", 1}, {"2", 1}, {"3", 1}, {"4", 1}, {"5", 1}}));
  auto const r = stack_parts(axes, parts, "");
  EXPECT_EQ(r.at("deep").shape()[0], (wf::dim{"combination", 4}));
  EXPECT_EQ(r.at("deep").find_labels("combination")->at(2), "a=1, b=x");
}

TEST(stack, keeps_a_dimension_that_is_named_like_a_swept_parameter) {
  std::vector<wf::results> parts;
  parts.push_back(at_step(1));
  parts.push_back(at_step(2));
  auto const r = stack_parts({{"topic", {"few", "many"}}}, parts, "");
  EXPECT_EQ(wf::describe(r.at("mean").shape()), "swept_topic 2 x topic 2");
}

TEST(stack, puts_what_is_large_together_on_disk) {
  std::vector<wf::results> parts(3);
  for (std::size_t i = 0; i < 3; ++i) {
    wf::tensor t(wf::dtype::f32, {{"item", 3'000'000}, {"x", 2}});
    t.values<float>()[5'999'999] = static_cast<float>(i);
    parts[i].add("rows", t);
  }
  auto const r = stack_parts({step_axis({1, 2, 3})}, parts, testing::TempDir());
  auto const& whole = r.at("rows").values();
  EXPECT_EQ(wf::describe(whole.shape()), "step 3 x item 3000000 x x 2");
  EXPECT_NE(wf::find_mapping(whole.raw()).path, nullptr);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(whole.get({i, 2'999'999, 1}), static_cast<double>(i));
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
    r = stack_parts({step_axis({100, 200})}, parts, "");
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
  // No single number: never within, and the problem is told.
  auto const refused = [&](std::string const& problem) {
    verdict const v = check(e);
    EXPECT_THAT(v.problem, testing::HasSubstr(problem));
    EXPECT_TRUE(std::isnan(v.measured) && !v.within);
  };
  e.select = {{"topic", 1}, {"step", 150}};
  refused("has no step 150");
  e.select = {};
  refused("is not one number");
  e.select = {{"topic", 1}, {"stop", 100}};
  refused("has no dimension 'stop'");
  e.dataset = "maen";
  refused("has no dataset 'maen'; did you mean 'mean'?");
}

TEST_F(expectation_case, a_number_that_is_none_is_never_within) {
  expectation e;
  r.add("bad", std::numeric_limits<double>::quiet_NaN());
  e.dataset = "bad";
  e.at_least = -1e300;
  EXPECT_FALSE(check(e).within);
}

}  // namespace
