// norm_geometry against the formulas of Traveling Words written out: ellipsoids against full decompositions, distances and scores
// against plain sums.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <Eigen/Core>

#include <wayfarer/error.hpp>
#include <wayfarer/random.hpp>

#include "dense_oracles.hpp"
#include "ellipsoid.hpp"
#include "geometry_fixtures.hpp"

namespace wf = wayfarer;
using namespace wf::test;
using testing::HasSubstr;

namespace {

vec random_vector(std::size_t n, std::uint64_t seed, double mean = 0, double sd = 1) {
  wf::random_stream draw(seed, "vector");
  vec v(n);
  for (double& x : v) x = mean + sd * draw.normal();
  return v;
}

Eigen::VectorXd singular_values(vec const& g) {
  auto const d = static_cast<Eigen::Index>(g.size());
  Eigen::MatrixXd const centring =
      Eigen::MatrixXd::Identity(d, d) - Eigen::MatrixXd::Constant(d, d, 1.0 / static_cast<double>(d));
  return dense::singular_values(centring * Eigen::Map<Eigen::VectorXd const>(g.data(), d).asDiagonal());
}

TEST(ellipsoid, axes_are_the_singular_values_of_centring_times_weight) {
  std::vector<vec> const cases{random_vector(40, 1, 1, 0.3),
                               random_vector(33, 2),
                               vec(12, 1.0),
                               {2, 2, 2, 1, 1, 5},
                               {0, 1, 2, 3},
                               {0, 0, 0.5, -2, 0.5, 1e-4},
                               {3},
                               {0, 0},
                               {1e-9, 1, 1, 1e6},
                               random_vector(100, 3, 0, 1e-3)};
  for (auto const& g : cases) {
    auto const axes = wf::ellipsoid::centred_axes(g);
    auto const expected = singular_values(g);
    ASSERT_EQ(axes.size(), g.size());
    EXPECT_EQ(axes.back(), 0);
    for (std::size_t i = 0; i < g.size(); ++i)
      EXPECT_NEAR(axes[i], expected[static_cast<Eigen::Index>(i)], 3e-8 * expected[0] * (i + 1 == g.size() ? 1 : 1e-5) + 1e-15)
          << "axis " << i << " of " << g.size();
  }
}

TEST(ellipsoid, normal_is_across_every_normed_vector) {
  for (auto const& g : {random_vector(20, 4, 1, 0.5), vec{0, 1, 2, -3}, vec{0, 0, 1, 2}}) {
    auto const u = wf::ellipsoid::normal(g);
    EXPECT_NEAR(length(u), 1, 1e-12);
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      auto n = layer_norm(random_vector(g.size(), 10 + seed));
      for (std::size_t i = 0; i < g.size(); ++i) n[i] *= g[i];
      EXPECT_NEAR(inner(u, n), 0, 1e-12);
    }
  }
}

// Check 3 of section 4.1, on the norms as the model itself runs them.
TEST(norm_geometry, results_of_a_norm_lie_on_its_ellipsoid_inside_its_hyperplane) {
  toy const t;
  auto const r = finish_only("norm_geometry", {}, *t.m);
  std::size_t const d = t.sizes.d;
  EXPECT_THAT(*r.at("center").find_labels("norm"),
              testing::ElementsAre("blocks.0.ln1", "blocks.0.ln2", "blocks.1.ln1", "blocks.1.ln2", "ln_final"));
  auto const g = t.w("ln_f.weight"), b = t.w("ln_f.bias");
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    auto const x = random_vector(d, seed, 0.5, seed % 2 == 0 ? 1 : 0.01);
    wf::tensor in(wf::dtype::f64, {{"row", 1}, {"d_model", d}});
    for (std::size_t j = 0; j < d; ++j) in(0, j) = x[j];
    auto const y = t.m->final_norm(in);
    double mean = 0, variance = 0;
    for (double const v : x) mean += v / static_cast<double>(d);
    for (double const v : x) variance += (v - mean) * (v - mean) / static_cast<double>(d);
    double plane = 0, scaled_sum = 0, squares = 0;
    for (std::size_t j = 0; j < d; ++j) {
      plane += at(r, "hyperplane_normal", {4, j}) * y.get({0, j});
      double const n = (y.get({0, j}) - at(r, "center", {4, j})) / g[j];
      scaled_sum += n, squares += n * n;
    }
    EXPECT_NEAR(plane, at(r, "hyperplane_offset", {4}), 1e-4);
    EXPECT_NEAR(scaled_sum, 0, 1e-4);
    EXPECT_NEAR(squares, static_cast<double>(d) * variance / (variance + 1e-5), 1e-4);
    EXPECT_LE(std::sqrt(squares), r.at("radius").scalar() + 1e-6);
  }
  auto const expected = singular_values(g);
  for (std::size_t i = 0; i < d; ++i) {
    EXPECT_NEAR(at(r, "exact_semi_axes", {4, i}), 4 * expected[static_cast<Eigen::Index>(i)], 1e-7);
    EXPECT_EQ(at(r, "center", {4, i}), static_cast<float>(b[i]));
  }
  auto sorted = g;
  std::sort(sorted.begin(), sorted.end(), [](double p, double q) { return std::abs(p) > std::abs(q); });
  EXPECT_NEAR(at(r, "naive_semi_axes", {4, 0}), 4 * std::abs(sorted[0]), 1e-9);
}

TEST(norm_geometry, unit_checks_of_the_notes_hold) {
  EXPECT_NEAR(layer_norm({1, 2, 3, 4})[0], -1.341635, 1e-6);
  EXPECT_NEAR(length(layer_norm({1, 2, 3, 4})), 1.999992, 1e-6);
  // A vector of centred length 3.959 in 768 dimensions.
  vec x(768);
  for (std::size_t i = 0; i < 768; ++i) x[i] = (i % 2 == 0 ? 1 : -1) * 3.959 / std::sqrt(768.0);
  EXPECT_NEAR(length(layer_norm(x)), 27.70603, 1e-5);
}

TEST(norm_geometry, words_are_measured_as_in_table_1) {
  toy const t;
  auto const r = finish_only("norm_geometry", {}, *t.m);
  std::size_t const d = t.sizes.d, V = t.sizes.vocabulary;
  auto const e = t.w("wte.weight");
  vec center(d), lengths;
  for (std::size_t v = 0; v < V; ++v) {
    lengths.push_back(length(row_of(e, v, d)));
    for (std::size_t j = 0; j < d; ++j) center[j] += e[v * d + j] / static_cast<double>(V);
  }
  double const mean = std::accumulate(lengths.begin(), lengths.end(), 0.0) / static_cast<double>(V), scale = 4 / mean;
  EXPECT_NEAR(r.at("mean_token_length").scalar(), mean, 1e-9);
  EXPECT_NEAR(r.at("scale_factor").scalar(), scale, 1e-9);
  for (std::size_t s = 0; s < 4; ++s) {
    vec far, apart;
    for (std::size_t v = 0; v < V; ++v) {
      auto m = row_of(e, v, d);
      auto const normed = layer_norm(m);
      for (std::size_t j = 0; j < d; ++j) {
        if (s == 1 || s == 3) m[j] -= center[j];
        if (s >= 2) m[j] *= scale;
      }
      vec difference(d);
      for (std::size_t j = 0; j < d; ++j) difference[j] = m[j] - normed[j];
      far.push_back(length(difference));
      apart.push_back(1 - inner(m, normed) / (length(m) * length(normed)));
    }
    auto const figures = [&](vec const& all) {
      double average = 0, squares = 0;
      for (double const x : all) average += x / static_cast<double>(V);
      for (double const x : all) squares += (x - average) * (x - average);
      return std::pair(average, std::sqrt(squares / static_cast<double>(V - 1)));
    };
    EXPECT_NEAR(at(r, "mean_distance", {s}), figures(far).first, 1e-9);
    EXPECT_NEAR(at(r, "distance_deviation", {s}), figures(far).second, 1e-9);
    EXPECT_NEAR(at(r, "mean_cosine_distance", {s}), figures(apart).first, 1e-9);
    EXPECT_NEAR(at(r, "cosine_distance_deviation", {s}), figures(apart).second, 1e-9);
  }
}

TEST(norm_geometry, scores_rank_the_tokens_as_in_table_2) {
  toy const t;
  auto const r = finish_only("norm_geometry", {{"k", std::int64_t{3}}}, *t.m);
  std::size_t const d = t.sizes.d, V = t.sizes.vocabulary;
  auto const e = t.w("wte.weight"), g = t.w("ln_f.weight"), b = t.w("ln_f.bias");
  std::vector<vec> score(5);
  for (std::size_t v = 0; v < V; ++v) {
    auto const row = row_of(e, v, d);
    vec scaled(d);
    for (std::size_t j = 0; j < d; ++j) scaled[j] = g[j] * row[j];
    double const mean = std::accumulate(scaled.begin(), scaled.end(), 0.0) / static_cast<double>(d);
    vec across = scaled;
    for (double& x : across) x -= mean;
    double const prior = inner(b, row);
    score[0].push_back(length(row)), score[1].push_back(length(scaled));
    score[2].push_back(length(row) + prior), score[3].push_back(length(scaled) + prior);
    score[4].push_back(4 * length(across) + prior);
    EXPECT_NEAR(at(r, "bias_score", {v}), prior, 1e-6);
  }
  for (std::size_t s = 0; s < 5; ++s) {
    std::vector<std::size_t> order(V);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](auto i, auto j) { return score[s][i] > score[s][j]; });
    for (std::size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(at(r, "top_ids", {s, k}), static_cast<double>(order[k]));
      EXPECT_EQ(at(r, "bottom_ids", {s, k}), static_cast<double>(order[V - 1 - k]));
      EXPECT_NEAR(at(r, "top_scores", {s, k}), score[s][order[k]], 1e-5);
      EXPECT_NEAR(at(r, "bottom_scores", {s, k}), score[s][order[V - 1 - k]], 1e-5);
    }
    for (std::size_t v = 0; v < V; ++v) EXPECT_NEAR(at(r, "score", {s, v}), score[s][v], 1e-5);
  }
}

TEST(norm_geometry, no_input_gets_a_logit_above_the_upper_bound) {
  toy const t;
  auto const r = finish_only("norm_geometry", {}, *t.m);
  std::size_t const d = t.sizes.d, V = t.sizes.vocabulary;
  auto const e = t.w("wte.weight"), g = t.w("ln_f.weight"), b = t.w("ln_f.bias");
  auto const logit = [&](vec const& x, std::size_t v) { return inner(layer_norm(x, g, b), row_of(e, v, d)); };
  for (std::size_t v = 0; v < V; ++v) {
    for (std::uint64_t seed = 0; seed < 3; ++seed) EXPECT_LT(logit(random_vector(d, 100 * v + seed), v), at(r, "score", {4, v}));
    // The input that points along the token's own gradient comes as near to it as epsilon lets it.
    vec along = row_of(e, v, d);
    for (std::size_t j = 0; j < d; ++j) along[j] *= 1000 * g[j];
    EXPECT_NEAR(logit(along, v), at(r, "score", {4, v}), 1e-4);
  }
}

TEST(norm_geometry, rms_norms_have_a_sphere_and_no_hyperplane) {
  auto const m = open_model("t5", data_folder("t5-relu"));
  auto const r = finish_only("norm_geometry", {}, *m);
  EXPECT_EQ(r.find("hyperplane_normal"), nullptr);
  EXPECT_THAT(r.at("hyperplane").texts().at(0), HasSubstr("RMS"));
  auto const g = numbers(m->weight("decoder_final_ln.w"));
  auto const& labels = *r.at("exact_semi_axes").find_labels("norm");
  auto const i = static_cast<std::size_t>(std::find(labels.begin(), labels.end(), "decoder_final_ln") - labels.begin());
  ASSERT_LT(i, labels.size());
  EXPECT_THAT(labels, testing::Contains("encoder.0.ln2"));
  double largest = 0;
  for (double const v : g) largest = std::max(largest, std::abs(v));
  EXPECT_NEAR(at(r, "exact_semi_axes", {i, 0}), std::sqrt(static_cast<double>(g.size())) * largest, 1e-9);
  EXPECT_NE(r.find("top_ids"), nullptr);
}

TEST(norm_geometry, says_what_it_leaves_out) {
  toy const t;
  auto some = t.all;
  some.erase("wte.weight");
  scratch_folder cut;
  write_folder(cut, toy_config(t.sizes), some, "F32");
  auto const m = open_model("gpt2", cut.path());
  auto const r = finish_only("norm_geometry", {}, *m);
  EXPECT_THAT(r.at("token_readings").texts().at(0), HasSubstr("left out"));
  EXPECT_EQ(r.find("mean_distance"), nullptr);
  EXPECT_EQ(r.at("exact_semi_axes").values().size(0), 5u);
  auto const bert = open_model("bert", data_folder("bert-small"));
  auto const without = finish_only("norm_geometry", {}, *bert);
  EXPECT_THAT(without.at("score_readings").texts().at(0), HasSubstr("no norm before its logits"));
  EXPECT_NE(without.find("mean_distance"), nullptr);
}

}  // namespace
