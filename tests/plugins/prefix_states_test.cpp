// States that passes over the same tokens share: which pass may begin where, how much is kept, and that no byte changes.
#include <gtest/gtest.h>
#include <oneapi/tbb/parallel_for.h>

#include <wayfarer/random.hpp>

#include "gpt2_fixtures.hpp"
#include "models/common/prefix_states.hpp"

namespace wayfarer::test {
namespace {

batch items_of(std::vector<token_list> const& tokens, std::vector<std::size_t> first_position = {}) {
  auto all = batch_of(tokens);
  all.first_position = std::move(first_position);
  return all;
}

constexpr std::size_t width = 8;

/// A state of 8 numbers for each token, all with this value.
rows state_of(batch const& items, float value) {
  rows x(row_packing::of(items.tokens, items.first_position), width, dtype::f32);
  std::fill_n(x.overwrite<float>(), x.count() * width, value);
  return x;
}

/// A pass in whose blocks nothing changes: the state before block i holds i. Gives the block that it began with.
std::size_t pass_through(prefix_states& states, batch const& items, std::size_t untouched, dtype precision = dtype::f32) {
  auto pass = states.open(items, precision, untouched);
  std::size_t const begin = pass.begin();
  if (begin) {
    rows const x = pass.take_state();
    EXPECT_EQ(x.data<float>()[0], static_cast<float>(begin));
  }
  for (std::size_t i = begin; i < 12; ++i) pass.before(i, state_of(items, static_cast<float>(i)));
  return begin;
}

TEST(prefix_states, a_pass_begins_at_the_deepest_state_that_it_may) {
  prefix_states states;
  auto const items = items_of({{1, 2, 3}, {4}});
  EXPECT_EQ(pass_through(states, items, 5), 0u);
  EXPECT_EQ(pass_through(states, items, 5), 0u) << "what comes twice is not kept";
  EXPECT_EQ(pass_through(states, items, 5), 0u) << "the third time it is";
  EXPECT_EQ(pass_through(states, items, 5), 5u);
  EXPECT_EQ(pass_through(states, items, 9), 5u) << "no pass went deeper without being asked for more";
  EXPECT_EQ(pass_through(states, items, 9), 9u);
  EXPECT_EQ(pass_through(states, items, 3), 3u);
  EXPECT_EQ(pass_through(states, items, 0), 0u);
}

TEST(prefix_states, other_tokens_positions_and_precisions_have_their_own) {
  prefix_states states;
  auto const items = items_of({{1, 2, 3}, {4}});
  for (int i = 0; i < 4; ++i) pass_through(states, items, 5);
  for (auto const& other : {items_of({{1, 2, 3}, {5}}), items_of({{1, 2}, {3, 4}}), items_of({{1, 2, 3, 4}}),
                            items_of({{1, 2, 3}, {4}}, {0, 1}), items_of({{4}, {1, 2, 3}})})
    EXPECT_EQ(pass_through(states, other, 5), 0u);
  EXPECT_EQ(states.open(items, dtype::f64, 5).begin(), 0u);
  EXPECT_EQ(pass_through(states, items_of({{1, 2, 3}, {4}}, {0, 0}), 5), 5u) << "no first position is 0";
  auto given = items;
  given.embeddings = tensor(dtype::f32, {{"row", 4}, {"d_model", width}});
  EXPECT_EQ(states.open(given, dtype::f32, 5).begin(), 0u) << "embeddings that are given may be anything";
}

TEST(prefix_states, no_more_than_the_limit_is_kept_and_the_oldest_goes_first) {
  auto const one = items_of({token_list(16, 1)}), two = items_of({token_list(16, 2)});
  std::size_t const bytes = 16 * width * sizeof(float);
  prefix_states states(6 * bytes);
  auto const often = [&](batch const& items) {
    for (int i = 0; i < 3; ++i) pass_through(states, items, 4);
    return pass_through(states, items, 4);
  };
  EXPECT_EQ(often(one), 4u);
  EXPECT_EQ(often(two), 4u);
  EXPECT_EQ(pass_through(states, one, 4), 0u) << "four states of each don't fit";
  prefix_states shallow(2 * bytes);
  for (int i = 0; i < 3; ++i) pass_through(shallow, one, 4);
  EXPECT_EQ(shallow.open(one, dtype::f32, 4).begin(), 4u);
  EXPECT_EQ(shallow.open(one, dtype::f32, 3).begin(), 3u);
  EXPECT_EQ(shallow.open(one, dtype::f32, 2).begin(), 0u) << "shallow states go before deep ones";
  prefix_states none(bytes - 1);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(pass_through(none, one, 4), 0u);
}

TEST(prefix_states, many_edited_passes_in_any_order_and_at_once_give_the_bytes_of_single_ones) {
  scratch_folder folder;
  write_checkpoint(folder, gpt2_config(4, 2, 12, 50, 40), random_weights(4, 12, 50, 40));
  auto const shared = open_gpt2(folder.path());
  std::vector<std::vector<token_list>> const texts{{{1, 2, 3, 4, 5}, {7}}, {{9, 8, 7}}};
  std::vector<std::string> const hooks{"hook_embed",
                                       "blocks.0.hook_resid_mid",
                                       "blocks.1.attn.hook_z",
                                       "blocks.2.hook_resid_pre",
                                       "blocks.2.mlp.hook_post",
                                       "blocks.3.hook_mlp_out",
                                       "ln_final.hook_out"};
  auto const request_of = [&](std::size_t n) {
    run_request r;
    r.capture = hook_set({"logits", hooks[n / hooks.size() % hooks.size()]});
    r.precision = n % 5 == 0 ? dtype::f64 : dtype::f32;
    r.edits.push_back({hooks[n % hooks.size()], [](edit_site const&, tensor const& t) {
                         if (t.type() == dtype::f64)
                           for (double& x : t.values<double>()) x += 0.5;
                         else
                           for (float& x : t.values<float>()) x += 0.5f;
                       }});
    return r;
  };
  tbb::parallel_for(std::size_t{0}, std::size_t{300}, [&](std::size_t i) {
    std::size_t const n = i * 37 % 98;
    auto const items = batch_of(texts[i % texts.size()]);
    auto const request = request_of(n);
    auto const got = shared->run(items, request), alone = open_gpt2(folder.path())->run(items, request);
    for (auto const& hook : request.capture.names())
      for (std::size_t item = 0; item < items.items(); ++item)
        EXPECT_TRUE(same_bytes(got.at(hook, item), alone.at(hook, item))) << hook << " " << n;
  });
}

}  // namespace
}  // namespace wayfarer::test
