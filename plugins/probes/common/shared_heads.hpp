// What probes of weights must know of attention beyond GPT-2's: keys that heads share, scores that no product of matrices gives,
// positions that turn queries and keys, and norms that stand behind a block.
//
// Plain functions; any thread. A model's hooks say what it does.
#pragma once

#include <cstddef>
#include <string>

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

}  // namespace wayfarer::reading
