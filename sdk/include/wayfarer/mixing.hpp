// Mixing of positions without queries and keys: what stands in attention's place in a model whose weights between positions are
// fixed, or follow from distance alone.
//
// A query takes the values at its own position and before it, each times a weight that no content decides: the same for all, a
// softmax of one score for each head and distance, or those numbers themselves. Model plugins call it where they would call
// `attend`; the hooks are those of attention, as far as they exist. A number is the same for any thread count, batch and piece
// of a continued run, and the step records itself on a tape (tape.hpp). Free functions; any thread.
#pragma once

#include <cstddef>

#include <wayfarer/backward.hpp>
#include <wayfarer/export.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

struct mixing_options {
  std::size_t heads = 1;     ///< of the result
  std::size_t kv_heads = 0;  ///< of the values: each serves heads / kv_heads neighbouring heads; 0: as many as heads
  std::size_t window = 0;    ///< a query takes its own position and the window - 1 before it; 0: all before it
  /// [head, distance]: column d is of the value d positions before the query. Undefined: all values count alike.
  tensor by_distance{};
  bool softmax = true;  ///< the table holds scores; else the weights themselves, of any sign and sum
};

/// values: [row, kv_head * d_head]; gives [row, head * d_head]. Hooks hook_attn_scores (of a softmax), hook_pattern, hook_z. With
/// `past`, which has read these values as its last, those of all that it has read are mixed. Throws plugin_error for a table
/// that does not reach over the keys.
WAYFARER_API rows mix(rows const& values, mixing_options const&, tap_scope const& at, key_values const* past = nullptr);

/// The gradient of the values of a mix over an item's own rows; that of the table is added to `d_by_distance`, of its shape and
/// of the type of the rows, unless it is undefined.
WAYFARER_API rows mix_backward(rows const& values, mixing_options const&, rows const& dz, tensor const& d_by_distance,
                               attend_gradients const& = {});

WAYFARER_LAYOUT(mixing_options, heads, kv_heads, window, by_distance, softmax);

}  // namespace wayfarer
