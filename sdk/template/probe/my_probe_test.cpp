// Shows the probe activations whose lengths are known.
#include <gtest/gtest.h>

#include <wayfarer/testing.hpp>

namespace wf = wayfarer;

namespace {

/// A model with one hook. A token t has the vector (3 t, 4 t), of length 5 t.
wf::testing::fixed_model threes_and_fours() {
  wf::model_info info;
  info.architecture = "threes_and_fours";
  info.hooks = {{"blocks.0.hook_resid_post", {{"d_model", 2}}}, {"blocks.0.attn.hook_pattern", {}, true}};
  return {info, [](std::string_view, std::span<std::int32_t const> tokens) {
            std::vector<float> x;
            for (std::int32_t const t : tokens) x.insert(x.end(), {3.0f * t, 4.0f * t});
            return wf::tensor::of(x, {{"pos", tokens.size()}, {"d_model", 2}});
          }};
}

TEST(my_probe, measures_mean_and_deviation) {
  auto const model = threes_and_fours();
  wf::testing::fixed_source const items({{1, 3}, {2}, {2, 2, 2}});
  auto const probe = wf::testing::make_plugin<wf::probe>();
  wf::results const r = wf::testing::measure(*probe, &model, items, 1);
  EXPECT_DOUBLE_EQ(r.at("length").values()(0), 10);
  EXPECT_DOUBLE_EQ(r.at("deviation").values()(0), std::sqrt(50.0 / 6));
}

TEST(my_probe, does_not_depend_on_blocks) {
  auto const model = threes_and_fours();
  wf::testing::fixed_source const items({{1, 3}, {2}, {5, 1, 7}, {4}});
  auto const probe = wf::testing::make_plugin<wf::probe>();
  double const one = wf::testing::measure(*probe, &model, items, 1).at("length").values()(0);
  for (std::size_t const block : {2, 3, 4})
    EXPECT_EQ(wf::testing::measure(*probe, &model, items, block).at("length").values()(0), one);
}

TEST(my_probe, refuses_what_holds_no_vectors) {
  auto const probe = wf::testing::make_plugin<wf::probe>({{"hooks", std::vector<std::string>{"blocks.0.attn.hook_pattern"}}});
  EXPECT_THROW(probe->needs(threes_and_fours().info()), wf::usage_error);
}

}  // namespace
