// How probes of weights handle attention other than GPT-2's: heads that share keys, scores that are not a product of matrices,
// rotary positions, norms after a block, and blocks that share their weights.
//
// Plain functions; any thread. A model's hooks say what it does.
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::reading {

/// W_K, W_V, b_K or b_V with one entry for each of `heads` heads of the queries: itself, or a copy in which neighbours have the
/// same numbers.
inline tensor for_each_head(tensor const& t, std::size_t heads) {
  std::size_t const stored = t.size(0);
  if (stored == heads) return t;
  dims shape = t.shape();
  shape[0] = {"head", heads};
  tensor const out(t.type(), shape);
  for (std::size_t h = 0; h < heads; ++h) copy_into(out[h], t[h / (heads / stored)]);
  return out;
}

/// Whether a block's queries and keys turn with their positions, so that W_Q W_K^T is the matrix of distance 0 alone. `at`:
/// "blocks.3.".
inline bool turns(model_info const& info, std::string const& at) {
  return info.find_hook(at + "attn.hook_rot_q") != nullptr;
}

/// What queries that stand so far behind a key are turned by, beside it: a cosine and a sine for each plane.
struct rotation {
  std::vector<double> cosines, sines;
  bool pairs = false;  ///< planes are (2j, 2j + 1); else (j, j + planes)
};

/// As the model tells of a block; nothing where it does not turn. What cosines and sines are multiplied by counts for the query
/// and for the key.
inline std::optional<rotation> rotation_at(model_info const& info, std::size_t block, std::size_t distance) {
  auto const of = info.facts.find("rotation_of_block");
  if (of == info.facts.end() || of->second.integers().at(block) < 0) return std::nullopt;
  auto const fact = [&](char const* name) -> param_value const& { return info.facts.find(name)->second; };
  std::size_t const planes = static_cast<std::size_t>(fact("rotary_turned").integer()) / 2;
  double const scale = fact("rotary_scale").real() * fact("rotary_scale").real();
  rotation r;
  r.pairs = fact("rotary_pairs").flag();
  for (std::size_t j = 0; j < planes; ++j) {
    double const angle =
        static_cast<double>(distance) *
        fact("rotary_frequencies").reals().at(static_cast<std::size_t>(of->second.integers()[block]) * planes + j);
    r.cosines.push_back(scale * std::cos(angle)), r.sines.push_back(scale * std::sin(angle));
  }
  return r;
}

/// Rows [d_model, d_head] of W_Q, each turned; float64.
inline tensor turned(tensor const& w, rotation const& r) {
  tensor const out = w.to(dtype::f64).clone();
  auto const t = out.view<double>();
  std::size_t const planes = r.cosines.size();
  for (std::size_t row = 0; row < t.size(0); ++row)
    for (std::size_t j = 0; j < planes; ++j) {
      double &a = t(row, r.pairs ? 2 * j : j), &b = t(row, r.pairs ? 2 * j + 1 : j + planes);
      double const first = a * r.cosines[j] - b * r.sines[j], second = b * r.cosines[j] + a * r.sines[j];
      a = first, b = second;
    }
  return out;
}

/// Throws usage_error, with the reason, if no matrix W_Q W_K^T gives a block's scores.
inline void require_bilinear_scores(model_info const& info, std::string const& at, std::string const& probe) {
  if (info.find_hook(at + "attn.q_norm.hook_out"))
    throw usage_error(probe + " reads scores as x W_Q W_K^T x, but " + info.architecture +
                      " norms each query and key first, so that no matrix gives its scores; there is nothing to decompose");
}

/// Whether `ln1` stands before a block's attention, which reads its output; of post-norm models it stands behind.
inline bool norm_comes_first(model_info const& info, std::string const& at) {
  auto const *norm = info.find_hook(at + "ln1.hook_out"), *queries = info.find_hook(at + "attn.hook_q");
  return norm && queries && norm < queries;  // hooks stand in the order of the pass
}

/// The block whose weights this one computes with: itself, or the first of those with which it shares them (ALBERT).
inline std::size_t block_of_weights(model_info const& info, std::size_t block) {
  auto const shared = info.facts.find("weights_of_block");
  return shared == info.facts.end() ? block : static_cast<std::size_t>(shared->second.integers().at(block));
}

/// "; its 12 blocks share 1 set of weights, shown once", for a finding; "" where each block has its own.
inline std::string told_of_shared_blocks(model_info const& info) {
  std::set<std::size_t> own;
  for (std::size_t b = 0; b < info.layers; ++b) own.insert(block_of_weights(info, b));
  if (own.size() == info.layers) return {};
  return "; the " + std::to_string(info.layers) + " blocks share " + std::to_string(own.size()) + " set" +
         (own.size() == 1 ? "" : "s") + " of weights, shown once";
}

}  // namespace wayfarer::reading
