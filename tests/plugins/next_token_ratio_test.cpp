// next_token_ratio against differences of the model's own logits, and the figure's points against what they illustrate.
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>

#include "geometry_fixtures.hpp"
#include "geometry_observe.hpp"

namespace wf = wayfarer;
using namespace wf::test;
using testing::HasSubstr;
using testing::ThrowsMessage;
using ids = std::vector<std::vector<std::int32_t>>;

namespace {

listed const texts(ids{{3, 5, 8, 1, 7, 49, 2}, {2, 2, 4}, {9}, {11, 12}});

TEST(next_token_ratio, is_the_difference_of_two_logits) {
  toy const t;
  auto const r = observe("next_token_ratio", *t.m, texts, {{"window", std::int64_t{2}}}, 2);
  std::vector<vec> sums(2, vec(7));
  vec counts(7);
  for (std::size_t i = 0; i < 4; ++i) {
    auto const& tokens = texts.tokens_[i];
    for (std::size_t l = 0; l < 2; ++l) {
      auto const x = rows_of(*t.m, texts, i, "blocks." + std::to_string(l) + ".hook_resid_post");
      for (std::size_t p = 0; p + 1 < tokens.size(); ++p) {
        wf::tensor const row = wf::tensor::of(x[p], {{"row", 1}, {"d_model", 16}});
        auto const logits = t.m->unembed(t.m->final_norm(row));
        sums[l][p] +=
            logits.get({0, static_cast<std::size_t>(tokens[p + 1])}) - logits.get({0, static_cast<std::size_t>(tokens[p])});
        if (l == 0) counts[p] += 1;
      }
    }
  }
  for (std::size_t l = 0; l < 2; ++l) {
    double all = 0, n = 0;
    for (std::size_t p = 0; p < 6; ++p) {
      EXPECT_NEAR(at(r, "ratio", {l, p}), sums[l][p] / counts[p], 1e-5);
      EXPECT_EQ(at(r, "count", {p}), counts[p]);
      if (p > 0) {
        EXPECT_NEAR(at(r, "smooth_ratio", {l, p}), (sums[l][p - 1] / counts[p - 1] + sums[l][p] / counts[p]) / 2, 1e-5);
      }
      all += sums[l][p], n += counts[p];
    }
    EXPECT_TRUE(std::isnan(at(r, "ratio", {l, 6})));
    EXPECT_TRUE(std::isnan(at(r, "smooth_ratio", {l, 0})));
    EXPECT_NEAR(at(r, "mean_ratio", {l}), all / n, 1e-5);
  }
  // After the last block it is what the model itself says.
  auto const logits = rows_of(*t.m, texts, 3, "logits");
  auto const one = observe("next_token_ratio", *t.m, listed(ids{{11, 12}}));
  EXPECT_NEAR(at(one, "ratio", {1, 0}), logits[0][12] - logits[0][11], 1e-5);
}

TEST(next_token_ratio, same_bytes_for_any_number_of_threads) {
  toy const t;
  auto const one = on_threads(1, [&] { return observe("next_token_ratio", *t.m, texts, {}, 2); });
  auto const three = on_threads(3, [&] { return observe("next_token_ratio", *t.m, texts, {}, 2); });
  for (auto const& name : one.names()) EXPECT_TRUE(same_bytes(one.at(name).values(), three.at(name).values())) << name;
}

TEST(next_token_ratio, refuses_other_kinds_of_model) {
  auto const t5 = open_model("t5", data_folder("t5-relu"));
  EXPECT_THAT(
      [&] {
        observe("next_token_ratio", *t5, listed(ids{{3, 5}}, ids{{0, 4}}));
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("decoder-only")));
}

TEST(layer_norm_figure, points_lie_on_the_circle_that_it_shows) {
  auto const p = make_probe("layer_norm_figure", {{"points", std::int64_t{50}}});
  wf::results r;
  p->finish(wf::accumulator(), r, wf::probe_context(nullptr, nullptr, {0, 0}, 0));
  for (std::size_t i = 0; i < 50; ++i) {
    vec const y{at(r, "normed_points", {i, 0}), at(r, "normed_points", {i, 1}), at(r, "normed_points", {i, 2})};
    EXPECT_NEAR(y[0] + y[1] + y[2], 0, 1e-9);
    EXPECT_NEAR(length(y), std::sqrt(3.0), 1e-2);
    EXPECT_LT(length(y), std::sqrt(3.0));
  }
  auto const& rings = r.at("rings").values();
  ASSERT_EQ(rings.size(1), 100u);
  for (std::size_t i = 0; i < 100; ++i) {
    auto const x = [&](std::size_t s, std::size_t j) { return rings.get({s, i, j}); };
    EXPECT_NEAR(std::hypot(x(0, 0), x(0, 1)), 3, 1e-12);
    EXPECT_NEAR(std::pow(x(1, 0) / 4, 2) + std::pow(x(1, 1) / 2, 2), 1, 1e-12);
    EXPECT_NEAR(x(2, 0) - x(1, 0), 3, 1e-12);
    EXPECT_NEAR(x(2, 1) - x(1, 1), 2, 1e-12);
    EXPECT_NEAR(x(3, 0), 0.8 * x(2, 0) - 0.5 * x(2, 1), 1e-12);
    EXPECT_NEAR(x(3, 1), 0.3 * x(2, 0) + 0.9 * x(2, 1), 1e-12);
  }
  EXPECT_NEAR(rings.get({0, 99, 0}), 3, 1e-9);  // 2 pi is an angle too
  auto const marked = numbers(r.at("marked").values());
  EXPECT_EQ(std::set<double>(marked.begin(), marked.end()).size(), 20u);
}

}  // namespace
