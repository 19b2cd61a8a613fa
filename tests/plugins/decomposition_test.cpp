// Attention of every pretrained model, written with W_QK and W_VO as whole matrices and all biases, against the model's own: the
// best single test that weights are what their names say (notes E9d; check 4 of section 4.1 of Traveling Words).
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <Eigen/Core>

#include <wayfarer/random.hpp>

#include "geometry_fixtures.hpp"
#include "geometry_observe.hpp"

namespace wf = wayfarer;
using namespace wf::test;
using matrix = Eigen::MatrixXd;
using ids = std::vector<std::vector<std::int32_t>>;

namespace {

/// Where one attention layer stands.
struct layer {
  std::string weights;        ///< "blocks.0.attn."
  std::string queries, keys;  ///< hooks of what it reads
  std::string products;       ///< hook of its scores before any position bias
  std::string scores, out;
};

matrix of(wf::tensor const& t) {
  matrix m(static_cast<Eigen::Index>(t.size(0)), static_cast<Eigen::Index>(t.rank() > 1 ? t.size(1) : 1));
  for (std::size_t i = 0; i < t.size(0); ++i)
    for (std::size_t j = 0; j < (t.rank() > 1 ? t.size(1) : 1); ++j)
      m(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) = t.rank() > 1 ? t.get({i, j}) : t.get({i});
  return m;
}

struct decomposed {
  std::vector<matrix> scores, patterns;  // [head]
  matrix out;
};

/// `key_bias`, `query_bias`: added to the model's.
decomposed decompose(wf::model const& m, wf::activations const& a, layer const& at, double key_bias = 0, double query_bias = 0) {
  auto const& names = m.info().weights;
  matrix const x = of(a.at(at.queries, 0)), y = of(a.at(at.keys, 0));
  auto const d = x.cols(), r = static_cast<Eigen::Index>(m.info().d_head);
  auto const bias = [&](std::string const& name, std::size_t h, Eigen::Index size) {
    if (std::find(names.begin(), names.end(), at.weights + name) == names.end()) return matrix(matrix::Zero(size, 1));
    return of(m.weight(at.weights + name)[h]);
  };
  decomposed all;
  all.out = matrix::Zero(x.rows(), d);
  if (std::find(names.begin(), names.end(), at.weights + "b_O") != names.end())
    all.out.rowwise() += of(m.weight(at.weights + "b_O")).transpose().row(0);
  for (std::size_t h = 0; h < m.info().heads; ++h) {
    matrix const q = of(m.weight(at.weights + "W_Q")[h]), k = of(m.weight(at.weights + "W_K")[h]),
                 v = of(m.weight(at.weights + "W_V")[h]), o = of(m.weight(at.weights + "W_O")[h]);
    matrix b_q = bias("b_Q", h, r), b_k = bias("b_K", h, r);
    wf::random_stream draw(11, "bias", h);
    for (Eigen::Index j = 0; j < r; ++j) b_k(j, 0) += key_bias * draw.uniform(), b_q(j, 0) += query_bias * draw.uniform();
    matrix const w_qk = q * k.transpose(), w_vo = v * o;
    matrix scores = x * w_qk * y.transpose();
    scores.colwise() += (x * q * b_k).col(0);
    scores.rowwise() += (y * k * b_q).col(0).transpose();
    scores.array() += (b_q.transpose() * b_k)(0, 0);
    scores *= m.info().attention_scale;
    // Position bias and mask, where there are any, as the model adds them.
    matrix pattern = scores;
    matrix const before = of(a.at(at.products, 0)[h]), after = of(a.at(at.scores, 0)[h]);
    for (Eigen::Index i = 0; i < pattern.rows(); ++i) {
      for (Eigen::Index j = 0; j < pattern.cols(); ++j)
        pattern(i, j) =
            std::isinf(after(i, j)) ? -std::numeric_limits<double>::infinity() : pattern(i, j) + after(i, j) - before(i, j);
      double const top = pattern.row(i).maxCoeff();
      pattern.row(i) = (pattern.row(i).array() - top).exp();
      pattern.row(i) /= pattern.row(i).sum();
    }
    matrix moved = y * w_vo;
    moved.rowwise() += (bias("b_V", h, r).transpose() * o).row(0);
    all.out += pattern * moved;
    all.scores.push_back(scores), all.patterns.push_back(pattern);
  }
  return all;
}

void expect_decomposition(wf::model const& m, listed const& texts, std::vector<layer> const& layers) {
  std::vector<std::string> hooks;
  for (auto const& l : layers)
    for (auto const& hook : {l.queries, l.keys, l.products, l.scores, l.out, l.weights + "hook_pattern"}) hooks.push_back(hook);
  auto const a = run_hooks(m, m.encode(texts.read({0, 1}), {}), hooks, wf::dtype::f64);
  for (auto const& l : layers) {
    SCOPED_TRACE(l.weights);
    auto const direct = decompose(m, a, l), other_keys = decompose(m, a, l, 1), other_queries = decompose(m, a, l, 0, 1);
    double moved = 0;
    for (std::size_t h = 0; h < m.info().heads; ++h) {
      matrix const scores = of(a.at(l.products, 0)[h]), pattern = of(a.at(l.weights + "hook_pattern", 0)[h]);
      for (Eigen::Index i = 0; i < scores.rows(); ++i)
        for (Eigen::Index j = 0; j < scores.cols(); ++j)
          if (!std::isinf(scores(i, j))) {
            EXPECT_NEAR(direct.scores[h](i, j), scores(i, j), 1e-6);
          }
      EXPECT_LT((direct.patterns[h] - pattern).cwiseAbs().maxCoeff(), 1e-6);
      EXPECT_LT((other_keys.patterns[h] - pattern).cwiseAbs().maxCoeff(), 1e-6);  // softmax never feels the key bias
      moved = std::max(moved, (other_queries.patterns[h] - pattern).cwiseAbs().maxCoeff());
    }
    EXPECT_LT((direct.out - of(a.at(l.out, 0))).cwiseAbs().maxCoeff(), 1e-6);
    EXPECT_GT(moved, 1e-3);  // but it does feel the query bias
  }
}

layer self_attention(std::string const& block, bool normed, bool biased) {
  std::string const read = block + (normed ? "ln1.hook_out" : "hook_resid_pre"), scores = block + "attn.hook_attn_scores";
  return {block + "attn.", read, read, biased ? block + "attn.hook_qk" : scores, scores, block + "hook_attn_out"};
}

TEST(decomposition, holds_for_gpt2) {
  toy const t;
  expect_decomposition(*t.m, listed(ids{{3, 5, 8, 1, 7, 49, 2}}),
                       {self_attention("blocks.0.", true, false), self_attention("blocks.1.", true, false)});
}

TEST(decomposition, holds_for_bert) {
  auto const m = open_model("bert", data_folder("bert-small"));
  expect_decomposition(*m, listed(ids{{3, 5, 8, 1, 7, 2}}),
                       {self_attention("blocks.0.", false, false), self_attention("blocks.1.", false, false)});
}

TEST(decomposition, holds_for_t5) {
  for (char const* folder : {"t5-relu", "t5-gated"}) {
    auto const m = open_model("t5", data_folder(folder));
    layer const cross{"decoder.0.cross_attn.",
                      "decoder.0.ln2.hook_out",
                      "encoder_final_ln.hook_out",
                      "decoder.0.cross_attn.hook_attn_scores",
                      "decoder.0.cross_attn.hook_attn_scores",
                      "decoder.0.hook_cross_attn_out"};
    expect_decomposition(*m, listed(ids{{3, 5, 8, 1, 7, 2}}, ids{{0, 4, 9, 2}}),
                         {self_attention("encoder.0.", true, true), self_attention("encoder.1.", true, true),
                          self_attention("decoder.0.", true, true), cross});
  }
}

}  // namespace
