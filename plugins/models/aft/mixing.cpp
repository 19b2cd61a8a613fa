#include "mixing.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "models/common/elementwise.hpp"
#include "models/common/implied_weights.hpp"

namespace wayfarer::aft {
namespace {

/// Keys and values of one item: those that were kept, then those of this pass.
template <class T>
struct sequence {
  std::vector<T> keys, values;  // [position, width], from position `first` of the text on
  std::size_t first = 0, before = 0;
};

template <class T>
struct mixing {
  mixer const& m;
  std::size_t width, window;
  std::vector<sequence<T>> const& items;
  tensor by_pair, left, right, by_distance;
  pairs const* left_by_edits = nullptr;
  std::vector<char> changed{};  // whether it is so for an item
  bool edited(std::size_t item) const { return left_by_edits && changed[item]; }

  /// Of positions in the whole text. Beyond the window there is none.
  T bias(std::size_t head, std::size_t query, std::size_t key) const {
    std::size_t const age = query >= key ? query - key : key - query;
    if (m.window && age >= m.window) return 0;
    if (by_distance.defined()) return query < key ? T(0) : by_distance.view<T const>()(head, age);
    if (by_pair.defined()) return by_pair.view<T const>()(query, key);
    auto const u = left.view<T const>(), w = right.view<T const>();
    T sum = 0;
    for (std::size_t r = 0; r < u.size(1); ++r) sum += u(query, r) * w(key, r);
    return sum;
  }

  /// What a query of an item, counted in this sequence, adds to the key at this place of it.
  T bias_at(std::size_t item, std::size_t head, std::size_t query, std::size_t key) const {
    auto const& s = items[item];
    if (edited(item)) return left_by_edits->head<T>(item, head)[query * left_by_edits->keys(item) + key];
    return bias(head, s.first + query, s.first + key);
  }

  /// The first place that a query weighs one by one.
  std::size_t near(std::size_t item, std::size_t query) const {
    return !edited(item) && window && query + 1 > window ? query + 1 - window : 0;
  }

  void take_in(T const* before, T* after, std::size_t item, std::size_t query, std::size_t first, std::size_t last) const {
    auto const& s = items[item];
    bool const leaves = window && query >= window;
    for (std::size_t c = first; c < last; ++c) {
      if (!leaves) {
        for (std::size_t f = 0; f < 3; ++f) after[f * width + c] = before[f * width + c];
        continue;
      }
      T const key = s.keys[(query - window) * width + c], top = std::max(before[2 * width + c], key);
      T const a = std::exp(before[2 * width + c] - top), b = std::exp(key - top);
      after[c] = a * before[c] + b * s.values[(query - window) * width + c];
      after[width + c] = a * before[width + c] + b, after[2 * width + c] = top;
    }
  }

  void average(T const* far, T* out, std::size_t item, std::size_t query, std::size_t first, std::size_t last) const {
    auto const& s = items[item];
    std::size_t const from = near(item, query), each = width / m.heads;
    std::vector<T> biases;
    for (std::size_t c = first; c < last; ++c) {
      if (c == first || c % each == 0) {
        biases.clear();
        for (std::size_t k = from; k <= query; ++k) biases.push_back(bias_at(item, c / each, query, k));
      }
      // An edit may give distant keys a bias: then all are weighed one by one, and what is carried is only carried.
      T const behind = edited(item) ? -std::numeric_limits<T>::infinity() : far[2 * width + c];
      T top = behind;
      for (std::size_t k = from; k <= query; ++k) top = std::max(top, s.keys[k * width + c] + biases[k - from]);
      T const a = std::exp(behind - top);
      T sum = a * far[c], all = a * far[width + c];
      for (std::size_t k = from; k <= query; ++k) {
        T const w = std::exp(s.keys[k * width + c] + biases[k - from] - top);
        sum += w * s.values[k * width + c], all += w;
      }
      out[c] = sum / all;
    }
  }

  /// Of a text that began in this pass: places are its positions.
  void weights(std::size_t item, std::size_t query, T* out) const {
    auto const& s = items[item];
    std::size_t const each = width / m.heads;
    for (std::size_t c = 0; c < width; ++c) {
      T top = -std::numeric_limits<T>::infinity(), all = 0;
      for (std::size_t k = 0; k <= query; ++k) {
        out[k * width + c] = s.keys[k * width + c] + bias_at(item, c / each, query, k);
        top = std::max(top, out[k * width + c]);
      }
      for (std::size_t k = 0; k <= query; ++k) all += out[k * width + c] = std::exp(out[k * width + c] - top);
      for (std::size_t k = 0; k <= query; ++k) out[k * width + c] /= all;
    }
  }
};

template <class T>
std::vector<sequence<T>> sequences(rows const& k, rows const& v, std::vector<tensor> const& kept) {
  std::vector<sequence<T>> all(k.packing().items());
  std::size_t const d = k.width();
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto& s = all[i];
    if (kept[i].defined()) {
      auto const old = kept[i].values<T const>();
      s.before = kept[i].size(1);
      auto const middle = old.begin() + static_cast<std::ptrdiff_t>(s.before * d);
      s.keys.assign(old.begin(), middle), s.values.assign(middle, old.end());
    }
    std::size_t const from = k.packing().offsets[i] * d, to = k.packing().offsets[i + 1] * d;
    s.keys.insert(s.keys.end(), k.data<T>() + from, k.data<T>() + to);
    s.values.insert(s.values.end(), v.data<T>() + from, v.data<T>() + to);
    s.first = k.packing().first_position[i] - s.before;
  }
  return all;
}

/// The last `most` positions (0: all) of each item, for the run that goes on.
template <class T>
void keep(std::vector<sequence<T>> const& items, std::size_t width, std::size_t most, dtype type, std::vector<tensor>& kept) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    std::size_t const all = items[i].keys.size() / width, n = most ? std::min(most, all) : all;
    if (all == 0) continue;
    tensor t(type, {{"part", 2}, {"pos", n}, {"channel", width}});
    auto const to = t.values<T>();
    auto const skip = static_cast<std::ptrdiff_t>((all - n) * width);
    std::copy(items[i].keys.begin() + skip, items[i].keys.end(), to.begin());
    std::copy(items[i].values.begin() + skip, items[i].values.end(), to.begin() + static_cast<std::ptrdiff_t>(n * width));
    kept[i] = t;
  }
}

}  // namespace

rows mix(mixer const& m, rows const& k, rows const& v, carried& far, std::vector<tensor>& kept, tap_scope const& at) {
  rows wkv = k.like(k.width());
  in_type_of(k, [&]<class T>(T) {
    auto const items = sequences<T>(k, v, kept);
    auto const as_t = [&](tensor const& t) { return t.defined() ? t.to(k.type()) : tensor(); };
    mixing<T> x{m, k.width(), m.window, items, as_t(m.by_pair), as_t(m.left), as_t(m.right), as_t(m.by_distance)};
    auto const& of = k.packing();
    pairs biases;
    if (at.wants("hook_position_bias")) {
      std::vector<std::size_t> lengths;
      for (std::size_t i = 0; i < of.items(); ++i) lengths.push_back(of.length(i));
      biases = pairs(k.shared_packing(), lengths, m.heads, k.precision());
      auto const fill = [&](pairs& to) {
        for (std::size_t i = 0; i < of.items(); ++i)
          for (std::size_t h = 0; h < m.heads; ++h)
            for (std::size_t q = 0; q < lengths[i]; ++q)
              for (std::size_t key = 0; key < lengths[i]; ++key)
                to.head<T>(i, h)[q * lengths[i] + key] = x.bias(h, items[i].first + q, items[i].first + key);
      };
      fill(biases);
      biases = at("hook_position_bias", std::move(biases));
      if (at.edits("hook_position_bias")) {
        pairs plain(k.shared_packing(), lengths, m.heads, k.precision());
        fill(plain);
        for (std::size_t i = 0; i < of.items(); ++i) {
          std::size_t const n = m.heads * lengths[i] * lengths[i];
          x.changed.push_back(!std::equal(plain.head<T>(i, 0), plain.head<T>(i, 0) + n, biases.head<T>(i, 0)));
        }
        x.left_by_edits = &biases;
      }
    }
    std::vector<std::size_t> item_of(of.rows());
    for (std::size_t i = 0; i < of.items(); ++i)
      std::fill(item_of.begin() + static_cast<std::ptrdiff_t>(of.offsets[i]),
                item_of.begin() + static_cast<std::ptrdiff_t>(of.offsets[i + 1]), i);
    auto const place = [&](std::size_t row) { return items[item_of[row]].before + row - of.offsets[item_of[row]]; };
    T* const out = wkv.overwrite<T>();
    scan_steps<T> const steps{[&](T const* before, T* after, std::size_t row, std::size_t first, std::size_t last) {
                                x.take_in(before, after, item_of[row], place(row), first, last);
                              },
                              [&](T const* state, std::size_t row, std::size_t first, std::size_t last) {
                                x.average(state, out + row * k.width(), item_of[row], place(row), first, last);
                              }};
    scan(k.shared_packing(), k.precision(), {.units = k.width(), .fields = 3, .at_once = 64}, steps, far, "hook_state", at);
    wkv = through_mean_weights<T>(
        std::move(wkv), v, m.heads,
        [&](std::size_t item) {
          return channel_weights<T>([&x, item](std::size_t query, T* to) { x.weights(item, query, to); });
        },
        "hook_pattern", at);
    keep<T>(items, k.width(), m.window, k.type(), kept);
  });
  return at("hook_wkv", std::move(wkv));
}

}  // namespace wayfarer::aft
