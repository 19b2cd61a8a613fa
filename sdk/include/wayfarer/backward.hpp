// The way back through the shared layers: gradients of what layers.hpp computes, for models that learn.
//
// A training step is a forward pass that keeps the rows that each layer read, and these functions in the opposite order. Each
// takes the gradient of the loss by a layer's output and gives the one by its input; gradients of weights are added to tensors
// that the caller owns, contiguous, of the weight's shape and of the type of the rows (float32 or float64), so that a weight that
// is used twice, such as a tied head, gets the sum. A gradient that is left undefined is not computed. Sums over rows run in an
// order fixed by the number of rows alone: the same bytes for any thread count. Nothing larger than a few rows' worth of scores
// or a bounded piece of logits is kept. Free functions; any thread, though not for the same gradients. Throws plugin_error for
// shapes that do not fit each other.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

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

/// y = x W + b: dw += x^T dy in the layout of W, db += the sum of dy's rows; gives dx = dy W^T.
WAYFARER_API rows linear_backward(rows const& x, linear_weights const&, rows const& dy, weight_gradient const&);

/// Adds row i of dx to the table's row of token i. Throws data_error for a token outside the table.
WAYFARER_API void embed_backward(ragged<std::int32_t> const& tokens, rows const& dx, tensor const& d_table);
/// Adds row i of dx to the table's row of its position.
WAYFARER_API void embed_positions_backward(rows const& dx, tensor const& d_table, std::size_t offset = 0);

/// x is what the norm read.
WAYFARER_API rows layer_norm_backward(rows const& x, norm_weights const&, rows const& dy, weight_gradient const&);
WAYFARER_API rows rms_norm_backward(rows const& x, norm_weights const&, rows const& dy, weight_gradient const&);

/// x is what the activation function read.
WAYFARER_API rows activate_backward(rows const& x, activation, rows dy);

/// Of `attend` over an item's own rows: gradients of queries, keys and values side by side, [row, 3 * head * d_head], as one
/// matrix that makes all three takes them. Patterns are computed anew, a few queries at a time. Without position biases: a
/// plugin_error if there are any.
WAYFARER_API rows attend_backward(rows const& q, rows const& keys, rows const& values, attend_options const&, rows const& dz);

struct cross_entropy_result {
  double loss = 0;        ///< sum of -log probability of the targets, nats
  std::size_t count = 0;  ///< targets that counted
  rows dx{};
};
/// Loss of logits x W + b against one target a row; those below 0 do not count. The gradients (dx and `gradient`) are those of
/// `weight` times the loss. Logits are made, used and forgotten some rows at a time. `backward` false: the loss alone. Throws
/// data_error for a target outside the vocabulary.
WAYFARER_API cross_entropy_result cross_entropy(rows const& x, linear_weights const& head, std::span<std::int32_t const> targets,
                                                double weight, weight_gradient const& gradient, bool backward = true);

WAYFARER_LAYOUT(weight_gradient, w, b);
WAYFARER_LAYOUT(cross_entropy_result, loss, count, dx);

}  // namespace wayfarer
