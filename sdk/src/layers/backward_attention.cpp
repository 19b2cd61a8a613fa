// Attention's gradient: for each item and head of the keys, the heads of queries that read it, in tiles of queries. A tile's
// pattern is made anew from queries and keys, used, and forgotten; gradients of keys and values grow tile by tile, in order. The
// same of mixing by position, whose weights are made anew from the table of distances.
#include <wayfarer/backward.hpp>

#include <algorithm>
#include <string>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/mixing.hpp>

#include "common.hpp"
#include "distances.hpp"
#include "products.hpp"

namespace wayfarer {

using layer_kernels::block_k;
using layer_kernels::kernels;
using layer_kernels::matrix;

namespace {

constexpr std::size_t tile = 64;

/// packed: panels [k][P] of w [k, n], one after the other.
template <class T>
void pack_all(T* packed, matrix const& w, std::size_t k, std::size_t n) {
  auto const& kernel = kernels<T>();
  std::size_t const P = kernel.panel;
  for (std::size_t j = 0; j * P < n; ++j) kernel.pack(packed + j * P * k, w, 0, k, j * P, std::min(P, n - j * P));
}

/// c [m, n] = or += a [m, k] w, with w [depth, n] from pack_all, of which the first k rows count.
template <class T>
void product(T* c, std::size_t ld_c, T const* a, std::size_t ld_a, T const* packed, std::size_t depth, std::size_t m,
             std::size_t n, std::size_t k, bool add) {
  auto const& kernel = kernels<T>();
  std::size_t const P = kernel.panel;
  for (std::size_t j = 0; j * P < n; ++j)
    for (std::size_t b = 0; b < k; b += block_k)
      kernel.product(c + j * P, ld_c, a + b, ld_a, packed + (j * depth + b) * P, m, std::min(P, n - j * P),
                     std::min(block_k, k - b), add || b > 0, {});
}

/// The keys of one tile of queries: [begin, seen), of which no earlier tile saw those from `before` on.
struct tile_keys {
  std::size_t begin, before, seen;
  std::size_t queries, ld;
};

/// Adds what a tile's rows give its keys, by weights [query, ld] that begin at the first key, to gradients [key, ld_to]; writes
/// them where there are none yet. `turned` and `packed` are the tile's memory.
template <class T>
void give_keys(T* to, std::size_t ld_to, tile_keys const& t, T const* weights, matrix const& tile_rows, std::size_t width,
               T* turned, T* packed) {
  kernels<T>().transpose(turned, tile, weights, t.ld, t.queries, t.seen - t.begin);
  pack_all(packed, tile_rows, t.queries, width);
  if (t.before > t.begin)
    product(to + t.begin * ld_to, ld_to, turned, tile, packed, t.queries, t.before - t.begin, width, t.queries, true);
  if (t.seen > t.before)
    product(to + t.before * ld_to, ld_to, turned + (t.before - t.begin) * tile, tile, packed, t.queries, t.seen - t.before, width,
            t.queries, false);
}

/// Adds a query's numbers of keys [first, last), which lie from `from` on, to those of a hook over pairs, if it is wanted.
template <class T>
void hand_out(pairs* to, std::size_t item, std::size_t head, std::size_t query, T const* from, std::size_t first,
              std::size_t last) {
  if (!to) return;
  T* const row = to->head<T>(item, head) + query * to->keys(item);
  kernels<T>().add(row + first, row + first, from + first, last - first);
}

template <class T>
struct attention_gradient {
  rows const &q, &keys, &values, &dz;
  attend_options const& how;
  attend_gradients const& wanted;
  tensor by_distance, by_key;  // in T
  T* out;                      // [row, (head + 2 kv_head) * d_head]

  std::size_t kv_heads() const { return how.kv_heads ? how.kv_heads : how.heads; }
  std::size_t d_head() const { return q.width() / how.heads; }
  std::size_t wide() const { return q.width() + 2 * keys.width(); }
  std::size_t visible(std::size_t item, std::size_t query) const { return how.causal ? query + 1 : q.packing().length(item); }
  std::size_t first_key(std::size_t item, std::size_t query) const {
    std::size_t const end = visible(item, query);
    return how.window && end > how.window ? end - how.window : 0;
  }

  /// What one item and head of the keys needs: packed once for all queries that read it.
  struct packed_keys {
    T *keys_turned, *values_turned;  // panels of [d_head, key]
    T* keys;                         // panels of [key, d_head]
  };
  /// One tile of queries, and the memory that it uses.
  struct queries {
    std::size_t item, head, first, count;
    std::size_t begin, seen;  // its keys; begin is a multiple of the panel
    bool later;               // another head has been at these keys before
    std::size_t ld;
    T *pattern, *d_pattern, *capped;  // [query, ld]
    T *queries_packed, *dz_packed, *turned;
  };

  T const* bias_row(queries const& t, std::size_t query) const {
    if (!how.bias) return nullptr;
    if (how.bias->full.defined()) return how.bias->full.template head<T>(t.item, t.head) + query * q.packing().length(t.item);
    if (by_key.defined()) return by_key.view<T const>().row(t.head).data() + q.packing().first_position[t.item];
    if (!by_distance.defined()) return nullptr;
    return by_distance.view<T const>().row(t.head).data() + (how.bias->origin - query);
  }

  /// Products of a query and its keys, and of dz and their values, to the pattern and the gradient of those products.
  void one_query(queries const& t, std::size_t i) const {
    auto const& k = kernels<T>();
    std::size_t const query = t.first + i, from = first_key(t.item, query), last = visible(t.item, query), n = last - from;
    // Columns count from t.begin.
    T *const p = t.pattern + i * t.ld - t.begin, *const d = t.d_pattern + i * t.ld - t.begin;
    T const* const bias = bias_row(t, query);
    k.scores(p + from, static_cast<T>(how.scale), bias ? bias + from : nullptr, n);
    T* const capped = how.cap > 0 ? t.capped - t.begin : nullptr;
    if (capped) {
      k.cap(p + from, static_cast<T>(how.cap), n);
      std::copy(p + from, p + last, capped + from);
    }
    k.softmax(p + from, n);
    hand_out(wanted.pattern, t.item, t.head, query, d, from, last);
    bool const plain = !capped && !wanted.scores && !wanted.bias;
    k.softmax_backward(d + from, p + from, plain ? static_cast<T>(how.scale) : T(1), n);
    if (!plain) {
      hand_out(wanted.scores, t.item, t.head, query, d, from, last);
      auto const by = static_cast<T>(1 / (how.cap * how.cap));
      for (std::size_t j = from; capped && j < last; ++j) d[j] *= T(1) - capped[j] * capped[j] * by;
      hand_out(wanted.bias, t.item, t.head, query, d, from, last);
      k.scale(d + from, static_cast<T>(how.scale), n);
    }
    for (T* const row : {p, d}) {
      std::fill(row + t.begin, row + from, T(0));
      std::fill(row + last, row + t.seen, T(0));
    }
  }

  void one_tile(queries const& t, packed_keys const& keys_of) const {
    std::size_t const dh = d_head(), P = kernels<T>().panel, n = q.packing().length(t.item), base = q.packing().offsets[t.item];
    std::size_t const kv_head = t.head / (how.heads / kv_heads()), begin = t.begin, span = t.seen - begin;
    auto const type = number_of(dtype_of<T>());
    T const* const query = q.data<T>() + (base + t.first) * q.width() + t.head * dh;
    T const* const dz_row = dz.data<T>() + (base + t.first) * q.width() + t.head * dh;
    product(t.pattern, t.ld, query, q.width(), keys_of.keys_turned + begin * dh, dh, t.count, span, dh, false);
    product(t.d_pattern, t.ld, dz_row, q.width(), keys_of.values_turned + begin * dh, dh, t.count, span, dh, false);
    for (std::size_t i = 0; i < t.count; ++i) one_query(t, i);
    T* const dq = out + (base + t.first) * wide() + t.head * dh;
    product(dq, wide(), t.d_pattern, t.ld, keys_of.keys + begin * P, n, t.count, dh, span, false);
    // Keys that no earlier tile saw have no gradient yet.
    std::size_t const before = t.later ? t.seen : t.first == 0 ? begin : how.causal ? t.first : n;
    T* const dk = out + base * wide() + q.width() + kv_head * dh;
    tile_keys const at{begin, before, t.seen, t.count, t.ld};
    give_keys(dk, wide(), at, t.d_pattern, {query, type, q.width(), true}, dh, t.turned, t.queries_packed);
    give_keys(dk + keys.width(), wide(), at, t.pattern, {dz_row, type, q.width(), true}, dh, t.turned, t.dz_packed);
  }

  void head(std::size_t item, std::size_t kv_head) const {
    std::size_t const dh = d_head(), P = kernels<T>().panel, base = q.packing().offsets[item], n = q.packing().length(item);
    if (n == 0) return;
    std::size_t const key_space = (n + P - 1) / P * P, head_space = (dh + P - 1) / P * P, ld = key_space + P;
    auto const type = number_of(dtype_of<T>());
    T const* const key_rows = keys.data<T>() + base * keys.width() + kv_head * dh;
    T const* const value_rows = values.data<T>() + base * keys.width() + kv_head * dh;
    std::size_t const capped = how.cap > 0 ? ld : 0;
    T* at = scratch<T>(2 * key_space * dh + n * head_space + 2 * tile * head_space + 2 * tile * ld + n * tile + capped, 0);
    auto const part = [&at](std::size_t count) { return std::exchange(at, at + count); };
    packed_keys all{};
    all.keys_turned = part(key_space * dh), all.values_turned = part(key_space * dh), all.keys = part(n * head_space);
    queries t{};
    t.queries_packed = part(tile * head_space), t.dz_packed = part(tile * head_space);
    t.pattern = part(tile * ld), t.d_pattern = part(tile * ld), t.turned = part(n * tile), t.capped = part(capped);
    t.item = item, t.ld = ld;
    pack_all(all.keys_turned, {key_rows, type, keys.width(), false}, dh, n);
    pack_all(all.values_turned, {value_rows, type, keys.width(), false}, dh, n);
    pack_all(all.keys, {key_rows, type, keys.width(), true}, n, dh);
    std::size_t const group = how.heads / kv_heads();
    for (std::size_t h = 0; h < group; ++h)
      for (std::size_t q0 = 0; q0 < n; q0 += tile) {
        t.head = kv_head * group + h, t.first = q0, t.count = std::min(tile, n - q0), t.later = h > 0;
        t.begin = first_key(item, q0) / P * P, t.seen = how.causal ? q0 + t.count : n;
        one_tile(t, all);
      }
  }
};

void check_fit(rows const& q, rows const& keys, rows const& values, attend_options const& how, rows const& dz) {
  std::size_t const kv_heads = how.kv_heads ? how.kv_heads : how.heads;
  if (how.heads == 0 || q.width() % how.heads != 0 || how.heads % kv_heads != 0 ||
      keys.width() != q.width() / how.heads * kv_heads || values.width() != keys.width() || dz.width() != q.width() ||
      dz.count() != q.count() || keys.type() != q.type() || values.type() != q.type() || dz.type() != q.type())
    throw plugin_error("attend_backward: queries, keys, values and the gradient must be rows of one type that " +
                       std::to_string(how.heads) + " heads, and their heads of keys, divide");
  if (keys.packing().offsets != q.packing().offsets || values.packing().offsets != q.packing().offsets)
    throw usage_error("attention to rows of other items has no gradient yet");
  if (how.window && !how.causal) throw plugin_error("attend_backward: a window needs an order");
  if (how.bias && how.bias->by_distance.defined() && !how.bias->full.defined() && !how.bias->by_key.defined())
    for (std::size_t i = 0; i < q.packing().items(); ++i)
      if (std::size_t const n = q.packing().length(i);
          n && (how.bias->origin + 1 < n || how.bias->origin + n > how.bias->by_distance.size(1)))
        throw plugin_error("attend_backward: the position bias does not reach over " + std::to_string(n) + " keys");
}

}  // namespace

rows attend_backward(rows const& q, rows const& keys, rows const& values, attend_options const& how, rows const& dz,
                     attend_gradients const& wanted) {
  check_fit(q, keys, values, how, dz);
  rows out = q.like(q.width() + 2 * keys.width());
  with_type(q.type(), [&]<class T>(T const*) {
    attention_gradient<T> job{q, keys, values, dz, how, wanted, {}, {}, out.overwrite<T>()};
    if (how.bias && how.bias->by_distance.defined()) job.by_distance = how.bias->by_distance.to(q.type());
    if (how.bias && how.bias->by_key.defined()) job.by_key = how.bias->by_key.to(q.type());
    std::size_t const heads = job.kv_heads();
    split(q.packing().items() * heads, q.count() * q.width() * 64, [&](std::size_t i) { job.head(i / heads, i % heads); });
  });
  return out;
}

namespace {

template <class T>
struct mixing_gradient {
  rows const &values, &dz;
  mixing_options const& how;
  attend_gradients const& wanted;
  tensor table;  // [head, key] in T, a query's own last
  double* sums;  // of the table's gradient, [item, head, distance]; null: not wanted
  T* out;        // [row, kv_head * d_head]

  std::size_t kv_heads() const { return how.kv_heads ? how.kv_heads : how.heads; }
  std::size_t d_head() const { return values.width() / kv_heads(); }
  std::size_t first_key(std::size_t query) const { return how.window && query + 1 > how.window ? query + 1 - how.window : 0; }
  /// Whether the gradients of the weights themselves are needed.
  bool by_pair() const { return sums || wanted.pattern || wanted.scores; }

  /// One tile of queries, and the memory that it uses.
  struct queries {
    std::size_t item, head, first, count, ld;
    std::size_t begin, seen;  // its keys; begin is a multiple of the panel
    bool later;               // another head has been at these keys before
    T *weights, *d_weights;   // [query, ld]
    T *values_turned, *dz_packed, *turned;
  };

  /// The weights of a query's keys, and, of the gradients by them, those of the table and of hooks.
  void one_query(queries const& t, std::size_t i) const {
    auto const& k = kernels<T>();
    std::size_t const query = t.first + i, from = first_key(query), last = query + 1, n = last - from;
    // Columns count from t.begin.
    T* const p = t.weights + i * t.ld - t.begin;
    std::fill(p + t.begin, p + t.seen, T(0));
    if (table.defined()) std::copy_n(table.view<T const>().row(t.head).data() + (table.size(1) - n), n, p + from);
    if (how.softmax) k.softmax(p + from, n);
    if (!by_pair()) return;
    T* const d = t.d_weights + i * t.ld - t.begin;
    hand_out(wanted.pattern, t.item, t.head, query, d, from, last);
    if (how.softmax) k.softmax_backward(d + from, p + from, T(1), n);
    hand_out(wanted.scores, t.item, t.head, query, d, from, last);
    if (!sums) return;
    double* const to = sums + (t.item * how.heads + t.head) * table.size(1);
    for (std::size_t j = from; j < last; ++j) to[query - j] += static_cast<double>(d[j]);
  }

  void one_tile(queries const& t) const {
    std::size_t const dh = d_head(), base = values.packing().offsets[t.item];
    T const* const dz_row = dz.data<T>() + (base + t.first) * dz.width() + t.head * dh;
    if (by_pair())
      product(t.d_weights, t.ld, dz_row, dz.width(), t.values_turned + t.begin * dh, dh, t.count, t.seen - t.begin, dh, false);
    for (std::size_t i = 0; i < t.count; ++i) one_query(t, i);
    T* const to = out + base * values.width() + t.head / (how.heads / kv_heads()) * dh;
    tile_keys const at{t.begin, t.later ? t.seen : t.first == 0 ? t.begin : t.first, t.seen, t.count, t.ld};
    give_keys(to, values.width(), at, t.weights, {dz_row, number_of(dtype_of<T>()), dz.width(), true}, dh, t.turned, t.dz_packed);
  }

  void head(std::size_t item, std::size_t kv_head) const {
    std::size_t const dh = d_head(), P = kernels<T>().panel, n = values.packing().length(item);
    if (n == 0) return;
    std::size_t const key_space = (n + P - 1) / P * P, head_space = (dh + P - 1) / P * P, ld = key_space + P;
    T* at = scratch<T>(key_space * dh + tile * head_space + 2 * tile * ld + n * tile, 0);
    auto const part = [&at](std::size_t count) { return std::exchange(at, at + count); };
    queries t{};
    t.item = item, t.ld = ld;
    t.values_turned = part(key_space * dh), t.dz_packed = part(tile * head_space);
    t.weights = part(tile * ld), t.d_weights = part(tile * ld), t.turned = part(n * tile);
    T const* const own = values.data<T>() + values.packing().offsets[item] * values.width() + kv_head * dh;
    if (by_pair()) pack_all(t.values_turned, {own, number_of(dtype_of<T>()), values.width(), false}, dh, n);
    std::size_t const group = how.heads / kv_heads();
    for (std::size_t h = 0; h < group; ++h)
      for (std::size_t q0 = 0; q0 < n; q0 += tile) {
        t.head = kv_head * group + h, t.first = q0, t.count = std::min(tile, n - q0), t.later = h > 0;
        t.begin = first_key(q0) / P * P, t.seen = q0 + t.count;
        one_tile(t);
      }
  }
};

/// Adds the sums of all items, in their order, to the gradient of the table.
template <class T>
void add_sums(tensor const& to, std::vector<double> const& sums, std::size_t items) {
  auto const out = to.view<T>();
  std::size_t const heads = to.size(0), distances = to.size(1);
  for (std::size_t h = 0; h < heads; ++h)
    for (std::size_t d = 0; d < distances; ++d) {
      double sum = 0;
      for (std::size_t item = 0; item < items; ++item) sum += sums[(item * heads + h) * distances + d];
      out(h, d) += static_cast<T>(sum);
    }
}

}  // namespace

rows mix_backward(rows const& values, mixing_options const& how, rows const& dz, tensor const& d_by_distance,
                  attend_gradients const& wanted) {
  auto const& of = values.packing();
  check_mixing(how, values.width(), of.longest());
  std::size_t const kv_heads = how.kv_heads ? how.kv_heads : how.heads, items = of.items();
  bool const by_table = d_by_distance.defined();
  if (dz.count() != values.count() || dz.width() != values.width() / kv_heads * how.heads || dz.type() != values.type())
    throw plugin_error("mix_backward: values and the gradient must be rows of one type that fit " + std::to_string(how.heads) +
                       " heads");
  if (by_table && (!how.by_distance.defined() || d_by_distance.rank() != 2 || d_by_distance.type() != values.type() ||
                   d_by_distance.size(0) != how.heads || d_by_distance.size(1) != how.by_distance.size(1)))
    throw plugin_error("mix_backward: a gradient of " + describe(d_by_distance.shape()) + " does not fit the table");
  std::vector<double> sums(by_table ? items * d_by_distance.count() : 0);
  rows out = values.like(values.width());
  with_type(values.type(), [&]<class T>(T const*) {
    mixing_gradient<T> const job{values,
                                 dz,
                                 how,
                                 wanted,
                                 how.by_distance.defined() ? in_order_of_keys(how.by_distance, values.type()) : tensor(),
                                 by_table ? sums.data() : nullptr,
                                 out.overwrite<T>()};
    split(items * kv_heads, values.count() * dz.width() * 64, [&](std::size_t i) { job.head(i / kv_heads, i % kv_heads); });
    if (by_table) add_sums<T>(d_by_distance, sums, items);
  });
  return out;
}

}  // namespace wayfarer
