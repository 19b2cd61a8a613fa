// Patterns whose entropy is known: even over all that a query may see.
#include <cmath>

#include <gtest/gtest.h>

#include <wayfarer/testing.hpp>

namespace wf = wayfarer;

namespace {

TEST(head_entropy, even_attention_has_all_the_entropy_there_can_be) {
  wf::model_info info;
  info.architecture = "even";
  info.layers = info.heads = 1;
  info.hooks = {{"blocks.0.attn.hook_pattern", {}, true}};
  wf::testing::fixed_model const model(info, [](std::string_view, std::span<std::int32_t const> tokens) {
    wf::tensor pattern(wf::dtype::f32, {{"head", 1}, {"query", tokens.size()}, {"key", tokens.size()}});
    for (std::size_t q = 0; q < tokens.size(); ++q)
      for (std::size_t k = 0; k <= q; ++k) pattern.view<float>()(0, q, k) = 1.0f / static_cast<float>(q + 1);
    return pattern;
  });
  auto const probe = wf::testing::make_plugin<wf::probe>();
  auto const r = wf::testing::measure(*probe, &model, wf::testing::fixed_source({{1, 2, 3, 4}, {5}}), 1);
  EXPECT_NEAR(r.at("share").values()(0, 0), 1, 1e-6);
  EXPECT_NEAR(r.at("entropy").values()(0, 0), std::log(24.0) / 5, 1e-6);
}

}  // namespace
