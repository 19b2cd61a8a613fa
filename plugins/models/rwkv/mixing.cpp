#include "mixing.hpp"

#include <algorithm>
#include <vector>

#include "models/common/elementwise.hpp"
#include "models/common/implied_weights.hpp"

namespace wayfarer::rwkv {
namespace {

template <class T>
struct heads_of {
  std::size_t heads, d;
  T const *r, *k, *v, *decay, *bonus, *removal, *rate;  // bonus or removal and rate null

  std::size_t at(std::size_t row, std::size_t head) const { return (row * heads + head) * d; }

  void advance(T const* before, T* after, std::size_t row, std::size_t head) const {
    std::size_t const from = at(row, head);
    T const *const s = before + head * d * d, *const key = k + from, *const value = v + from, *const w = decay + from;
    T* const to = after + head * d * d;
    std::vector<T> held;
    if (removal) {  // what the state holds along the direction that is taken out
      held.assign(d, T(0));
      for (std::size_t i = 0; i < d; ++i)
        for (std::size_t j = 0; j < d; ++j) held[j] += removal[from + i] * s[i * d + j];
    }
    for (std::size_t i = 0; i < d; ++i) {
      T const out = removal ? removal[from + i] * rate[from + i] : T(0);
      for (std::size_t j = 0; j < d; ++j) {
        T const kept = w[i] * s[i * d + j] - (removal ? out * held[j] : T(0));
        to[i * d + j] = kept + key[i] * value[j];
      }
    }
  }

  void read(T const* state, T* y, std::size_t row, std::size_t head) const {
    std::size_t const from = at(row, head);
    T const *const s = state + head * d * d, *const reads = r + from;
    T* const out = y + from;
    std::fill_n(out, d, T(0));
    T own = 0;
    for (std::size_t i = 0; i < d; ++i) {
      if (bonus) own += reads[i] * bonus[head * d + i] * k[from + i];
      for (std::size_t j = 0; j < d; ++j) out[j] += reads[i] * s[i * d + j];
    }
    for (std::size_t j = 0; bonus && j < d; ++j) out[j] += own * v[from + j];
  }

  /// The receptance taken backwards through what each later position did to the state.
  void weights(std::size_t first_row, std::size_t head, std::size_t query, T* out) const {
    std::size_t const from = at(first_row + query, head);
    std::vector<T> g(r + from, r + from + d);
    auto const through = [&](std::size_t position) {
      std::size_t const p = at(first_row + position, head);
      T along = 0;
      for (std::size_t i = 0; removal && i < d; ++i) along += removal[p + i] * rate[p + i] * g[i];
      for (std::size_t i = 0; i < d; ++i) g[i] = decay[p + i] * g[i] - (removal ? along * removal[p + i] : T(0));
    };
    for (std::size_t s = query + 1; s-- > 0;) {
      std::size_t const p = at(first_row + s, head);
      T sum = 0;
      for (std::size_t i = 0; i < d; ++i) sum += g[i] * k[p + i] * (bonus && s == query ? bonus[head * d + i] : T(1));
      out[s] = sum;
      if (s < query || removal) through(s);
    }
  }
};

}  // namespace

rows mix_heads(head_mixer const& m, carried& state, tap_scope const& at) {
  rows y = m.v.like(m.v.width());
  std::size_t const d = m.v.width() / m.heads;
  in_type_of(m.v, [&]<class T>(T) {
    tensor const bonus = m.bonus.defined() ? m.bonus.to(m.v.type()) : tensor();
    bool const seven = m.removal.defined();
    heads_of<T> const h{m.heads,
                        d,
                        m.r.data<T>(),
                        m.k.data<T>(),
                        m.v.data<T>(),
                        m.decays.data<T>(),
                        bonus.defined() ? bonus.values<T const>().data() : nullptr,
                        seven ? m.removal.data<T>() : nullptr,
                        seven ? m.rate.data<T>() : nullptr};
    T* const out = y.overwrite<T>();
    scan_steps<T> const steps{[&](T const* before, T* after, std::size_t row, std::size_t first, std::size_t last) {
                                for (std::size_t head = first; head < last; ++head) h.advance(before, after, row, head);
                              },
                              [&](T const* s, std::size_t row, std::size_t first, std::size_t last) {
                                for (std::size_t head = first; head < last; ++head) h.read(s, out, row, head);
                              }};
    scan_shape const shape{.units = m.heads, .fields = 1, .each = d * d, .reads_before = !seven, .at_once = 1};
    scan(m.v.shared_packing(), m.v.precision(), shape, steps, state, "hook_state", at);
    auto const& of = m.v.packing();
    y = through_head_weights<T>(
        std::move(y), m.v, m.heads,
        [&](std::size_t item, std::size_t head, std::size_t query, T* to) { h.weights(of.offsets[item], head, query, to); },
        "hook_mixing", at);
  });
  return at("hook_wkv", std::move(y));
}

}  // namespace wayfarer::rwkv
