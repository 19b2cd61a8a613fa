// Attention of a block as "Traveling Words", 1.2, takes it apart: W_QK = W_Q W_K^T scores pairs of positions, W_VO = W_V W_O says
// what is moved between them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include <wayfarer/ops.hpp>
#include <wayfarer/random.hpp>

#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {
namespace {

constexpr double rounding = 1e-6;

/// Adds a vector to every row.
void add_to_rows(tensor const& m, tensor const& v) {
  auto const at = m.view<double>();
  for (std::size_t i = 0; i < m.size(0); ++i)
    for (std::size_t j = 0; j < m.size(1); ++j) at(i, j) += v.get({j});
}

/// Each row's softmax over its first keys: those up to its position, or all.
void softmax_rows(tensor const& scores, bool causal) {
  auto const s = scores.view<double>();
  std::size_t const n = scores.size(0);
  for (std::size_t i = 0; i < n; ++i) {
    std::size_t const keys = causal ? i + 1 : n;
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    for (std::size_t j = 0; j < keys; ++j) most = std::max(most, s(i, j));
    for (std::size_t j = 0; j < n; ++j) s(i, j) = j < keys ? std::exp(s(i, j) - most) : 0, sum += s(i, j);
    for (std::size_t j = 0; j < n; ++j) s(i, j) /= sum;
  }
}

/// What attention of one block adds to the residual stream, [pos, d_model], out of its weights. x: the block's normalised input
/// [pos, d_model]. `key_bias` stands for the model's own; a `pattern` for that which the weights give.
tensor decomposed_attention(model const& m, std::size_t layer, tensor const& x, tensor const& key_bias,
                            tensor const* pattern = nullptr) {
  auto const weight = [&](char const* name) {
    return m.weight("blocks." + std::to_string(layer) + ".attn." + name).to(dtype::f64);
  };
  tensor const w_q = weight("W_Q"), w_k = weight("W_K"), w_v = weight("W_V"), w_o = weight("W_O"), b_q = weight("b_Q"),
               b_v = weight("b_V"), b_o = weight("b_O");
  std::size_t const n = x.size(0), d = x.size(1);
  tensor out(dtype::f64, {{"pos", n}, {"d_model", d}});
  add_to_rows(out, b_o);
  for (std::size_t h = 0; h < w_q.size(0); ++h) {
    std::size_t const shared = h / (w_q.size(0) / w_k.size(0));  // the head of keys and values
    tensor const qk = matmul(w_q[h], w_k[shared].transposed()), vo = matmul(w_v[shared], w_o[h]);
    auto const row = [](tensor const& v) { return v.clone().reshaped({{"one", 1}, {"d_head", v.count()}}); };
    tensor scores = matmul(matmul(x, qk.named({"d", "d2"})), x.transposed());                       // x_i W_QK x_j
    tensor const from_key = matmul(matmul(row(b_q[h]), w_k[shared].transposed()), x.transposed());  // b_Q W_K^T x_j
    tensor const from_query = matmul(matmul(x, w_q[h]), row(key_bias[shared]).transposed());        // x_i W_Q b_K
    double const constant = dot(b_q[h].clone().values<double const>(), key_bias[shared].clone().values<double const>());
    auto const s = scores.view<double>();
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        s(i, j) = (s(i, j) + from_key.get({0, j}) + from_query.get({i, 0}) + constant) * m.info().attention_scale_of(layer);
    softmax_rows(scores, m.info().family == model_family::decoder);
    if (pattern) scores = (*pattern)[h].clone();
    add_into(out, matmul(matmul(scores, x), vo).named({"pos", "d_model"}));
    add_to_rows(out, matmul(row(b_v[shared]), w_o[h])[0]);
  }
  return out;
}

/// One block of a run that captured every hook in float64.
struct block_run {
  std::size_t layer;
  std::string name;   ///< "blocks.0."
  std::string input;  ///< the hook that attention reads
  activations const& all;

  tensor const& added(std::size_t item) const { return all.at(name + "hook_attn_out", item); }
  tensor const& read(std::size_t item) const { return all.at(input, item); }
};

/// Throws unmet_need where attention can't be compared: a hook is missing, or something stands between.
block_run block_of(model_info const& info, std::size_t layer, activations const& all) {
  std::string const block = "blocks." + std::to_string(layer) + ".";
  // A block that norms after attention reads the residual state itself.
  std::string const input = info.find_hook(block + "ln1.hook_out") && info.family == model_family::decoder
                                ? block + "ln1.hook_out"
                                : block + "hook_resid_pre";
  if (!info.find_hook(block + "hook_attn_out") || !info.find_hook(input)) throw unmet_need("there is no hook " + input);
  if (info.find_hook(block + "ln1_post.hook_out")) throw unmet_need("a norm stands between the sum over heads and hook_attn_out");
  return {layer, block, input, all};
}

/// With the pattern as it was captured.
void check_values(model_case const& c, block_run const& at) {
  tensor const bias = c.m().weight(at.name + "attn.b_K").to(dtype::f64);
  for (std::size_t i = 0; i < c.tokens().items(); ++i) {
    tensor const& pattern = at.all.at(at.name + "attn.hook_pattern", i);
    if (relative_distance(decomposed_attention(c.m(), at.layer, at.read(i), bias, &pattern), at.added(i)) > rounding)
      throw violation("attention_decomposition",
                      "'" + at.name + "hook_attn_out' is not the sum over heads that the pattern, W_V and W_O give");
  }
}

/// With the model's key bias, and with another: a softmax does not see what all keys share.
void check_scores_and_values(model_case const& c, block_run const& at) {
  tensor const bias = c.m().weight(at.name + "attn.b_K").to(dtype::f64);
  tensor other(dtype::f64, bias.shape());
  random_stream draw(c.seed(), "key bias", at.layer);
  for (auto& v : other.values<double>()) v = draw.uniform();
  for (std::size_t i = 0; i < c.tokens().items(); ++i)
    for (bool const own : {true, false})
      if (relative_distance(decomposed_attention(c.m(), at.layer, at.read(i), own ? bias : other), at.added(i)) > rounding)
        throw violation("attention_decomposition", "'" + at.name +
                                                       "hook_attn_out' is not the sum over heads that its weights give" +
                                                       (own ? "" : ", with another key bias"));
}

}  // namespace

void check_attention_decomposition(model_case const& c, reporter&) {
  auto const& info = c.m().info();
  std::set<std::string> const known(info.weights.begin(), info.weights.end());
  for (char const* part : {"W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O"})
    if (!known.contains(std::string("blocks.0.attn.") + part))
      throw unmet_need(std::string("there is no weight blocks.0.attn.") + part);
  run_request r = asking(c.every);
  r.precision = dtype::f64;
  activations const all = c.m().run(c.tokens(), r);
  for (std::size_t l = 0; l < info.layers; ++l) {
    block_run const at = block_of(info, l, all);
    // Where queries and keys are turned, normed or biased by position, the scores are no function of W_QK alone.
    bool by_position = false;
    for (char const* hook : {"attn.hook_rot_q", "attn.q_norm.hook_out", "attn.hook_bias"})
      by_position = by_position || info.find_hook(at.name + hook);
    if (by_position)
      check_values(c, at);
    else
      check_scores_and_values(c, at);
  }
}

}  // namespace wayfarer::host::conformance
