// Attention: for each item and head, tiles of queries against all keys that they see. The scores of a tile stay in the cache;
// they and their softmax reach memory only if a hook captures them, and leave the fused path only if an edit changes them.
#include <wayfarer/layers.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include <wayfarer/backward.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/mixing.hpp>
#include <wayfarer/tape.hpp>

#include "common.hpp"
#include "distances.hpp"
#include "products.hpp"

namespace wayfarer {

using layer_kernels::block_k;
using layer_kernels::kernels;
using layer_kernels::matrix;

// ---- keys and values that have been read
// ---------------------------------------------------------------------------------------

key_values::key_values(std::size_t items, std::size_t width, dtype precision)
    : items_(items), width_(width), precision_(precision) {}

void key_values::append(rows const& keys, rows const& values) {
  auto const& of = keys.packing();
  if (of.items() != items_.size() || keys.width() != width_ || values.width() != width_ ||
      values.packing().offsets != of.offsets || keys.precision() != precision_)
    throw plugin_error("a continued run must keep the items, the width and the precision that it began with");
  std::size_t const row = width_ * size_of(keys.type()), plane = page_rows * row;
  with_type(keys.type(), [&]<class T>(T const*) {
    for (std::size_t i = 0; i < items_.size(); ++i) {
      auto& s = items_[i];
      for (std::size_t done = 0; done < of.length(i);) {
        std::size_t const at = s.length % page_rows, n = std::min(page_rows - at, of.length(i) - done);
        if (at == 0) {
          s.pages.push_back(pooled_memory(2 * plane));
        } else if (s.pages.back().use_count() > 1) {
          auto own = pooled_memory(2 * plane);
          std::memcpy(own.get(), s.pages.back().get(), at * row);
          std::memcpy(static_cast<std::byte*>(own.get()) + plane, static_cast<std::byte const*>(s.pages.back().get()) + plane,
                      at * row);
          s.pages.back() = std::move(own);
        }
        auto* const to = static_cast<std::byte*>(s.pages.back().get()) + at * row;
        std::size_t const from = (of.offsets[i] + done) * width_;
        std::memcpy(to, keys.data<T>() + from, n * row);
        std::memcpy(to + plane, values.data<T>() + from, n * row);
        s.length += n, done += n;
      }
    }
  });
}

void key_values::shorten(std::size_t item, std::size_t length) {
  auto& s = items_[item];
  s.length = std::min(s.length, length);
  s.pages.resize((s.length + page_rows - 1) / page_rows);
}

key_values key_values::branch(std::span<std::size_t const> items) const {
  key_values out(0, width_, precision_);
  for (auto const i : items) out.items_.push_back(items_.at(i));
  return out;
}

/// Keys and values of one item, in pages of page_rows rows.
struct attention_keys {
  rows const* keys = nullptr;
  rows const* values = nullptr;
  key_values const* past = nullptr;

  std::size_t length(std::size_t item) const { return past ? past->length(item) : keys->packing().length(item); }
  std::size_t width() const { return past ? past->width() : keys->width(); }
  template <class T>
  T const* page(std::size_t item, std::size_t p, bool of_values) const {
    if (past)
      return static_cast<T const*>(past->items_[item].pages[p].get()) + (of_values ? key_values::page_rows * past->width_ : 0);
    rows const& r = of_values ? *values : *keys;
    return r.data<T>() + (r.packing().offsets[item] + p * key_values::page_rows) * r.width();
  }
};

namespace {

constexpr std::size_t page = key_values::page_rows;

/// What one pass over the tiles reads and writes: the whole way, or one step of it where somebody changes what lies between.
struct attention_pass {
  pairs const* scores_in = nullptr;
  pairs* scores_out = nullptr;
  pairs const* pattern_in = nullptr;
  pairs* pattern_out = nullptr;
  bool values = true;
};

/// What weights are made of.
struct weighting {
  bool content = true;  ///< products of queries and keys; else of what positions give alone, and queries are never read
  bool softmax = true;  ///< else those numbers are the weights
};

template <class T>
struct attention_job {
  rows const& q;
  attention_keys const& kv;
  attend_options const& how;
  tensor by_distance, by_key;  // in T
  attention_pass pass;
  T* z;
  weighting rule{};

  std::size_t d_head() const { return q.width() / how.heads; }
  /// First column of the keys and values that a head of the queries reads.
  std::size_t kv_column(std::size_t head) const { return (how.kv_heads ? head / (how.heads / how.kv_heads) : head) * d_head(); }
  /// Position of an item's first query among its keys.
  std::size_t first_query(std::size_t item) const { return how.causal ? kv.length(item) - q.packing().length(item) : 0; }
  /// How many keys a query sees: the first so many.
  std::size_t visible_keys(std::size_t item, std::size_t query) const {
    return how.causal ? first_query(item) + query + 1 : kv.length(item);
  }

  /// The first key that a query sees.
  std::size_t first_key(std::size_t item, std::size_t query) const {
    std::size_t const end = visible_keys(item, query);
    return how.window && end > how.window ? end - how.window : 0;
  }
  /// Where the sums over keys begin: only whole blocks are left out, so that the order of a sum is the same for every tile.
  std::size_t first_block(std::size_t item, std::size_t query) const { return first_key(item, query) / block_k * block_k; }

  /// The bias of a query's keys from `first` on.
  T const* bias_from(std::size_t first, std::size_t item, std::size_t head, std::size_t query) const {
    if (!how.bias) return nullptr;
    if (how.bias->full.defined()) return how.bias->full.head<T>(item, head) + query * kv.length(item) + first;
    if (by_key.defined())
      return by_key.view<T const>().row(head).data() + (q.packing().first_position[item] - first_query(item) + first);
    if (!by_distance.defined()) return nullptr;
    return by_distance.view<T const>().row(head).data() + (how.bias->origin + first - (first_query(item) + query));
  }

  /// A query's scaled products with the keys that it sees, to scores.
  void finish_scores(T* row, T by, std::size_t item, std::size_t head, std::size_t query) const {
    std::size_t const from = first_key(item, query), n = visible_keys(item, query) - from;
    kernels<T>().scores(row + from, by, bias_from(from, item, head, query), n);
    if (how.cap > 0) kernels<T>().cap(row + from, static_cast<T>(how.cap), n);
  }

  /// Scores of queries [q0, q1) of an item, [q1 - q0, ld], to softmaxed patterns; keys [begin, seen) are there.
  void scores_to_pattern(T* s, std::size_t ld, std::size_t item, std::size_t head, std::size_t q0, std::size_t q1,
                         std::size_t begin, std::size_t seen) const {
    auto const& k = kernels<T>();
    std::size_t const n_keys = kv.length(item);
    for (std::size_t i = q0; i < q1; ++i) {
      T* const row = s + (i - q0) * ld;
      std::size_t const from = first_key(item, i), visible = visible_keys(item, i), n = visible - from;
      auto const copy_out = [&](pairs const& to, T outside) {
        T* const out = to.head<T>(item, head) + i * n_keys;
        std::fill(out, out + from, outside);
        std::memcpy(out + from, row + from, n * sizeof(T));
        std::fill(out + visible, out + n_keys, outside);
      };
      if (pass.scores_in) {
        std::memcpy(row + from, pass.scores_in->head<T>(item, head) + i * n_keys + from, n * sizeof(T));
      } else {
        if (!rule.content) std::fill(row + from, row + visible, T(0));
        finish_scores(row, static_cast<T>(how.scale), item, head, i);
      }
      if (pass.scores_out) copy_out(*pass.scores_out, -std::numeric_limits<T>::infinity());
      if (!pass.pattern_out && !pass.values) continue;
      if (rule.softmax) k.softmax(row + from, n);
      std::fill(row + begin, row + from, T(0));
      std::fill(row + visible, row + seen, T(0));
      if (pass.pattern_out) copy_out(*pass.pattern_out, T(0));
    }
  }

  /// One query: keys and values are read once, as they lie.
  void one_query(std::size_t item, std::size_t head) const {
    auto const& k = kernels<T>();
    std::size_t const n_keys = kv.length(item), dh = d_head(), ld = kv.width(), row = q.packing().offsets[item];
    std::size_t const column = kv_column(head), begin = first_block(item, 0);
    T const* const query = q.data<T>() + row * q.width() + head * dh;
    T* const s = scratch<T>(n_keys + page + dh, 3);
    T* const part = s + n_keys;
    if (pass.pattern_in) {
      std::memcpy(s, pass.pattern_in->head<T>(item, head), n_keys * sizeof(T));
      std::fill(s, s + first_key(item, 0), T(0));
    } else {
      if (rule.content && !pass.scores_in)
        for (std::size_t j = begin; j < n_keys; j += page) {
          matrix const w{kv.page<T>(item, j / page, false) + column, number_of(dtype_of<T>()), ld, false};
          std::size_t const n = std::min(page, n_keys - j);
          for (std::size_t b = 0; b < dh; b += block_k) {
            k.row_product(b ? part : s + j, query + b, w, b, std::min(block_k, dh - b), 0, n, false);
            if (b) k.add(s + j, s + j, part, n);
          }
        }
      scores_to_pattern(s, n_keys, item, head, 0, 1, begin, n_keys);
    }
    if (!pass.values) return;
    T* const out = z + row * q.width() + head * dh;
    T* const sum = part + page;
    for (std::size_t j = begin; j < n_keys; j += page) {
      matrix const w{kv.page<T>(item, j / page, true) + column, number_of(dtype_of<T>()), ld, true};
      bool const begins = j % block_k == 0, first = j < begin + block_k;
      k.row_product(first ? out : sum, s + j, w, 0, std::min(page, n_keys - j), 0, dh, !begins);
      if (!first && (j + page >= n_keys || (j + page) % block_k == 0)) k.add(out, out, sum, dh);
    }
  }

  /// Queries [first, last) of one item and head.
  void queries(std::size_t item, std::size_t head, std::size_t first, std::size_t last) const {
    auto const& k = kernels<T>();
    std::size_t const n_keys = kv.length(item), dh = d_head(), ld = kv.width(), base = q.packing().offsets[item];
    std::size_t const reach = how.causal ? first_query(item) + last : n_keys, P = k.panel;
    std::size_t const column = kv_column(head), begin = first_block(item, first);
    auto const type = number_of(dtype_of<T>());
    bool const need_scores = rule.content && !pass.pattern_in && !pass.scores_in;
    std::size_t const key_panels = (reach + P - 1) / P, value_panels = (dh + P - 1) / P;
    T* const keys = need_scores ? scratch<T>(key_panels * P * dh, 0) : nullptr;
    if (need_scores)
      for (std::size_t j = begin / P; j < key_panels; ++j) {
        std::size_t const at = j * P % page, n = std::min(P, reach - j * P);
        matrix const w{kv.page<T>(item, j * P / page, false) + at * ld + column, type, ld, false};
        k.pack(keys + j * P * dh, w, 0, dh, 0, n);
      }
    T* const values = pass.values ? scratch<T>(value_panels * P * reach, 1) : nullptr;
    if (pass.values)
      for (std::size_t c = 0; c < value_panels; ++c)
        for (std::size_t j = begin; j < reach; j += page) {
          matrix const w{kv.page<T>(item, j / page, true) + column, type, ld, true};
          k.pack(values + (c * reach + j) * P, w, 0, std::min(page, reach - j), c * P, std::min(P, dh - c * P));
        }
    std::size_t const ld_s = (reach + P - 1) / P * P + P;
    std::size_t const tile = std::clamp<std::size_t>(49'152 / ld_s / k.row_tile * k.row_tile, k.row_tile, 8 * k.row_tile);
    T* const s = scratch<T>(tile * ld_s, 2);
    for (std::size_t q0 = first; q0 < last; q0 += tile) {
      std::size_t const q1 = std::min(q0 + tile, last), seen = how.causal ? first_query(item) + q1 : n_keys;
      std::size_t const block = first_block(item, q0);
      T const* const query = q.data<T>() + (base + q0) * q.width() + head * dh;
      if (pass.pattern_in) {
        // Weights of keys that a query does not see are not read, even if an edit wrote them.
        for (std::size_t i = q0; i < q1; ++i) {
          T* const row = s + (i - q0) * ld_s;
          std::size_t const from = first_key(item, i), visible = visible_keys(item, i);
          std::fill(row + block, row + from, T(0));
          std::memcpy(row + from, pass.pattern_in->head<T>(item, head) + i * n_keys + from, (visible - from) * sizeof(T));
          std::fill(row + visible, row + seen, T(0));
        }
      } else {
        if (need_scores)
          for (std::size_t j = block / P; j * P < seen; ++j)
            for (std::size_t b = 0; b < dh; b += block_k)
              k.product(s + j * P, ld_s, query + b, q.width(), keys + (j * dh + b) * P, q1 - q0, std::min(P, seen - j * P),
                        std::min(block_k, dh - b), b > 0, {});
        scores_to_pattern(s, ld_s, item, head, q0, q1, block, seen);
      }
      if (!pass.values) continue;
      T* const out = z + (base + q0) * q.width() + head * dh;
      for (std::size_t c = 0; c < value_panels; ++c)
        for (std::size_t b = block; b < seen; b += block_k)
          k.product(out + c * P, q.width(), s + b, ld_s, values + (c * reach + b) * P, q1 - q0, std::min(P, dh - c * P),
                    std::min(block_k, seen - b), b > block, {});
    }
  }

  /// Scaled products of all pairs, to scores: as scores_to_pattern makes them.
  void bias_and_mask(pairs const& s) const {
    auto const& of = q.packing();
    split(of.items() * how.heads, of.rows() * q.width(), [&](std::size_t i) {
      std::size_t const item = i / how.heads, head = i % how.heads, n_keys = kv.length(item);
      for (std::size_t query = 0; query < of.length(item); ++query) {
        finish_scores(s.head<T>(item, head) + query * n_keys, T(1), item, head, query);
      }
    });
    mask(s);
  }

  /// Writes -infinity for every key that a query may not see.
  void mask(pairs const& s) const {
    if (!how.causal) return;
    auto const& of = q.packing();
    split(of.items() * how.heads, of.rows() * q.width(), [&](std::size_t i) {
      std::size_t const item = i / how.heads, head = i % how.heads, n_keys = kv.length(item);
      for (std::size_t query = 0; query < of.length(item); ++query) {
        T* const row = s.head<T>(item, head) + query * n_keys;
        std::fill(row, row + first_key(item, query), -std::numeric_limits<T>::infinity());
        std::fill(row + visible_keys(item, query), row + n_keys, -std::numeric_limits<T>::infinity());
      }
    });
  }

  /// Scores through their tap. The mask is not part of an activation: values that an edit wrote are masked again, also in what
  /// was captured, which lies on the same memory.
  pairs tap_scores(tap_scope const& at, pairs x) const {
    bool const edited = at.edits("hook_attn_scores");
    x = at("hook_attn_scores", std::move(x));
    if (edited) mask(x);
    return x;
  }

  void run() const {
    auto const& of = q.packing();
    struct piece {
      std::size_t item, head, first, last;
    };
    std::vector<piece> pieces;
    std::size_t const whole = of.items() * how.heads;
    std::size_t cost = 0;
    for (std::size_t item = 0; item < of.items(); ++item) {
      std::size_t const n = of.length(item);
      if (n == 0) continue;
      cost += n * kv.length(item) * q.width();
      // Long items in parts, where there are too few heads to keep all threads busy.
      std::size_t const parts =
          whole >= 4 * concurrency() ? 1 : std::clamp<std::size_t>(n / 128, 1, 4 * concurrency() / whole + 1);
      std::size_t const step = (n + parts - 1) / parts;
      for (std::size_t head = 0; head < how.heads; ++head)
        for (std::size_t first = 0; first < n; first += step) pieces.push_back({item, head, first, std::min(first + step, n)});
    }
    split(pieces.size(), cost, [&](std::size_t i) {
      auto const& p = pieces[i];
      if (kv.length(p.item) == 0) {  // nothing to look at
        T* const out = z + q.packing().offsets[p.item] * q.width() + p.head * d_head();
        for (std::size_t r = p.first; pass.values && r < p.last; ++r)
          std::fill(out + r * q.width(), out + r * q.width() + d_head(), T(0));
      } else if (q.packing().length(p.item) == 1) {
        one_query(p.item, p.head);
      } else {
        queries(p.item, p.head, p.first, p.last);
      }
    });
  }
};

void check_bias(position_bias const& bias, rows const& q, attention_keys const& kv, attend_options const& how) {
  if (bias.full.defined()) {
    if (bias.full.heads() != how.heads || bias.full.type() != q.type())
      throw plugin_error("a position bias of other heads or another type");
    for (std::size_t i = 0; i < q.packing().items(); ++i)
      if (bias.full.keys(i) != kv.length(i) || bias.full.packing().length(i) != q.packing().length(i))
        throw plugin_error("a position bias of other lengths");
    return;
  }
  if (bias.by_key.defined()) {
    if (bias.by_key.rank() != 2 || bias.by_key.size(0) != how.heads)
      throw plugin_error("a position bias is [head, key], not " + describe(bias.by_key.shape()));
    for (std::size_t i = 0; i < q.packing().items(); ++i) {
      std::size_t const queries = q.packing().length(i), at = q.packing().first_position[i];
      std::size_t const before = how.causal ? kv.length(i) - queries : 0;
      if (queries && (at < before || at - before + kv.length(i) > bias.by_key.size(1)))
        throw plugin_error("the position bias does not reach over " + std::to_string(kv.length(i)) + " keys");
    }
    return;
  }
  if (bias.by_distance.rank() != 2 || bias.by_distance.size(0) != how.heads)
    throw plugin_error("a position bias is [head, distance], not " + describe(bias.by_distance.shape()));
  for (std::size_t i = 0; i < q.packing().items(); ++i) {
    std::size_t const queries = q.packing().length(i), keys = kv.length(i), first = how.causal ? keys - queries : 0;
    if (queries && (bias.origin < first + queries - 1 || bias.origin + keys > bias.by_distance.size(1) + first))
      throw plugin_error("the position bias does not reach over " + std::to_string(keys) + " keys");
  }
}

rows attend_to(rows const& q, attention_keys const& kv, attend_options const& how, tap_scope const& at, weighting rule = {}) {
  std::size_t const kv_heads = how.kv_heads ? how.kv_heads : how.heads;
  if (how.heads == 0 || q.width() % how.heads != 0 || how.heads % kv_heads != 0 || kv.width() != q.width() / how.heads * kv_heads)
    throw plugin_error("queries of " + std::to_string(q.width()) + " numbers do not fit " + std::to_string(how.heads) +
                       " heads or keys of " + std::to_string(kv.width()));
  if (how.window && !how.causal) throw plugin_error("a window needs an order: only causal attention has one");
  std::vector<std::size_t> keys;
  for (std::size_t i = 0; i < q.packing().items(); ++i) {
    keys.push_back(kv.length(i));
    if (how.causal && kv.length(i) < q.packing().length(i))
      throw plugin_error("fewer keys than queries, where a query stands at each of the last keys");
  }
  if (rule.content && how.bias && how.bias->any()) check_bias(*how.bias, q, kv, how);
  rows z = q.like(q.width());
  auto const make = [&](bool wanted) { return wanted ? pairs(q.shared_packing(), keys, how.heads, q.precision()) : pairs(); };
  bool const scores = at.wants("hook_attn_scores"), pattern = at.wants("hook_pattern");
  pairs s = make(scores), p = make(pattern);
  with_type(q.type(), [&]<class T>(T const*) {
    attention_job<T> job{q, kv, how, {}, {}, {}, z.overwrite<T>(), rule};
    if (how.bias && how.bias->by_distance.defined()) job.by_distance = how.bias->by_distance.to(q.type());
    if (how.bias && how.bias->by_key.defined()) job.by_key = how.bias->by_key.to(q.type());
    attention_pass next;
    pairs products = make(at.wants("hook_qk"));
    if (products.defined()) {
      attend_options plain = how;
      plain.causal = false, plain.bias = nullptr, plain.window = 0, plain.cap = 0;
      attention_pass const only_products{.scores_out = &products, .values = false};
      attention_job<T>{q, kv, plain, {}, {}, only_products, job.z, rule}.run();
      products = at("hook_qk", std::move(products));
    }
    if (at.edits("hook_qk") || at.edits("hook_attn_scores")) {
      if (at.edits("hook_qk")) {
        s = std::move(products);
        s.unshare();
        job.bias_and_mask(s);
      } else {
        next.scores_out = &s, next.values = false;
        job.pass = next;
        job.run();
      }
      s = job.tap_scores(at, std::move(s));
      next = {};
      next.scores_in = &s;
    } else if (scores) {
      next.scores_out = &s;
    }
    if (pattern) next.pattern_out = &p;
    if (at.edits("hook_pattern")) {
      next.values = false;
      job.pass = next;
      job.run();
      if (scores && !next.scores_in) s = job.tap_scores(at, std::move(s));
      p = at("hook_pattern", std::move(p));
      next = {};
      next.pattern_in = &p;
      job.pass = next;
      job.run();
      return;
    }
    job.pass = next;
    job.run();
    if (scores && !next.scores_in) s = job.tap_scores(at, std::move(s));
    if (pattern) p = at("hook_pattern", std::move(p));
  });
  return z;
}

/// Where an edit changes what lies within the layer, its step says so, and there is no other.
bool is_edited(tape& on, rows& z, std::vector<recorded_value> const& read, std::string const& layer, tap_scope const& at) {
  for (char const* const hook : {"hook_qk", "hook_attn_scores", "hook_pattern"})
    if (at.edits(hook)) {
      std::string const why = layer + " has no gradient while '" + at.name_of(hook) + "' is edited";
      on.add(layer, read, {&z}, [why](step_gradients&) { throw usage_error(why); });
      return true;
    }
  return false;
}

/// The step of attention on the tape, if anything that is wanted depends on it.
void record(rows& z, rows const& q, rows const& keys, rows const& values, attend_options const& how, tap_scope const& at) {
  auto const pattern = at.gradient_of_pairs("hook_pattern"), scores = at.gradient_of_pairs("hook_attn_scores"),
             of_bias = at.gradient_of_pairs("hook_bias");
  std::vector<recorded_value> const read{q.recorded(), keys.recorded(), values.recorded()};
  tape* on = tape::following("attention", {read[0], read[1], read[2]});
  if (!on && (pattern || scores || of_bias)) on = at.on_tape();
  if (!on || is_edited(*on, z, read, "attention", at)) return;
  auto back = [q = q.bare(), keys = keys.bare(), values = values.bare(), how, bias = how.bias ? *how.bias : position_bias(),
               pattern, scores, of_bias](step_gradients& g) {
    attend_options again = how;
    again.bias = bias.any() ? &bias : nullptr;
    rows const all = attend_backward(q, keys, values, again, g.take(), {pattern.get(), scores.get(), of_bias.get()});
    g.add_columns(0, all, 0);
    g.add_columns(1, all, q.width());
    g.add_columns(2, all, q.width() + keys.width());
  };
  on->add("attention", read, {&z}, std::move(back));
}

/// The same of mixing.
void record(rows& z, rows const& values, mixing_options const& how, tap_scope const& at) {
  auto const pattern = at.gradient_of_pairs("hook_pattern"), scores = at.gradient_of_pairs("hook_attn_scores");
  std::vector<recorded_value> const read{values.recorded()};
  tape* on = tape::following("mixing", {read[0]}, {&how.by_distance});
  if (!on && (pattern || scores)) on = at.on_tape();
  if (!on || is_edited(*on, z, read, "mixing", at)) return;
  on->add("mixing", read, {&z}, [values = values.bare(), how, pattern, scores](step_gradients& g) {
    g.add(0, mix_backward(values, how, g.take(), g.weight(how.by_distance), {pattern.get(), scores.get()}));
  });
}

}  // namespace

rows attend(rows const& q, rows const& keys, rows const& values, attend_options const& how, tap_scope const& at) {
  if (keys.packing().items() != q.packing().items() || values.packing().offsets != keys.packing().offsets ||
      values.width() != keys.width() || keys.type() != q.type() || values.type() != q.type())
    throw plugin_error("queries, keys and values must be of the same items, width and type");
  rows z = attend_to(q, attention_keys{&keys, &values, nullptr}, how, at);
  record(z, q, keys, values, how, at);
  return at("hook_z", std::move(z));
}

rows attend(rows const& q, key_values const& past, attend_options const& how, tap_scope const& at) {
  if (past.items() != q.packing().items()) throw plugin_error("queries of other items than the keys");
  return at("hook_z", attend_to(q, attention_keys{nullptr, nullptr, &past}, how, at));
}

rows mix(rows const& values, mixing_options const& how, tap_scope const& at, key_values const* past) {
  if (past && past->items() != values.packing().items()) throw plugin_error("values of other items than those that were read");
  attention_keys const all{past ? nullptr : &values, past ? nullptr : &values, past};
  std::size_t longest = 0;
  for (std::size_t i = 0; i < values.packing().items(); ++i) longest = std::max(longest, all.length(i));
  check_mixing(how, all.width(), longest);
  std::size_t const d_head = all.width() / (how.kv_heads ? how.kv_heads : how.heads);
  position_bias table;
  if (how.by_distance.defined())
    table.by_distance = in_order_of_keys(how.by_distance, values.type()), table.origin = how.by_distance.size(1) - 1;
  attend_options options{how.heads, 1, true, &table};
  options.kv_heads = how.kv_heads, options.window = how.window;
  rows const shape = values.like(how.heads * d_head);  // where queries would stand
  rows z = attend_to(shape, all, options, at, {.content = false, .softmax = how.softmax});
  if (!past) record(z, values, how, at);
  return at("hook_z", std::move(z));
}

rows attention(rows const& x, rows const& memory, attention_weights const& w, attend_options const& how, tap_scope const& at,
               key_values* past) {
  bool const self = &x == &memory;
  auto made = self ? project(x, w.q, w.k, w.v) : std::array{linear(x, w.q), linear(memory, w.k), linear(memory, w.v)};
  rows const q = at("hook_q", std::move(made[0])), k = at("hook_k", std::move(made[1])), v = at("hook_v", std::move(made[2]));
  if (!past) return linear(attend(q, k, v, how, at), w.o);
  past->append(k, v);
  return linear(attend(q, *past, how, at), w.o);
}

pairs expand(position_bias const& bias, std::shared_ptr<row_packing const> const& queries, std::vector<std::size_t> keys,
             dtype precision) {
  if (bias.full.defined()) return bias.full;
  bool const by_key = bias.by_key.defined();
  std::size_t const heads = (by_key ? bias.by_key : bias.by_distance).size(0);
  pairs out(queries, keys, heads, precision);
  with_type(out.type(), [&]<class T>(T const*) {
    tensor const table = (by_key ? bias.by_key : bias.by_distance).to(out.type());
    auto const from = table.view<T const>();
    for (std::size_t i = 0; i < queries->items(); ++i)
      for (std::size_t h = 0; h < heads; ++h)
        for (std::size_t q = 0; q < queries->length(i); ++q) {
          if (by_key) {
            // The last query stands at the last key.
            std::size_t const first = queries->first_position[i] + queries->length(i) - keys[i];
            if (first + keys[i] > table.size(1))
              throw plugin_error("the position bias does not reach over " + std::to_string(keys[i]) + " keys");
            T const* const row = from.row(h).data() + first;
            std::copy(row, row + keys[i], out.head<T>(i, h) + q * keys[i]);
            continue;
          }
          std::size_t const at = queries->first_position[i] + q;
          if (bias.origin < at || bias.origin - at + keys[i] > table.size(1))
            throw plugin_error("the position bias does not reach over " + std::to_string(keys[i]) + " keys");
          T const* const row = from.row(h).data() + (bias.origin - at);
          std::copy(row, row + keys[i], out.head<T>(i, h) + q * keys[i]);
        }
  });
  return out;
}

}  // namespace wayfarer
