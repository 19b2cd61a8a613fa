// Attention's gradient: for each item and head, tiles of queries. A tile's pattern is made anew from queries and keys, used, and
// forgotten; gradients of keys and values grow tile by tile, in order.
#include <wayfarer/backward.hpp>

#include <algorithm>
#include <string>

#include <wayfarer/error.hpp>

#include "common.hpp"
#include "products.hpp"

namespace wayfarer {

using layer_kernels::block_k;
using layer_kernels::kernels;
using layer_kernels::matrix;

namespace {

constexpr std::size_t tile = 64;

template <class T>
struct attention_gradient {
  rows const &q, &keys, &values, &dz;
  attend_options const& how;
  T* out;  // [row, 3 width]

  /// packed: panels [k][P] of w [k, n], one after the other.
  static void pack_all(T* packed, matrix const& w, std::size_t k, std::size_t n) {
    auto const& kernel = kernels<T>();
    std::size_t const P = kernel.panel;
    for (std::size_t j = 0; j * P < n; ++j) kernel.pack(packed + j * P * k, w, 0, k, j * P, std::min(P, n - j * P));
  }

  /// c [m, n] = or += a [m, k] w, with w [depth, n] from pack_all, of which the first k rows count.
  static void product(T* c, std::size_t ld_c, T const* a, std::size_t ld_a, T const* packed, std::size_t depth, std::size_t m,
                      std::size_t n, std::size_t k, bool add) {
    auto const& kernel = kernels<T>();
    std::size_t const P = kernel.panel;
    for (std::size_t j = 0; j * P < n; ++j)
      for (std::size_t b = 0; b < k; b += block_k)
        kernel.product(c + j * P, ld_c, a + b, ld_a, packed + (j * depth + b) * P, m, std::min(P, n - j * P),
                       std::min(block_k, k - b), add || b > 0, {});
  }

  void head(std::size_t item, std::size_t h) const {
    auto const& k = kernels<T>();
    std::size_t const width = q.width(), dh = width / how.heads, P = k.panel, base = q.packing().offsets[item],
                      n = q.packing().length(item);
    if (n == 0) return;
    std::size_t const key_space = (n + P - 1) / P * P, head_space = (dh + P - 1) / P * P, ld = key_space + P;
    auto const type = number_of(dtype_of<T>());
    T const* const queries = q.data<T>() + base * width + h * dh;
    T const* const key_rows = keys.data<T>() + base * width + h * dh;
    T const* const value_rows = values.data<T>() + base * width + h * dh;
    T const* const dz_rows = dz.data<T>() + base * width + h * dh;
    T *const dq = out + base * 3 * width + h * dh, *const dk = dq + width, *const dv = dk + width;

    T* const memory = scratch<T>(2 * key_space * dh + n * head_space + 2 * tile * head_space + 2 * tile * ld + n * tile, 0);
    T* const keys_turned = memory;                            // panels of [dh, key]
    T* const values_turned = keys_turned + key_space * dh;    // panels of [dh, key]
    T* const keys_packed = values_turned + key_space * dh;    // panels of [key, dh]
    T* const queries_packed = keys_packed + n * head_space;   // panels of [query of the tile, dh]
    T* const dz_packed = queries_packed + tile * head_space;  // the same
    T* const pattern = dz_packed + tile * head_space;         // [query of the tile, ld]
    T* const d_pattern = pattern + tile * ld;                 // the same
    T* const turned = d_pattern + tile * ld;                  // [key, tile]
    pack_all(keys_turned, {key_rows, type, width, false}, dh, n);
    pack_all(values_turned, {value_rows, type, width, false}, dh, n);
    pack_all(keys_packed, {key_rows, type, width, true}, n, dh);

    for (std::size_t q0 = 0; q0 < n; q0 += tile) {
      std::size_t const count = std::min(tile, n - q0), seen = how.causal ? q0 + count : n;
      // Keys that no earlier tile saw have no gradient yet.
      std::size_t const before = q0 == 0 ? 0 : how.causal ? q0 : n;
      product(pattern, ld, queries + q0 * width, width, keys_turned, dh, count, seen, dh, false);
      product(d_pattern, ld, dz_rows + q0 * width, width, values_turned, dh, count, seen, dh, false);
      for (std::size_t i = 0; i < count; ++i) {
        std::size_t const visible = how.causal ? q0 + i + 1 : n;
        T *const p = pattern + i * ld, *const d = d_pattern + i * ld;
        k.scores(p, static_cast<T>(how.scale), nullptr, visible);
        k.softmax(p, visible);
        k.softmax_backward(d, p, static_cast<T>(how.scale), visible);
        std::fill(p + visible, p + seen, T(0));
        std::fill(d + visible, d + seen, T(0));
      }
      product(dq + q0 * 3 * width, 3 * width, d_pattern, ld, keys_packed, n, count, dh, seen, false);
      auto const add_keys = [&](T* to, T const* from, T* packed, T const* rows_of_tile) {
        k.transpose(turned, tile, from, ld, count, seen);
        pack_all(packed, {rows_of_tile + q0 * width, type, width, true}, count, dh);
        if (before) product(to, 3 * width, turned, tile, packed, count, before, dh, count, true);
        if (seen > before)
          product(to + before * 3 * width, 3 * width, turned + before * tile, tile, packed, count, seen - before, dh, count,
                  false);
      };
      add_keys(dk, d_pattern, queries_packed, queries);
      add_keys(dv, pattern, dz_packed, dz_rows);
    }
  }
};

}  // namespace

rows attend_backward(rows const& q, rows const& keys, rows const& values, attend_options const& how, rows const& dz) {
  if (how.bias && how.bias->any()) throw plugin_error("attend_backward knows no position biases");
  if ((how.kv_heads && how.kv_heads != how.heads) || how.window || how.cap > 0)
    throw plugin_error("attend_backward knows no grouped keys, windows or caps");
  std::size_t const width = q.width();
  if (how.heads == 0 || width % how.heads != 0 || keys.width() != width || values.width() != width || dz.width() != width ||
      keys.count() != q.count() || values.count() != q.count() || dz.count() != q.count() ||
      keys.packing().offsets != q.packing().offsets || keys.type() != q.type() || values.type() != q.type() ||
      dz.type() != q.type())
    throw plugin_error(
        "attend_backward: queries, keys, values and the gradient must be rows of the same items and width, which " +
        std::to_string(how.heads) + " heads divide");
  rows out = q.like(3 * width);
  with_type(q.type(), [&]<class T>(T const*) {
    attention_gradient<T> const job{q, keys, values, dz, how, out.overwrite<T>()};
    std::size_t const heads = how.heads;
    split(q.packing().items() * heads, q.count() * width * 64, [&](std::size_t i) { job.head(i / heads, i % heads); });
  });
  return out;
}

}  // namespace wayfarer
