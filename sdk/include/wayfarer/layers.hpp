// The layers that transformers are made of, shared by all model plugins: a forward pass is a few lines of them.
//
// Each takes `rows` of a whole batch, with items of different lengths packed end to end, and makes new ones. Work is split by
// parallel_for; a number depends on its own item alone and is the same for any thread count and any batch: every sum runs in one
// order fixed by the layer's width. Inner hooks are tapped through the scope `at`; the layer takes its fused path if no hook
// is used. Weights are views of any float type, converted as they are read. A layer that reads rows on a tape records itself
// (tape.hpp). Free functions; any thread, though not for the same objects.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// Throws usage_error if this processor can't do the arithmetic that a request asks for.
WAYFARER_API void check_precision(dtype precision);

/// y = x W + b.
struct linear_weights {
  tensor w;              ///< [in, out], or [out, in] as torch's Linear stores it; its last dimension contiguous
  tensor b{};            ///< [out]; undefined: none
  bool in_first = true;  ///< w is [in, out]
  std::size_t in() const { return w.size(in_first ? 0 : 1); }
  std::size_t out() const { return w.size(in_first ? 1 : 0); }
};
WAYFARER_API rows linear(rows const& x, linear_weights const&);
/// The queries, keys and values of the same rows: three linear layers. Where their weights lie side by side in one matrix, their
/// gradients are computed by that matrix.
WAYFARER_API std::array<rows, 3> project(rows const& x, linear_weights const& q, linear_weights const& k,
                                         linear_weights const& v);

/// Rows of a table [token, d_model], times `scale`. Throws data_error for a token outside the table. `record`: the tape of this
/// pass, if it has one.
WAYFARER_API rows embed(ragged<std::int32_t> const& tokens, std::shared_ptr<row_packing const> const&, tensor const& table,
                        dtype precision, double scale = 1, tape* record = nullptr);
/// Rows of a table [pos, d_model] at each token's position, `offset` further down. Throws data_error beyond the table's end.
WAYFARER_API rows embed_positions(std::shared_ptr<row_packing const> const&, tensor const& table, dtype precision,
                                  std::size_t offset = 0, tape* record = nullptr);
/// A tensor [row, width] in the packing of the batch, as a pass that starts from vectors has it. Throws plugin_error if it does
/// not fit.
WAYFARER_API rows rows_from(tensor const&, std::shared_ptr<row_packing const> const&, std::size_t width, dtype precision,
                            std::string_view what, tape* record = nullptr);
/// x times a number.
WAYFARER_API rows scaled(rows x, double by);
/// limit tanh(x / limit): a soft cap.
WAYFARER_API rows capped(rows x, double limit);
/// Runs of columns side by side: [first[i], first[i] + width) for each i. Takes queries out of a projection that holds keys and
/// values too.
WAYFARER_API rows columns(rows const& x, std::size_t width, std::span<std::size_t const> first);

struct norm_weights {
  tensor w, b{};  ///< [width]; undefined: 1 and 0
  double epsilon = 1e-5;
  bool plus_one = false;  ///< the weight is 1 + w
  /// A row is so many vectors side by side, each normed alone, as the heads of queries. w and b are of one of them, or of all.
  std::size_t groups = 1;
};
/// (x - mean) / hook_scale = hook_normalized; times w plus b = hook_out.
WAYFARER_API rows layer_norm(rows const& x, norm_weights const&, tap_scope const& at);
/// The same without the mean: the norm of T5, Llama and most since.
WAYFARER_API rows rms_norm(rows const& x, norm_weights const&, tap_scope const& at);

enum class activation { relu, gelu_tanh, gelu_erf, silu, tanh, identity, gelu_quick, relu_squared };
/// Of Hugging Face's names ("gelu_new", "gelu", "relu", ...). Throws usage_error for one that is not known.
WAYFARER_API activation activation_of(std::string_view name);
WAYFARER_API rows activate(rows x, activation);

struct mlp_weights {
  linear_weights in, out;
  linear_weights gate{};  ///< undefined w: plain
  activation act = activation::gelu_tanh;
};
/// Plain: act(x in = hook_pre) = hook_post; times out. Gated: act(x gate = hook_pre) * (x in = hook_pre_linear) = hook_post.
WAYFARER_API rows mlp(rows const& x, mlp_weights const&, tap_scope const& at);

// ---- attention ---------------------------------------------------------------------------------------------------------------

/// The keys and values of one layer for some items, as far as they have been read. Kept in pages that continuations share.
class WAYFARER_API key_values {
 public:
  static constexpr std::size_t page_rows = 64;

  key_values() = default;
  key_values(std::size_t items, std::size_t width, dtype precision);
  std::size_t items() const noexcept { return items_.size(); }
  std::size_t length(std::size_t item) const noexcept { return items_[item].length; }
  std::size_t width() const noexcept { return width_; }
  /// Appends the rows of each item. A shared page is copied before it is written to.
  void append(rows const& keys, rows const& values);
  /// Forgets what one item has read beyond this length.
  void shorten(std::size_t item, std::size_t length);
  /// Those items, in this order; pages are shared.
  key_values branch(std::span<std::size_t const> items) const;

 private:
  template <class>
  friend struct layout_of;
  friend struct attention_keys;
  struct sequence {
    std::vector<std::shared_ptr<void>> pages;  // [2, page_rows, width]: keys, then values
    std::size_t length = 0;
  };
  std::vector<sequence> items_;
  std::size_t width_ = 0;
  dtype precision_ = dtype::f32;
};

/// Added to the scores before the softmax.
struct position_bias {
  /// [head, distance]: for key - query = distance - origin. Undefined: none.
  tensor by_distance{};
  std::size_t origin = 0;
  /// Or for every pair of every item; takes precedence.
  pairs full{};
  /// Or [head, position of the key], the same for all queries: ALiBi.
  tensor by_key{};
  bool any() const noexcept { return by_distance.defined() || full.defined() || by_key.defined(); }
};
/// The bias of every pair, so that it can be tapped: `keys[i]` of item i.
WAYFARER_API pairs expand(position_bias const&, std::shared_ptr<row_packing const> const& queries, std::vector<std::size_t> keys,
                          dtype precision);

struct attend_options {
  std::size_t heads = 1;
  double scale = 1;     ///< scores are scale q.k + bias
  bool causal = false;  ///< a query sees the keys up to its own; the last query of an item stands at its last key
  position_bias const* bias = nullptr;
  /// Of keys and values: each serves heads / kv_heads neighbouring heads of the queries; 0: as many as heads.
  std::size_t kv_heads = 0;
  std::size_t window = 0;  ///< where causal: a query sees itself and the window - 1 keys before it; 0: all before it
  double cap = 0;          ///< scores are cap tanh(score / cap), bias included; 0: no cap
};
/// Scores before bias and mask (hook_qk) and after (hook_attn_scores), their softmax (hook_pattern) and the values weighted by it
/// (hook_z). q: [row, head * d_head]; keys and values [row, kv_head * d_head] of the same items, in their own packing.
WAYFARER_API rows attend(rows const& q, rows const& keys, rows const& values, attend_options const&, tap_scope const& at);
/// The same over all that has been read.
WAYFARER_API rows attend(rows const& q, key_values const&, attend_options const&, tap_scope const& at);

struct attention_weights {
  linear_weights q, k, v, o;
};
/// Queries of x, keys and values of `memory` (self-attention: x again), hooks hook_q, hook_k, hook_v and those of `attend`; times
/// o. With `past`, the new keys and values are appended to it and all of it is attended to.
WAYFARER_API rows attention(rows const& x, rows const& memory, attention_weights const&, attend_options const&,
                            tap_scope const& at, key_values* past = nullptr);

WAYFARER_LAYOUT(linear_weights, w, b, in_first);
WAYFARER_LAYOUT(norm_weights, w, b, epsilon, plus_one, groups);
WAYFARER_ENUM_LAYOUT(activation, relu, gelu_tanh, gelu_erf, silu, tanh, identity, gelu_quick, relu_squared);
WAYFARER_LAYOUT(mlp_weights, in, out, gate, act);
WAYFARER_INNER_LAYOUT(key_values, 1, sequence, pages, length);
WAYFARER_LAYOUT(key_values, items_, width_, precision_);
WAYFARER_LAYOUT(position_bias, by_distance, origin, full, by_key);
WAYFARER_LAYOUT(attend_options, heads, scale, causal, bias, kv_heads, window, cap);
WAYFARER_LAYOUT(attention_weights, q, k, v, o);

}  // namespace wayfarer
