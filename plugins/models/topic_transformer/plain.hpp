// The model written out, one document at a time, forward and backward: every switch of the spec, any number of layers and heads.
//
// The table path is tested against it. It trains the models that have no table path, and runs trained models with their hooks.
// A pass belongs to one thread and refers to weights that must outlive it; what `at` sees lives until it returns.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <Eigen/Core>

#include "documents.hpp"
#include "spec.hpp"

namespace wayfarer::topic_transformer {

template <class T>
using matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The places in a forward pass that can be read and changed, in the order in which they are computed.
enum class place {
  embed,      // [pos, d_model] rows of the embedding
  pos_embed,  // [pos, d_model]
  resid_pre,  // [pos, d_model] a layer's input
  q,
  k,            // [pos, head * d_head]
  attn_scores,  // [head * query, key] scaled; keys that may not be attended to are -inf
  pattern,      // [head * query, key]
  v,
  z,          // [pos, head * d_head]; z: attention-weighted values
  attn_out,   // [pos, d_model] what attention gives, before the residual sum
  resid_mid,  // [pos, d_model] after the residual sum and norm, where the layer has an MLP
  mlp_pre,
  mlp_post,    // [pos, d_mlp]
  mlp_out,     // [pos, d_model]
  resid_post,  // [pos, d_model] a layer's output
  logits,      // [pos, vocabulary]
};

template <class T>
class plain_pass {
 public:
  plain_pass(spec const& s, layout const& l, weights<T> const& w) : spec_(s), layout_(l), w_(w) {}

  using at_place = std::function<void(place, std::size_t layer, matrix<T>&)>;
  /// How far a forward pass is wanted: up to this place of this layer.
  struct reach {
    std::size_t layer = 0;
    place last = place::resid_post;
    friend auto operator<=>(reach const&, reach const&) = default;
  };
  /// Forward over all positions; `visible` has one flag a key. `at` may be empty and may change what it is shown. With
  /// `start`, rows [pos, d_model] replace the embedding lookup.
  void forward(std::span<std::uint16_t const> shown, std::span<std::uint8_t const> visible, at_place const& at, reach until,
               matrix<T> const* start = nullptr);

  /// Forward, and the sum of the losses of the masked tokens.
  double loss(masked_document const&);
  /// Adds `scale` times the gradient of the last `loss` to `into`; arrays that are not trained stay as they are.
  void backward(T scale, weights<T>& into);

 private:
  // What backward needs of a LayerNorm.
  struct norm_state {
    matrix<T> x_hat;
    Eigen::Matrix<T, Eigen::Dynamic, 1> r;  // 1 / sd of each row
  };
  struct layer_state {
    matrix<T> in, q, k, v, pattern, z, mid, mlp_pre, mlp_post;
    norm_state norm1, norm2;
  };
  using map = Eigen::Map<matrix<T>>;
  using const_map = Eigen::Map<matrix<T> const>;

  const_map get(int slot) const;
  map gradient(int slot, weights<T>& into) const;
  bool trained(int slot) const { return slot >= 0 && layout_.parameters[static_cast<std::size_t>(slot)].trained; }
  matrix<T> linear(matrix<T> const& x, int weight, int bias) const;
  matrix<T> linear_back(matrix<T> const& x, matrix<T> const& dy, int weight, int bias, weights<T>& into) const;
  matrix<T> norm(matrix<T> const& x, int weight, int bias, norm_state& keep) const;
  matrix<T> norm_back(matrix<T> const& dy, int weight, int bias, norm_state const& kept, weights<T>& into) const;
  matrix<T> head(matrix<T> const& x);

  spec const& spec_;
  layout const& layout_;
  weights<T> const& w_;
  std::vector<std::uint16_t> shown_;
  std::vector<std::uint8_t> visible_;
  norm_state embed_norm_, head_norm_;
  std::vector<layer_state> layers_;
  matrix<T> out_;            // [pos, d_model] of the last layer
  std::vector<int> masked_;  // positions in the loss
  matrix<T> head_in_, head_pre_, head_out_, d_logits_;
};

}  // namespace wayfarer::topic_transformer
