// The way back through the shared layers: gradients of what layers.hpp computes.
//
// The steps of a tape (tape.hpp) are made of these functions; who has kept the rows that a layer read can call them too. Each
// takes the gradient of the loss by a layer's output and gives the one by its input; gradients of weights are added to tensors
// that the caller owns, of the weight's shape and of the type of the rows (float32 or float64), so that a weight that is used
// twice, such as a tied head, gets the sum. A matrix may be a view whose rows are contiguous. A gradient that is left undefined
// is not computed. Sums over rows run in an order fixed by the number of rows alone: the same bytes for any thread count. Nothing
// larger than a few rows' worth of scores or a bounded piece of logits is kept. Free functions; any thread, though not for the
// same gradients. Throws plugin_error for shapes that do not fit each other.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// Gradients of a linear layer or of a norm, added to; each may be undefined.
struct weight_gradient {
  tensor w{}, b{};
};

/// y = x W + b: dw += x^T dy in the layout of W, db += the sum of dy's rows; gives dx = dy W^T, or, if the gradient of x is not
/// `wanted`, nothing.
WAYFARER_API rows linear_backward(rows const& x, linear_weights const&, rows const& dy, weight_gradient const&,
                                  bool wanted = true);

/// Adds row i of dx, times `scale`, to the table's row of token i. Throws data_error for a token outside the table.
WAYFARER_API void embed_backward(ragged<std::int32_t> const& tokens, rows const& dx, tensor const& d_table, double scale = 1);
/// Adds row i of dx to the table's row of its position.
WAYFARER_API void embed_positions_backward(rows const& dx, tensor const& d_table, std::size_t offset = 0);

/// x is what the norm read.
WAYFARER_API rows layer_norm_backward(rows const& x, norm_weights const&, rows const& dy, weight_gradient const&);
WAYFARER_API rows rms_norm_backward(rows const& x, norm_weights const&, rows const& dy, weight_gradient const&);

/// x is what the activation function read.
WAYFARER_API rows activate_backward(rows const& x, activation, rows dy);

/// limit tanh(x / limit) = y.
WAYFARER_API rows cap_backward(rows const& y, double limit, rows dy);
/// Turned back by the angles that `rotate` turned by.
WAYFARER_API rows rotate_backward(rows dy, std::size_t heads, rows const& angles, bool pairs);

/// Gradients of what attention makes on its way, for hooks. Null: not wanted; else numbers are added, of the item's own pairs.
struct attend_gradients {
  pairs* pattern = nullptr;
  pairs* scores = nullptr;  ///< those that the softmax read
  pairs* bias = nullptr;    ///< of the position bias of each pair
};
/// Of `attend` over an item's own rows: gradients of queries, keys and values side by side, [row, (head + 2 kv_head) * d_head],
/// as one matrix that makes all three takes them. Patterns are computed anew, a few queries at a time.
WAYFARER_API rows attend_backward(rows const& q, rows const& keys, rows const& values, attend_options const&, rows const& dz,
                                  attend_gradients const& = {});

struct cross_entropy_result {
  double loss = 0;        ///< sum of -log probability of the targets, nats
  std::size_t count = 0;  ///< targets that counted
  rows dx{};
  std::vector<double> losses{};  ///< of each row; 0 where its target does not count
};
/// A model's head: logits are cap tanh(scale (x W + b) / cap).
struct logit_head {
  linear_weights weights{};
  double scale = 1;
  double cap = 0;  ///< 0: none
};
/// Loss of a head's logits against one target a row; those below 0 do not count. The gradients (dx and `gradient`) are those of
/// `weight` times the loss. Logits are made, used and forgotten some rows at a time. `backward` false: the loss alone. Throws
/// data_error for a target outside the vocabulary.
WAYFARER_API cross_entropy_result cross_entropy(rows const& x, logit_head const&, std::span<std::int32_t const> targets,
                                                double weight, weight_gradient const& gradient, bool backward = true);
/// The same of logits that are there; dx is their gradient.
WAYFARER_API cross_entropy_result cross_entropy(rows logits, std::span<std::int32_t const> targets, double weight);

WAYFARER_LAYOUT(attend_gradients, pattern, scores, bias);
WAYFARER_LAYOUT(logit_head, weights, scale, cap);
WAYFARER_LAYOUT(weight_gradient, w, b);
WAYFARER_LAYOUT(cross_entropy_result, loss, count, dx, losses);

}  // namespace wayfarer
