// trajectory against the same figures worked out from the model's own activations, and the geometry of the sphere by itself.
#include <cmath>
#include <numbers>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>

#include "geometry_fixtures.hpp"
#include "geometry_observe.hpp"
#include "sphere.hpp"

namespace wf = wayfarer;
using namespace wf::test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using ids = std::vector<std::vector<std::int32_t>>;

namespace {

TEST(sphere, angles_and_turns_are_those_of_great_circles) {
  vec const east{1, 0, 0}, north{0, 1, 0}, up{0, 0, 1};
  EXPECT_NEAR(wf::sphere::angle(east, north), std::numbers::pi / 2, 1e-12);
  EXPECT_NEAR(wf::sphere::angle(east, {-1, 0, 0}), std::numbers::pi, 1e-12);
  EXPECT_NEAR(wf::sphere::angle(east, wf::sphere::direction(vec{1, 1e-9, 0}, false)), 1e-9, 1e-20);
  EXPECT_NEAR(wf::sphere::turning(east, north, up), std::numbers::pi / 2, 1e-12);
  EXPECT_NEAR(wf::sphere::turning(east, north, {-1, 0, 0}), 0, 1e-12);
  EXPECT_NEAR(wf::sphere::turning(east, north, east), std::numbers::pi, 1e-12);
  EXPECT_TRUE(std::isnan(wf::sphere::angle(wf::sphere::direction(vec{2, 2, 2}, true), east)));
  EXPECT_TRUE(std::isnan(wf::sphere::turning(east, east, up)));
}

listed const prompts(ids{{3, 5, 8, 1, 7, 49, 2}, {2, 2, 4}});

// E7 and E9b, all of it, from the activations.
TEST(trajectory, is_the_way_of_the_models_own_states) {
  toy const t;
  auto const r =
      observe("trajectory", *t.m, prompts,
              {{"k", std::int64_t{4}}, {"targets_ids", std::vector<std::int64_t>{9, 0}}, {"fit_tokens", std::int64_t{20}}});
  std::size_t const d = t.sizes.d, L = t.sizes.layers;
  auto const e = t.w("wte.weight"), g = t.w("ln_f.weight"), b = t.w("ln_f.bias");
  EXPECT_THAT(*r.at("path").find_labels("stage"),
              ElementsAre("word", "input", "input on the sphere", "after block 0", "after block 1"));
  ASSERT_EQ(r.at("embedding").values().size(0), 20u);
  EXPECT_FLOAT_EQ(static_cast<float>(at(r, "embedding", {19, 3})), static_cast<float>(e[19 * d + 3]));
  for (std::size_t i = 0; i < 2; ++i) {
    auto const& tokens = prompts.tokens_[i];
    std::size_t const T = tokens.size();
    std::vector<std::vector<vec>> x;  // [state][pos]
    std::vector<std::vector<vec>> mid;
    x.push_back(rows_of(*t.m, prompts, i, "blocks.0.hook_resid_pre"));
    for (std::size_t l = 0; l < L; ++l) {
      mid.push_back(rows_of(*t.m, prompts, i, "blocks." + std::to_string(l) + ".hook_resid_mid"));
      x.push_back(rows_of(*t.m, prompts, i, "blocks." + std::to_string(l) + ".hook_resid_post"));
    }
    auto const logits = rows_of(*t.m, prompts, i, "logits");
    for (std::size_t p = 0; p < T; ++p) {
      double way = 0;
      for (std::size_t s = 0; s <= L; ++s) {
        auto const y = layer_norm(x[s][p], g, b);
        for (std::size_t j = 0; j < d; ++j) EXPECT_NEAR(at(r, "path", {i, s + 2, p, j}), y[j], 1e-4);
        for (std::size_t q = 0; q < T; ++q) {
          auto const word = row_of(e, static_cast<std::size_t>(tokens[q]), d);
          vec difference(d);
          for (std::size_t j = 0; j < d; ++j) difference[j] = y[j] - word[j];
          EXPECT_NEAR(at(r, "token_cosine", {i, s, p, q}), inner(y, word) / (length(y) * length(word)), 1e-5);
          EXPECT_NEAR(at(r, "token_distance", {i, s, p, q}), length(difference), 1e-4);
          if (q == p + 1) {
            EXPECT_EQ(at(r, "next_cosine", {i, s, p}), at(r, "token_cosine", {i, s, p, q}));
          }
        }
        vec scores, z;
        for (std::size_t v = 0; v < t.sizes.vocabulary; ++v) scores.push_back(inner(y, row_of(e, v, d)));
        double total = 0;
        for (double const v : scores) total += std::exp(v);
        auto const best = wf::top_k(std::span<double const>(scores), 4);
        for (std::size_t k = 0; k < 4; ++k) {
          EXPECT_EQ(at(r, "top_ids", {i, s, p, k}), best[k]);
          EXPECT_NEAR(at(r, "top_logits", {i, s, p, k}), scores[static_cast<std::size_t>(best[k])], 1e-4);
          EXPECT_NEAR(at(r, "top_probabilities", {i, s, p, k}), std::exp(scores[static_cast<std::size_t>(best[k])]) / total,
                      1e-5);
        }
        if (p + 1 < T) {
          auto const next = static_cast<std::size_t>(tokens[p + 1]);
          EXPECT_EQ(at(r, "next_rank", {i, s, p}), static_cast<double>(wf::rank_of(std::span<double const>(scores), next)));
          EXPECT_NEAR(at(r, "next_log_probability", {i, s, p}), scores[next] - std::log(total), 1e-4);
        }
        for (std::size_t k = 0; k < 2; ++k) {
          std::size_t const target = k == 0 ? 9 : 0;
          auto const word = row_of(e, target, d);
          EXPECT_EQ(at(r, "target_rank", {i, s, p, k}),
                    static_cast<double>(wf::rank_of(std::span<double const>(scores), target)));
          EXPECT_NEAR(at(r, "target_log_probability", {i, s, p, k}), scores[target] - std::log(total), 1e-4);
          EXPECT_NEAR(at(r, "target_cosine", {i, s, p, k}), inner(y, word) / (length(y) * length(word)), 1e-5);
        }
        // Check 6 of section 4.1: the last row of the lens is what the model itself says.
        if (s == L) {
          for (std::size_t k = 0; k < 4; ++k)
            EXPECT_NEAR(at(r, "top_logits", {i, s, p, k}), logits[p][static_cast<std::size_t>(best[k])], 1e-4);
        }
      }
      for (std::size_t l = 0; l < L; ++l) {
        auto const from = layer_norm(x[l][p], {}, {}, 0), to = layer_norm(x[l + 1][p], {}, {}, 0),
                   half = layer_norm(mid[l][p], {}, {}, 0);
        auto const angle = [&](vec const& u, vec const& v) {
          return std::acos(std::min(1.0, inner(u, v) / static_cast<double>(d)));
        };
        EXPECT_NEAR(at(r, "step_angle", {i, l, p}), angle(from, to), 1e-5);
        EXPECT_NEAR(at(r, "step_length", {i, l, p}), 4 * angle(from, to), 1e-4);
        EXPECT_NEAR(at(r, "part_angle", {i, l, 0, p}), angle(from, half), 1e-5);
        EXPECT_NEAR(at(r, "part_angle", {i, l, 1, p}), angle(half, to), 1e-5);
        way += 4 * angle(from, to);
        vec attention(d), whole(d);
        for (std::size_t j = 0; j < d; ++j) attention[j] = mid[l][p][j] - x[l][p][j], whole[j] = x[l + 1][p][j] - x[l][p][j];
        EXPECT_NEAR(at(r, "part_length", {i, l, 0, p}), length(attention), 1e-4);
        EXPECT_NEAR(at(r, "part_share", {i, l, 0, p}), inner(attention, whole) / inner(whole, whole), 1e-4);
        EXPECT_NEAR(at(r, "part_share", {i, l, 0, p}) + at(r, "part_share", {i, l, 1, p}), 1, 1e-5);
      }
      EXPECT_NEAR(at(r, "geodesic_length", {i, p}), way, 1e-4);
      EXPECT_LE(at(r, "direct_length", {i, p}), way + 1e-4);
      EXPECT_TRUE(std::isnan(at(r, "turning_angle", {i, 0, p})));
      EXPECT_FALSE(std::isnan(at(r, "turning_angle", {i, 1, p})));
    }
    EXPECT_EQ(at(r, "next_rank", {i, 0, T - 1}), -1);
    EXPECT_TRUE(std::isnan(at(r, "next_cosine", {i, 0, T - 1})));
  }
  EXPECT_TRUE(std::isnan(at(r, "path", {1, 3, 4, 0})));
  EXPECT_EQ(at(r, "top_ids", {1, 3 - 1, 4, 0}), -1);
}

// A path's points are the states themselves, so that a projection that changes nothing gives segments that join.
TEST(trajectory, path_begins_at_the_normed_input_and_joins) {
  toy const t(toy_sizes{.layers = 12});
  auto const r = observe("trajectory", *t.m, listed(ids{{3, 5, 8, 1, 7, 9, 2}}));
  auto const& path = r.at("path").values();
  EXPECT_EQ(path.size(1), 15u);  // two stages before the sphere, 13 points on it: 12 segments
  std::size_t const p = 5;       // second to last
  auto const e = t.w("wte.weight"), w = t.w("wpe.weight");
  auto input = row_of(e, 9, 16);
  for (std::size_t j = 0; j < 16; ++j) {
    EXPECT_FLOAT_EQ(static_cast<float>(path.get({0, 0, p, j})), static_cast<float>(input[j]));
    input[j] += w[p * 16 + j];
    EXPECT_NEAR(path.get({0, 1, p, j}), input[j], 1e-6);
  }
  auto const start = layer_norm(input, t.w("ln_f.weight"), t.w("ln_f.bias"));
  for (std::size_t j = 0; j < 16; ++j) EXPECT_NEAR(path.get({0, 2, p, j}), start[j], 1e-5);
  EXPECT_EQ(r.at("step_angle").values().size(1), 12u);
  for (std::size_t l = 0; l < 12; ++l) EXPECT_GT(at(r, "step_angle", {0, l, p}), 0);
}

TEST(trajectory, does_not_depend_on_blocks_or_threads) {
  toy const t;
  auto const one = on_threads(1, [&] { return observe("trajectory", *t.m, prompts, {}, 1); });
  auto const two = on_threads(3, [&] { return observe("trajectory", *t.m, prompts, {}, 2); });
  for (auto const& name : one.names())
    if (!one.at(name).is_text()) {
      EXPECT_TRUE(same_bytes(one.at(name).values(), two.at(name).values())) << name;
    }
}

TEST(trajectory, follows_the_decoder_of_t5) {
  auto const m = open_model("t5", data_folder("t5-relu"));
  listed const pairs(ids{{3, 5, 8}}, ids{{0, 4, 2, 9}});
  auto const r = observe("trajectory", *m, pairs);
  EXPECT_THAT(*r.at("part_share").find_labels("part"), ElementsAre("attention", "cross-attention", "mlp"));
  std::size_t const d = m->info().d_model, last = m->info().decoder_layers;
  auto const logits = rows_of(*m, pairs, 0, "logits");
  auto const final = rows_of(*m, pairs, 0, "decoder_final_ln.hook_out");
  for (std::size_t p = 0; p < 4; ++p) {
    auto const best = wf::top_k(std::span<double const>(logits[p]), 1)[0];
    EXPECT_EQ(at(r, "top_ids", {0, last, p, 0}), best);
    for (std::size_t j = 0; j < d; ++j) EXPECT_NEAR(at(r, "path", {0, last + 2, p, j}), final[p][j], 1e-4);
    double shares = 0;
    for (std::size_t q = 0; q < 3; ++q) shares += at(r, "part_share", {0, 0, q, p});
    EXPECT_NEAR(shares, 1, 1e-5);
  }
}

TEST(trajectory, refuses_what_it_cannot_follow) {
  toy const t;
  EXPECT_THAT(
      [&] {
        observe("trajectory", *t.m, prompts, {{"most_items", std::int64_t{1}}});
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("most_items")));
  EXPECT_THAT(
      [&] {
        observe("trajectory", *t.m, prompts, {{"targets_ids", std::vector<std::int64_t>{50}}});
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("names token 50")));
  EXPECT_THAT(
      [&] {
        observe("trajectory", *t.m, prompts, {{"targets", std::vector<std::string>{"stone"}}});
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("no tokenizer")));
  auto const bert = open_model("bert", data_folder("bert-small"));
  EXPECT_THAT(
      [&] {
        observe("trajectory", *bert, listed(ids{{3, 5, 8}}));
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("predicts no next token")));
}

}  // namespace
