#include "channel_means.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "elementwise.hpp"
#include "implied_weights.hpp"

namespace wayfarer {
namespace {

template <class T>
struct channels {
  std::size_t width;
  T const *k, *v, *bonus;
  std::vector<T> log_decay;
  T const* decays;  // of each position, or null

  /// A decay that nobody changed keeps its logarithm, to the bit.
  T log_of_decay(std::size_t row, std::size_t c) const {
    if (!decays || decays[row * width + c] == std::exp(log_decay[c])) return log_decay[c];
    return std::log(decays[row * width + c]);
  }

  void advance(T const* before, T* after, std::size_t row, std::size_t first, std::size_t last) const {
    for (std::size_t c = first; c < last; ++c) {
      T const key = k[row * width + c], old = before[2 * width + c] + log_of_decay(row, c), top = std::max(old, key);
      T const a = std::exp(old - top), b = std::exp(key - top);
      after[c] = a * before[c] + b * v[row * width + c];
      after[width + c] = a * before[width + c] + b;
      after[2 * width + c] = top;
    }
  }
  void read(T const* state, T* out, std::size_t row, std::size_t first, std::size_t last) const {
    for (std::size_t c = first; c < last; ++c) {
      T const own = k[row * width + c] + bonus[c], old = state[2 * width + c], top = std::max(old, own);
      T const a = std::exp(old - top), b = std::exp(own - top);
      out[row * width + c] = (a * state[c] + b * v[row * width + c]) / (a * state[width + c] + b);
    }
  }
};

/// The weights of one item's queries in turn: those of the keys behind are carried over e^scale, as the state is.
template <class T>
struct weights_of_item {
  channels<T> const& of;
  std::size_t first_row;
  std::vector<T> kept, sum, scale;

  weights_of_item(channels<T> const& c, std::size_t row, std::size_t length)
      : of(c), first_row(row), kept(length * c.width), sum(c.width), scale(c.width, T(-1e38)) {}

  void operator()(std::size_t query, T* out) {
    std::size_t const w = of.width, row = first_row + query;
    for (std::size_t c = 0; c < w; ++c) {
      T const key = of.k[row * w + c], own = key + of.bonus[c], top = std::max(scale[c], own);
      T const a = std::exp(scale[c] - top), b = std::exp(own - top), all = a * sum[c] + b;
      for (std::size_t s = 0; s < query; ++s) out[s * w + c] = a * kept[s * w + c] / all;
      out[query * w + c] = b / all;
      T const old = scale[c] + of.log_of_decay(row, c), next = std::max(old, key);
      T const x = std::exp(old - next), y = std::exp(key - next);
      for (std::size_t s = 0; s < query; ++s) kept[s * w + c] *= x;
      kept[query * w + c] = y;
      sum[c] = x * sum[c] + y, scale[c] = next;
    }
  }
};

}  // namespace

std::vector<double> empty_channels(std::size_t width) {
  std::vector<double> state(3 * width, 0.0);
  std::fill(state.begin() + static_cast<std::ptrdiff_t>(2 * width), state.end(), -1e38);
  return state;
}

rows mix_channels(rows const& k, rows const& v, tensor const& log_decay, tensor const& bonus, rows const& decays, carried& state,
                  tap_scope const& at) {
  rows wkv = k.like(k.width());
  in_type_of(k, [&]<class T>(T) {
    tensor const own = bonus.to(k.type()), logs = log_decay.to(k.type());
    auto const decay = logs.values<T const>();
    channels<T> const c{k.width(),
                        k.data<T>(),
                        v.data<T>(),
                        own.values<T const>().data(),
                        {decay.begin(), decay.end()},
                        decays.defined() ? decays.data<T>() : nullptr};
    T* const out = wkv.overwrite<T>();
    scan_steps<T> const steps{
        [&](T const* before, T* after, std::size_t row, std::size_t first, std::size_t last) {
          c.advance(before, after, row, first, last);
        },
        [&](T const* s, std::size_t row, std::size_t first, std::size_t last) { c.read(s, out, row, first, last); }};
    scan_shape const shape{.units = k.width(), .fields = 3, .each = 1, .reads_before = true, .at_once = 64};
    scan(k.shared_packing(), k.precision(), shape, steps, state, "hook_state", at);
    auto const& of = k.packing();
    wkv = through_mean_weights<T>(
        std::move(wkv), v, 1,
        [&](std::size_t item) {
          auto const w = std::make_shared<weights_of_item<T>>(c, of.offsets[item], of.length(item));
          return channel_weights<T>([w](std::size_t query, T* to) { (*w)(query, to); });
        },
        "hook_pattern", at);
  });
  return at("hook_wkv", std::move(wkv));
}

}  // namespace wayfarer
