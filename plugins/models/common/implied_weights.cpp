#include "implied_weights.hpp"

#include <algorithm>
#include <vector>

#include <wayfarer/parallel.hpp>

namespace wayfarer {
namespace {

std::vector<std::size_t> lengths(row_packing const& of) {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < of.items(); ++i) all.push_back(of.length(i));
  return all;
}

/// All numbers, item by item, so that what an edit changed can be told.
template <class T>
std::vector<T> copy_of(pairs const& p) {
  std::vector<T> all;
  auto const& of = p.packing();
  for (std::size_t i = 0; i < of.items(); ++i) {
    T const* const from = p.head<T>(i, 0);
    all.insert(all.end(), from, from + p.heads() * of.length(i) * of.length(i));
  }
  return all;
}

/// Where item i begins in such a copy.
std::vector<std::size_t> begins(row_packing const& of, std::size_t heads) {
  std::vector<std::size_t> all{0};
  for (std::size_t i = 0; i < of.items(); ++i) all.push_back(all.back() + heads * of.length(i) * of.length(i));
  return all;
}

}  // namespace

template <class T>
rows through_mean_weights(rows y, rows const& v, std::size_t heads, std::function<channel_weights<T>(std::size_t)> const& of_item,
                          std::string_view hook, tap_scope const& at) {
  if (!at.wants(hook)) return y;
  auto const& of = v.packing();
  std::size_t const channels = v.width();
  std::size_t const each = channels / heads;
  pairs mean(v.shared_packing(), lengths(of), heads, v.precision());
  parallel_for(of.items(), [&](std::size_t item) {
    std::size_t const n = of.length(item);
    std::vector<T> w(n * channels);
    auto const weights = of_item(item);
    for (std::size_t q = 0; q < n; ++q) {
      weights(q, w.data());
      for (std::size_t i = 0; i < heads * n; ++i) {
        std::size_t const h = i / n, k = i % n;
        T sum = 0;
        for (std::size_t c = h * each; k <= q && c < (h + 1) * each; ++c) sum += w[k * channels + c];
        mean.head<T>(item, h)[q * n + k] = sum / static_cast<T>(each);
      }
    }
  });
  bool const edited = at.edits(hook);
  auto const before = edited ? copy_of<T>(mean) : std::vector<T>();
  mean = at(hook, std::move(mean));
  if (!edited) return y;
  auto const first = begins(of, heads);
  T* const out = y.own<T>();
  parallel_for(of.items(), [&](std::size_t item) {
    std::size_t const n = of.length(item);
    std::vector<T> w(n * channels);
    auto const weights = of_item(item);
    for (std::size_t q = 0; q < n; ++q) {
      weights(q, w.data());
      for (std::size_t h = 0; h < heads; ++h) {
        T const *const was = before.data() + first[item] + (h * n + q) * n, *const is = mean.head<T>(item, h) + q * n;
        if (std::equal(was, was + q + 1, is)) continue;
        T* const sum = out + (of.offsets[item] + q) * channels;
        std::fill_n(sum + h * each, each, T(0));
        for (std::size_t k = 0; k <= q; ++k) {
          T const times = was[k] == 0 ? T(1) : is[k] / was[k], plus = was[k] == 0 ? is[k] : T(0);
          T const* const value = v.data<T>() + (of.offsets[item] + k) * channels;
          for (std::size_t c = h * each; c < (h + 1) * each; ++c) sum[c] += (w[k * channels + c] * times + plus) * value[c];
        }
      }
    }
  });
  return y;
}

template <class T>
rows through_head_weights(rows y, rows const& v, std::size_t heads, head_weights<T> const& weights, std::string_view hook,
                          tap_scope const& at) {
  if (!at.wants(hook)) return y;
  auto const& of = v.packing();
  std::size_t const d = v.width() / heads;
  pairs all(v.shared_packing(), lengths(of), heads, v.precision());
  parallel_for(of.items() * heads, [&](std::size_t i) {
    std::size_t const item = i / heads, head = i % heads, n = of.length(item);
    T* const to = all.head<T>(item, head);
    for (std::size_t q = 0; q < n; ++q) {
      weights(item, head, q, to + q * n);
      std::fill(to + q * n + q + 1, to + (q + 1) * n, T(0));
    }
  });
  bool const edited = at.edits(hook);
  auto const before = edited ? copy_of<T>(all) : std::vector<T>();
  all = at(hook, std::move(all));
  if (!edited) return y;
  auto const first = begins(of, heads);
  T* const out = y.own<T>();
  parallel_for(of.items() * heads, [&](std::size_t i) {
    std::size_t const item = i / heads, head = i % heads, n = of.length(item);
    for (std::size_t q = 0; q < n; ++q) {
      T const* const was = before.data() + first[item] + (head * n + q) * n;
      T const* const is = all.head<T>(item, head) + q * n;
      if (std::equal(was, was + q + 1, is)) continue;
      T* const sum = out + (of.offsets[item] + q) * v.width() + head * d;
      std::fill_n(sum, d, T(0));
      for (std::size_t k = 0; k <= q; ++k) {
        T const* const value = v.data<T>() + (of.offsets[item] + k) * v.width() + head * d;
        for (std::size_t j = 0; j < d; ++j) sum[j] += is[k] * value[j];
      }
    }
  });
  return y;
}

template rows through_mean_weights(rows, rows const&, std::size_t, std::function<channel_weights<float>(std::size_t)> const&,
                                   std::string_view, tap_scope const&);
template rows through_mean_weights(rows, rows const&, std::size_t, std::function<channel_weights<double>(std::size_t)> const&,
                                   std::string_view, tap_scope const&);
template rows through_head_weights(rows, rows const&, std::size_t, head_weights<float> const&, std::string_view,
                                   tap_scope const&);
template rows through_head_weights(rows, rows const&, std::size_t, head_weights<double> const&, std::string_view,
                                   tap_scope const&);

}  // namespace wayfarer
