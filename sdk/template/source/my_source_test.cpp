// What every source must keep to, and what this one promises.
#include <gtest/gtest.h>

#include <wayfarer/testing.hpp>

namespace wf = wayfarer;

namespace {

TEST(my_source, gives_the_same_items_in_any_range) {
  auto const source = wf::testing::make_plugin<wf::source>({{"items", std::int64_t{10}}}, 3);
  wf::item_block const all = source->read({0, 10});
  for (std::size_t i = 0; i < 10; ++i) {
    wf::item_block const one = source->read({i, i + 1});
    EXPECT_TRUE(std::ranges::equal(one.words[0], all.words[i])) << i;
  }
}

TEST(my_source, steps_to_a_neighbour) {
  std::int32_t const words = 7;
  auto const source = wf::testing::make_plugin<wf::source>({{"words", std::int64_t{words}}});
  wf::item_block const walks = source->read({0, 100});
  for (std::size_t i = 0; i < walks.count; ++i)
    for (std::size_t k = 1; k < walks.words[i].size(); ++k) {
      std::int32_t const step = (walks.words[i][k] - walks.words[i][k - 1] + words) % words;
      EXPECT_TRUE(step == 1 || step == words - 1) << "walk " << i << ", step " << k;
    }
}

TEST(my_source, another_seed_gives_other_walks) {
  auto const one = wf::testing::make_plugin<wf::source>({}, 1), two = wf::testing::make_plugin<wf::source>({}, 2);
  EXPECT_NE(one->read({0, 10}).words.values, two->read({0, 10}).words.values);
}

}  // namespace
