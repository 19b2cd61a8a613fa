// Which snapshots of a training are equal: by the bytes of their tensors, or by being one object.
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/results.hpp>

#include "engine/equal_steps.hpp"

namespace wayfarer::host {
namespace {

using testing::ElementsAre;

struct numbers final : model {
  explicit numbers(tensor given) : values(std::move(given)) {}
  model_info const& info() const override { return info_; }
  batch encode(item_block const&, encode_options const&) const override { return {}; }
  std::string token_text(std::int32_t) const override { return ""; }
  activations run(batch const&, run_request const&) const override { return {}; }
  tensor weight(std::string_view) const override { return values; }
  tensor values;
  model_info info_{};
};

struct keeper final : snapshot_state {
  std::vector<std::pair<std::string, tensor>> tensors_of(model const& m) const override { return {{"w", m.weight("w")}}; }
  std::shared_ptr<model const> snapshot_of(std::vector<std::pair<std::string, tensor>> const&) const override { return {}; }
};

std::shared_ptr<model const> snapshot_with(std::vector<float> const& values, dims shape) {
  return std::make_shared<numbers>(tensor::of(values, std::move(shape)));
}

TEST(equal_steps, compares_every_byte_and_shape) {
  std::vector<std::shared_ptr<model const>> const all{
      snapshot_with({1, 2, 3, 4}, {{"a", 2}, {"b", 2}}), snapshot_with({1, 2, 3, 5}, {{"a", 2}, {"b", 2}}),
      snapshot_with({1, 2, 3, 4}, {{"a", 2}, {"b", 2}}), snapshot_with({1, 2, 3, 4}, {{"a", 4}}),
      snapshot_with({1, 2, 3, 5}, {{"a", 2}, {"b", 2}}), snapshot_with({1, 2, 3, 4}, {{"a", 2}, {"b", 2}})};
  keeper const maker;
  EXPECT_THAT(first_equal(all, &maker), ElementsAre(0, 1, 0, 3, 1, 0));
  EXPECT_THAT(first_equal(all, nullptr), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(first_equal({all[1], all[0], all[1]}, nullptr), ElementsAre(0, 1, 0));
}

TEST(equal_steps, compares_a_view_by_what_it_shows) {
  tensor const square = tensor::of(std::vector<float>{1, 2, 3, 4}, {{"a", 2}, {"b", 2}});
  tensor const turned = square.transposed();
  keeper const maker;
  auto const first = [&](std::vector<float> const& values) {
    return first_equal({std::make_shared<numbers>(turned), snapshot_with(values, turned.shape())}, &maker);
  };
  EXPECT_THAT(first({1, 3, 2, 4}), ElementsAre(0, 0));
  EXPECT_THAT(first({1, 2, 3, 4}), ElementsAre(0, 1));
}

TEST(equal_steps, are_those_at_which_all_inputs_are_equal) {
  EXPECT_THAT(first_equal_in_both({0, 0, 0, 3, 3}, {0, 0, 2, 2, 2}), ElementsAre(0, 0, 2, 3, 3));
  EXPECT_THAT(first_equal_in_both({0, 0, 0}, {0, 0}), ElementsAre(0, 1, 2));
  EXPECT_THAT(first_equal_in_both({}, {}), ElementsAre());
}

TEST(equal_steps, are_told_only_if_there_are_any) {
  results none;
  none.summarise("7 updates");
  tell_equal_steps({0, 7}, {0, 1}, none);
  EXPECT_THAT(none.names(), ElementsAre());
  EXPECT_EQ(none.summary(), "7 updates");
  results some;
  some.summarise("7 updates");
  tell_equal_steps({0, 3, 7}, {0, 0, 2}, some);
  auto const told = some.at("same_weights_as_step").values();
  ASSERT_EQ(told.count(), 3u);
  EXPECT_EQ(told.get({1}), 0);
  EXPECT_EQ(told.get({2}), 7);
  EXPECT_EQ(some.summary(), "7 updates; 1 of 3 snapshots equals an earlier one: measured once");
}

}  // namespace
}  // namespace wayfarer::host
