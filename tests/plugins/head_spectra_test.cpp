// head_spectra against full decompositions of the formed matrices, on toy models and, where they are at hand, on GPT-2's own
// attention weights; and structure planted in the weights.
#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdlib>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <Eigen/Core>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>

#include "dense_oracles.hpp"
#include "geometry_fixtures.hpp"
#include "geometry_planted.hpp"

namespace wf = wayfarer;
using namespace wf::test;
using testing::HasSubstr;
using matrix = Eigen::MatrixXd;

namespace {

Eigen::Index index(std::size_t n) {
  return static_cast<Eigen::Index>(n);
}
matrix to_matrix(wf::tensor const& t) {
  matrix m(index(t.size(0)), index(t.size(1)));
  for (std::size_t i = 0; i < t.size(0); ++i)
    for (std::size_t j = 0; j < t.size(1); ++j) m(index(i), index(j)) = t.get({i, j});
  return m;
}

/// The full matrices of one head, as the model's weights make them.
struct formed {
  formed(wf::model const& m, std::size_t block, std::size_t h) {
    std::string const p = "blocks." + std::to_string(block) + ".attn.";
    raw_qk = to_matrix(m.weight(p + "W_Q")[h]) * to_matrix(m.weight(p + "W_K")[h]).transpose();
    qk = raw_qk * m.info().attention_scale_of(block);
    vo = to_matrix(m.weight(p + "W_V")[h]) * to_matrix(m.weight(p + "W_O")[h]);
  }
  matrix const& of(std::string const& circuit) const { return circuit == "qk" ? qk : vo; }
  matrix raw_qk, qk, vo;
};

values const all_directions{{"vectors", true}, {"directions", std::int64_t{64}}};

/// Checks 5 and 9 of section 4.1 for one head.
void expect_spectrum(wf::results const& r, wf::model const& m, std::size_t place, std::size_t block, std::size_t h) {
  formed const f(m, block, h);
  std::size_t const rank = m.info().d_head;
  for (std::string const c : {"qk", "vo"}) {
    SCOPED_TRACE(c + " of head " + std::to_string(block) + "." + std::to_string(h));
    auto const full = dense::singular_values(f.of(c));
    double const first = full[0];
    EXPECT_LT(full[index(rank)], 1e-5 * first);  // no more than d_head directions
    matrix rebuilt = matrix::Zero(f.of(c).rows(), f.of(c).cols());
    double sum = 0, running = 0, squares = 0, fourth = 0;
    for (std::size_t j = 0; j < rank; ++j) sum += full[index(j)];
    std::size_t reached = rank;
    for (std::size_t j = 0; j < rank; ++j) {
      double const s = at(r, c + "/values", {place, h, j});
      EXPECT_NEAR(s, full[index(j)], 1e-6 * first);
      running += full[index(j)], squares += s * s, fourth += s * s * s * s;
      EXPECT_NEAR(at(r, c + "/coverage", {place, h, j}), 100 * running / sum, 1e-6);
      if (j > 0) {
        EXPECT_GE(at(r, c + "/coverage", {place, h, j}), at(r, c + "/coverage", {place, h, j - 1}));
      }
      if (reached == rank && 100 * running / sum > 99) reached = j;
      Eigen::VectorXd left(f.qk.rows()), right(f.qk.rows());
      for (Eigen::Index x = 0; x < left.size(); ++x) {
        left[x] = at(r, c + "/left", {place, h, j, static_cast<std::size_t>(x)});
        right[x] = at(r, c + "/right", {place, h, j, static_cast<std::size_t>(x)});
      }
      rebuilt += s * left * right.transpose();
    }
    EXPECT_NEAR(at(r, c + "/coverage", {place, h, rank - 1}), 100, 1e-9);
    EXPECT_EQ(at(r, c + "/effective_dimension", {place, h}), static_cast<double>(reached + 1));
    EXPECT_LE(reached, rank - 1);
    EXPECT_NEAR(at(r, c + "/participation_ratio", {place, h}), squares * squares / fourth, 1e-9 * squares);
    EXPECT_NEAR(at(r, c + "/stable_rank", {place, h}), squares / (full[0] * full[0]), 1e-5);
    EXPECT_LT((rebuilt - f.of(c)).cwiseAbs().maxCoeff(), 1e-5 * first);
  }
}

TEST(head_spectra, are_those_of_the_full_matrices) {
  toy const t(toy_sizes{.layers = 3, .d = 24, .heads = 3});
  auto const r = finish_only("head_spectra", all_directions, *t.m);
  for (std::size_t b = 0; b < 3; ++b)
    for (std::size_t h = 0; h < 3; ++h) expect_spectrum(r, *t.m, b, b, h);
  // Without directions the values are the same.
  auto const alone =
      finish_only("head_spectra", {{"directions", std::int64_t{0}}, {"composition", false}, {"eigenvalues", false}}, *t.m);
  for (char const* name : {"qk/values", "vo/values"}) EXPECT_LT(distance(alone.at(name).values(), r.at(name).values()), 1e-12);
  EXPECT_EQ(alone.find("qk/sign"), nullptr);
  EXPECT_EQ(alone.find("q_composition"), nullptr);
}

TEST(head_spectra, of_scores_carry_the_scale_of_their_layer) {
  toy const plain, scaled(toy_sizes{.scaled_by_layer = true});
  values const few{{"directions", std::int64_t{0}}};
  auto const a = finish_only("head_spectra", few, *plain.m), b = finish_only("head_spectra", few, *scaled.m);
  for (std::size_t block = 0; block < 2; ++block) {
    double const by = 1 / static_cast<double>(block + 1);
    EXPECT_NEAR(at(b, "attention_scale", {block}), by / std::sqrt(8.0), 1e-12);
    EXPECT_NEAR(at(b, "qk/values", {block, 1, 0}), by * at(a, "qk/values", {block, 1, 0}), 1e-9);
    EXPECT_NEAR(at(b, "qk/eigenvalues_real", {block, 1, 0}), by * at(a, "qk/eigenvalues_real", {block, 1, 0}), 1e-9);
    EXPECT_NEAR(at(b, "vo/values", {block, 1, 0}), at(a, "vo/values", {block, 1, 0}), 1e-9);
  }
  EXPECT_THAT(b.at("qk/eigenvalues_real").about(), HasSubstr("times the layer's attention scale"));
  EXPECT_THAT(b.at("vo/eigenvalues_real").about(), HasSubstr("unscaled"));
}

// Check 5: the sign rule, and what the lists hold.
TEST(head_spectra, tokens_are_those_along_directions_of_the_right_sign) {
  toy const t;
  std::size_t const d = 16, V = 50;
  auto const r = finish_only("head_spectra", {{"vectors", true}, {"directions", std::int64_t{6}}, {"k", std::int64_t{4}}}, *t.m);
  auto const e = t.w("wte.weight");
  for (std::string const c : {"qk", "vo"})
    for (std::size_t b = 0; b < 2; ++b)
      for (std::size_t h = 0; h < 2; ++h)
        for (std::size_t j = 0; j < 6; ++j) {
          std::string const p = "h." + std::to_string(b) + ".ln_1.";
          vec left, right, on_left, on_right;
          for (std::size_t x = 0; x < d; ++x)
            left.push_back(at(r, c + "/values", {b, h, j}) * at(r, c + "/left", {b, h, j, x})),
                right.push_back(at(r, c + "/right", {b, h, j, x}));
          for (std::size_t v = 0; v < V; ++v) {
            auto const word = row_of(e, v, d), read = layer_norm(word, t.w(p + "weight"), t.w(p + "bias"));
            on_left.push_back(inner(left, read)), on_right.push_back(inner(right, c == "qk" ? read : word));
          }
          EXPECT_GE(*std::max_element(on_right.begin(), on_right.end()),
                    -*std::min_element(on_right.begin(), on_right.end()) - 1e-6);
          auto const l = wf::top_k(std::span<double const>(on_left), 4), best = wf::top_k(std::span<double const>(on_right), 4);
          for (std::size_t k = 0; k < 4; ++k) {
            EXPECT_EQ(at(r, c + "/left_ids", {b, h, j, k}), l[k]);
            EXPECT_EQ(at(r, c + "/right_ids", {b, h, j, k}), best[k]);
            EXPECT_NEAR(at(r, c + "/left_scores", {b, h, j, k}), on_left[static_cast<std::size_t>(l[k])], 1e-4);
          }
          // Check 7: the order on the left does not depend on the singular value.
          for (double& x : on_left) x /= at(r, c + "/values", {b, h, j});
          EXPECT_EQ(wf::top_k(std::span<double const>(on_left), 4), l);
        }
}

// E9c.
TEST(head_spectra, eigenvalues_are_those_of_the_full_matrices) {
  toy const t;
  auto const r = finish_only("head_spectra", {{"eigenvectors", std::int64_t{4}}, {"composition", false}}, *t.m);
  std::size_t const rank = 8, d = 16, V = 50;
  auto const e = t.w("wte.weight"), g = t.w("ln_f.weight"), beta = t.w("ln_f.bias");
  for (std::string const c : {"qk", "vo"})
    for (std::size_t b = 0; b < 2; ++b)
      for (std::size_t h = 0; h < 2; ++h) {
        matrix const m = formed(*t.m, b, h).of(c);
        dense::eigen const solver = dense::eigen_of(m);
        std::vector<double> magnitudes;
        for (auto const& v : solver.values) magnitudes.push_back(std::abs(v));
        std::sort(magnitudes.begin(), magnitudes.end(), std::greater<>());
        double sum = 0, running = 0;
        for (std::size_t j = 0; j < rank; ++j) sum += magnitudes[j];
        for (std::size_t j = 0; j < rank; ++j) {
          std::complex<double> const value(at(r, c + "/eigenvalues_real", {b, h, j}),
                                           at(r, c + "/eigenvalues_imaginary", {b, h, j}));
          EXPECT_NEAR(std::abs(value), magnitudes[j], 1e-6);
          // det(M - value I) = 0: the smallest singular value of the shifted matrix.
          Eigen::MatrixXcd const shifted =
              m.cast<std::complex<double>>() - value * Eigen::MatrixXcd::Identity(index(d), index(d));
          EXPECT_LT(dense::smallest_singular_value(shifted), 1e-6);
          running += magnitudes[j];
          EXPECT_NEAR(at(r, c + "/eigenvalue_coverage", {b, h, j}), 100 * running / sum, 1e-4);
        }
        auto const n = static_cast<std::size_t>(at(r, c + "/eigenvalue_dimension", {b, h}));
        EXPECT_GT(at(r, c + "/eigenvalue_coverage", {b, h, n - 1}), 80);
        if (n > 1) {
          EXPECT_LE(at(r, c + "/eigenvalue_coverage", {b, h, n - 2}), 80);
        }
        // The eigenvector's turn and length are the solver's, so only a real one's first reading can be told, up to its sign.
        for (std::size_t j = 0; j < 4; ++j) {
          if (std::abs(at(r, c + "/eigenvalues_imaginary", {b, h, j})) > 1e-9) continue;
          Eigen::Index nearest = 0;
          for (Eigen::Index i = 0; i < solver.values.size(); ++i)
            if (std::abs(solver.values[i] - at(r, c + "/eigenvalues_real", {b, h, j})) <
                std::abs(solver.values[nearest] - at(r, c + "/eigenvalues_real", {b, h, j})))
              nearest = i;
          vec along(V);
          for (std::size_t v = 0; v < V; ++v) {
            auto const y = layer_norm(row_of(e, v, d), g, beta);
            for (std::size_t x = 0; x < d; ++x) along[v] += y[x] * solver.vectors(index(x), nearest).real();
          }
          auto const best = wf::top_k(std::span<double const>(along), 1)[0];
          for (double& x : along) x = -x;
          auto const worst = wf::top_k(std::span<double const>(along), 1)[0];
          EXPECT_THAT(at(r, c + "/eigenvector_ids", {b, h, j, 0, 0}), testing::AnyOf(best, worst));
        }
      }
}

TEST(head_spectra, composition_is_that_of_the_full_matrices) {
  toy const t(toy_sizes{.layers = 3});
  auto const r = finish_only("head_spectra", {{"eigenvalues", false}}, *t.m);
  for (std::size_t later = 0; later < 3; ++later)
    for (std::size_t earlier = 0; earlier < 3; ++earlier)
      for (std::size_t x = 0; x < 2; ++x)
        for (std::size_t y = 0; y < 2; ++y) {
          if (earlier >= later) {
            EXPECT_TRUE(std::isnan(at(r, "k_composition", {later, x, earlier, y})));
            continue;
          }
          formed const reads(*t.m, later, x), writes(*t.m, earlier, y);
          double const w = writes.vo.norm();
          EXPECT_NEAR(at(r, "q_composition", {later, x, earlier, y}),
                      (writes.vo * reads.raw_qk).norm() / (w * reads.raw_qk.norm()), 1e-6);
          EXPECT_NEAR(at(r, "k_composition", {later, x, earlier, y}),
                      (reads.raw_qk * writes.vo.transpose()).norm() / (w * reads.raw_qk.norm()), 1e-6);
          EXPECT_NEAR(at(r, "v_composition", {later, x, earlier, y}), (writes.vo * reads.vo).norm() / (w * reads.vo.norm()),
                      1e-6);
        }
}

// Section 5.
TEST(head_spectra, finds_planted_directions_with_their_sign) {
  auto const t = planted();
  auto const r = finish_only("head_spectra", {{"vectors", true}}, *t->m);
  // W_VO = 6 e_3 e_5^T, and nothing else.
  EXPECT_NEAR(at(r, "vo/values", {0, 0, 0}), 6, 1e-5);
  EXPECT_NEAR(at(r, "vo/values", {0, 0, 1}), 0, 1e-5);
  EXPECT_EQ(at(r, "vo/effective_dimension", {0, 0}), 1);
  EXPECT_EQ(at(r, "vo/left_ids", {0, 0, 0, 0}), 3);
  EXPECT_EQ(at(r, "vo/right_ids", {0, 0, 0, 0}), 5);
  EXPECT_NEAR(at(r, "vo/right_scores", {0, 0, 0, 0}), 1, 1e-5);
  auto const e = t->w("wte.weight");
  for (std::size_t x = 0; x < 16; ++x) {
    EXPECT_NEAR(at(r, "vo/left", {0, 0, 0, x}), e[3 * 16 + x], 1e-5);
    EXPECT_NEAR(at(r, "vo/right", {0, 0, 0, x}), e[5 * 16 + x], 1e-5);
  }
  // W_QK is the projection onto the words, scaled: eight equal values.
  for (std::size_t j = 0; j < 8; ++j) EXPECT_NEAR(at(r, "qk/values", {0, 0, j}), 1 / std::sqrt(8.0), 1e-5);
  EXPECT_NEAR(at(r, "qk/participation_ratio", {0, 0}), 8, 1e-4);
  EXPECT_NEAR(at(r, "qk/eigenvalue_positivity", {0, 0}), 1, 1e-4);
}

TEST(head_spectra, folds_the_norm_where_that_is_asked_for) {
  toy const t;
  auto const r = finish_only("head_spectra", {{"fold", std::string("norm")}, {"composition", false}}, *t.m);
  std::size_t const d = 16;
  auto const g = t.w("h.1.ln_1.weight");
  matrix fold = matrix::Identity(index(d), index(d)) - matrix::Constant(index(d), index(d), 1.0 / static_cast<double>(d));
  fold = fold * Eigen::Map<Eigen::VectorXd const>(g.data(), index(d)).asDiagonal();
  formed const f(*t.m, 1, 0);
  auto const qk = dense::singular_values(fold * f.qk * fold.transpose());
  auto const vo = dense::singular_values(fold * f.vo);
  for (std::size_t j = 0; j < 8; ++j) {
    EXPECT_NEAR(at(r, "qk/values", {1, 0, j}), qk[index(j)], 1e-6);
    EXPECT_NEAR(at(r, "vo/values", {1, 0, j}), vo[index(j)], 1e-6);
  }
}

TEST(head_spectra, says_that_token_readings_are_left_out_without_an_embedding) {
  toy const t;
  auto some = t.all;
  some.erase("wte.weight");
  scratch_folder cut;
  write_folder(cut, toy_config(t.sizes), some, "F32");
  auto const m = open_model("gpt2", cut.path());
  auto const r = finish_only("head_spectra", {{"eigenvectors", std::int64_t{3}}}, *m);
  EXPECT_THAT(r.at("token_readings").texts().at(0), HasSubstr("left out"));
  EXPECT_EQ(r.find("qk/left_ids"), nullptr);
  EXPECT_EQ(r.find("qk/eigenvector_ids"), nullptr);
  EXPECT_NE(r.find("qk/sign"), nullptr);
  auto const quiet = finish_only("head_spectra", {{"tokens", false}}, *m);
  EXPECT_EQ(quiet.find("token_readings"), nullptr);
}

TEST(head_spectra, same_bytes_for_any_number_of_threads) {
  toy const t;
  values const given{{"eigenvectors", std::int64_t{3}}, {"vectors", true}};
  auto const one = on_threads(1, [&] { return finish_only("head_spectra", given, *t.m); });
  auto const three = on_threads(3, [&] { return finish_only("head_spectra", given, *t.m); });
  for (auto const& name : one.names())
    if (!one.at(name).is_text()) {
      EXPECT_TRUE(same_bytes(one.at(name).values(), three.at(name).values())) << name;
    }
}

/// GPT-2's own attention weights, or null.
std::unique_ptr<wf::model> published() {
  char const* const data = std::getenv("WAYFARER_DATA");
  return data == nullptr ? nullptr : open_model("gpt2", std::string(data) + "/gpt2-124m-attention");
}

TEST(published_weights, spectra_are_those_of_the_full_matrices) {
  auto const m = published();
  if (m == nullptr) GTEST_SKIP() << "WAYFARER_DATA does not name a folder with gpt2-124m-attention";
  auto given = all_directions;
  given["blocks"] = std::vector<std::int64_t>{5};
  given["eigenvalues"] = given["composition"] = false;
  auto const r = finish_only("head_spectra", given, *m);
  for (std::size_t const h : {0u, 7u}) expect_spectrum(r, *m, 0, 5, h);
}

// The known induction heads read the head that attends to the token before.
TEST(published_weights, induction_heads_read_head_4_11) {
  auto const m = published();
  if (m == nullptr) GTEST_SKIP() << "WAYFARER_DATA does not name a folder with gpt2-124m-attention";
  auto const r = finish_only("head_spectra", {{"eigenvalues", false}, {"directions", std::int64_t{0}}}, *m);
  std::vector<std::pair<double, std::pair<std::size_t, std::size_t>>> scores;
  for (std::size_t b = 5; b < 12; ++b)
    for (std::size_t h = 0; h < 12; ++h) scores.push_back({at(r, "k_composition", {b, h, 4, 11}), {b, h}});
  ASSERT_EQ(scores.size(), 84u);
  std::sort(scores.rbegin(), scores.rend());
  using place = std::pair<std::size_t, std::size_t>;
  EXPECT_EQ(scores[0].second, place(6, 9));
  EXPECT_EQ(scores[1].second, place(5, 1));
  EXPECT_EQ(scores[2].second, place(5, 5));
  EXPECT_NEAR(scores[0].first, 0.10292, 5e-6);
  EXPECT_NEAR(scores[1].first, 0.10192, 5e-6);
  EXPECT_NEAR(scores[2].first, 0.09773, 5e-6);
  EXPECT_NEAR((scores[41].first + scores[42].first) / 2, 0.03773, 5e-6);
}

}  // namespace
