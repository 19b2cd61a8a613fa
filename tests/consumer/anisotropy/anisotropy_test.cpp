// Vectors whose cosines are known, and all pairs visited one by one.
#include <cmath>

#include <gtest/gtest.h>

#include <wayfarer/testing.hpp>

namespace wf = wayfarer;

namespace {

/// Token t has the vector (cos t, sin t), whatever its length, at every hook.
wf::testing::fixed_model on_a_circle() {
  wf::model_info info;
  info.architecture = "circle";
  info.d_model = 2;
  info.hooks = {{"blocks.0.hook_resid_post", {{"d_model", 2}}}};
  return {info, [](std::string_view, std::span<std::int32_t const> tokens) {
            std::vector<double> x;
            for (std::int32_t const t : tokens) x.insert(x.end(), {3 * std::cos(t), 3 * std::sin(t)});
            return wf::tensor::of(x, {{"pos", tokens.size()}, {"d_model", 2}});
          }};
}

TEST(anisotropy, is_the_mean_over_all_pairs_of_tokens_of_different_items) {
  std::vector<std::vector<std::int32_t>> const items{{0, 1, 5}, {2}, {3, 3}};
  double sum = 0, pairs = 0;
  for (std::size_t i = 0; i < items.size(); ++i)
    for (std::size_t j = 0; j < items.size(); ++j)
      for (std::int32_t const a : items[i])
        for (std::int32_t const b : items[j])
          if (i != j) sum += std::cos(a - b), ++pairs;
  auto const model = on_a_circle();
  auto const probe = wf::testing::make_plugin<wf::probe>();
  for (std::size_t const block : {1, 2, 3}) {
    wf::results const r = wf::testing::measure(*probe, &model, wf::testing::fixed_source(items), block);
    EXPECT_NEAR(r.at("mean_cosine").values()(0), sum / pairs, 1e-12) << block;
  }
}

TEST(anisotropy, knows_no_answer_for_one_item) {
  auto const model = on_a_circle();
  auto const r = wf::testing::measure(*wf::testing::make_plugin<wf::probe>(), &model, wf::testing::fixed_source({{1, 2}}), 1);
  EXPECT_TRUE(std::isnan(r.at("mean_cosine").values()(0)));
}

}  // namespace
