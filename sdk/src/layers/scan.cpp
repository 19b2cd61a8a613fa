#include <wayfarer/scan.hpp>

#include <algorithm>
#include <cstring>
#include <string>

#include <wayfarer/error.hpp>

#include "common.hpp"
#include "products.hpp"

namespace wayfarer {

carried::carried(std::size_t items, std::vector<double> const& initial, dtype precision)
    : numbers_(precision == dtype::f64 ? dtype::f64 : dtype::f32, {{"item", items}, {"number", initial.size()}}),
      items_(items),
      width_(initial.size()) {
  with_type(numbers_.type(), [&]<class T>(T const*) {
    for (std::size_t i = 0; i < items; ++i)
      for (std::size_t j = 0; j < width_; ++j) of<T>(i)[j] = static_cast<T>(initial[j]);
  });
}

carried carried::branch(std::span<std::size_t const> items) const {
  carried out;
  out.items_ = items.size(), out.width_ = width_;
  out.numbers_ = tensor(numbers_.type(), {{"item", items.size()}, {"number", width_}});
  with_type(numbers_.type(), [&]<class T>(T const*) {
    for (std::size_t i = 0; i < items.size(); ++i)
      if (items[i] >= items_)
        throw plugin_error("a state of " + std::to_string(items_) + " items has no item " + std::to_string(items[i]));
      else
        std::copy_n(of<T>(items[i]), width_, out.of<T>(i));
  });
  return out;
}

namespace {

void check_fits(rows const& x, carried const& c, std::size_t width, char const* what) {
  if (c.items() == x.packing().items() && c.width() == width) return;
  throw plugin_error(std::string(what) + " needs " + std::to_string(width) + " carried numbers for each of " +
                     std::to_string(x.packing().items()) + " items, not " + std::to_string(c.width()) + " for " +
                     std::to_string(c.items()));
}

}  // namespace

rows delayed(rows const& x, carried& last) {
  std::size_t const d = x.width();
  check_fits(x, last, d, "a shift by one position");
  rows out = x.like(d);
  auto const& of = x.packing();
  with_type(x.type(), [&]<class T>(T const*) {
    T* const to = out.overwrite<T>();
    for (std::size_t i = 0; i < of.items(); ++i) {
      std::size_t const n = of.length(i);
      if (n == 0) continue;
      T const* const from = x.data<T>() + of.offsets[i] * d;
      std::copy_n(last.of<T>(i), d, to + of.offsets[i] * d);
      std::copy_n(from, (n - 1) * d, to + (of.offsets[i] + 1) * d);
      std::copy_n(from + (n - 1) * d, d, last.of<T>(i));
    }
  });
  return out;
}

rows causal_convolution(rows const& x, tensor const& w, tensor const& b, carried& last) {
  std::size_t const d = x.width(), taps = w.size(w.rank() - 1);
  if (w.size(0) != d)
    throw plugin_error("a convolution of " + std::to_string(w.size(0)) + " channels does not fit rows of " + std::to_string(d) +
                       " numbers");
  check_fits(x, last, (taps - 1) * d, "a convolution");
  rows out = x.like(d);
  auto const& of = x.packing();
  with_type(x.type(), [&]<class T>(T const*) {
    auto const weights = numbers<T>(w.clone().reshaped({{"number", d * taps}}), d * taps);
    auto const bias = b.defined() ? numbers<T>(b, d) : std::shared_ptr<T const>();
    T* const to = out.overwrite<T>();
    T const* const from = x.data<T>();
    split(of.items(), x.count() * d * taps, [&](std::size_t i) {
      T* const before = last.of<T>(i);
      std::size_t const n = of.length(i);
      if (n == 0) return;
      // Row t - taps + 1 + k of the item, of which the first taps - 1 are carried.
      auto const row = [&](std::size_t t, std::size_t k) {
        return t + k + 1 < taps ? before + (t + k) * d : from + (of.offsets[i] + t + k + 1 - taps) * d;
      };
      for (std::size_t t = 0; t < n; ++t) {
        T* const y = to + (of.offsets[i] + t) * d;
        for (std::size_t c = 0; c < d; ++c) y[c] = bias ? bias.get()[c] : T(0);
        for (std::size_t k = 0; k < taps; ++k) {
          T const* const at = row(t, k);
          for (std::size_t c = 0; c < d; ++c) y[c] += weights.get()[c * taps + k] * at[c];
        }
      }
      // The rows before the next position: oldest first, so a row is read before it is overwritten.
      for (std::size_t k = 0; k + 1 < taps; ++k) std::copy_n(row(n, k), d, before + k * d);
    });
  });
  return out;
}

namespace {

template <class T>
struct scanner {
  row_packing const& of;
  scan_shape const& shape;
  scan_steps<T> const& steps;
  carried& state;

  std::size_t pieces() const { return (shape.units + shape.at_once - 1) / shape.at_once; }

  /// body(item, first, last) for every item and run of units.
  template <class F>
  void over_units(F const& body) const {
    std::size_t const n = pieces();
    split(of.items() * n, of.rows() * shape.width() * 8, [&](std::size_t i) {
      std::size_t const first = i % n * shape.at_once;
      body(i / n, first, std::min(shape.units, first + shape.at_once));
    });
  }

  void in_place() const {
    over_units([&](std::size_t item, std::size_t first, std::size_t last) {
      T* const s = state.of<T>(item);
      for (std::size_t row = of.offsets[item]; row < of.offsets[item + 1]; ++row) {
        if (shape.reads_before) steps.read(s, row, first, last);
        steps.advance(s, s, row, first, last);
        if (!shape.reads_before) steps.read(s, row, first, last);
      }
    });
  }

  /// The state behind each row: `states` has a row of it for every row.
  T* behind(T* states, std::size_t item, std::size_t row) const {
    return row == of.offsets[item] ? state.of<T>(item) : states + (row - 1) * shape.width();
  }

  void all_states(T* states) const {
    over_units([&](std::size_t item, std::size_t first, std::size_t last) {
      for (std::size_t row = of.offsets[item]; row < of.offsets[item + 1]; ++row)
        steps.advance(behind(states, item, row), states + row * shape.width(), row, first, last);
    });
  }

  bool same(T const* a, T const* b, std::size_t unit) const {
    for (std::size_t f = 0; f < shape.fields; ++f) {
      std::size_t const at = (f * shape.units + unit) * shape.each;
      if (std::memcmp(a + at, b + at, shape.each * sizeof(T)) != 0) return false;
    }
    return true;
  }

  /// Rows that an edit left as they were, behind one that it changed, follow from that.
  void carry_on(T* states, T const* before) const {
    std::size_t const w = shape.width();
    split(of.items() * shape.units, of.rows() * w * 8, [&](std::size_t i) {
      std::size_t const item = i / shape.units, unit = i % shape.units;
      bool moved = false;
      for (std::size_t row = of.offsets[item]; row < of.offsets[item + 1]; ++row)
        if (!same(states + row * w, before + row * w, unit))
          moved = true;
        else if (moved)
          steps.advance(behind(states, item, row), states + row * w, row, unit, unit + 1);
    });
  }

  void read_all(T* states) const {
    over_units([&](std::size_t item, std::size_t first, std::size_t last) {
      for (std::size_t row = of.offsets[item]; row < of.offsets[item + 1]; ++row)
        steps.read(shape.reads_before ? behind(states, item, row) : states + row * shape.width(), row, first, last);
    });
    for (std::size_t i = 0; i < of.items(); ++i)
      if (of.length(i)) std::copy_n(states + (of.offsets[i + 1] - 1) * shape.width(), shape.width(), state.of<T>(i));
  }
};

}  // namespace

template <class T>
void scan(std::shared_ptr<row_packing const> const& of, dtype precision, scan_shape const& shape, scan_steps<T> const& steps,
          carried& state, std::string_view hook, tap_scope const& at) {
  if (state.items() != of->items() || state.width() != shape.width())
    throw plugin_error("a scan of " + std::to_string(of->items()) + " items with states of " + std::to_string(shape.width()) +
                       " numbers was given " + std::to_string(state.items()) + " of " + std::to_string(state.width()));
  scanner<T> const s{*of, shape, steps, state};
  if (!at.wants(hook)) return s.in_place();
  rows states(of, shape.width(), precision);
  s.all_states(states.overwrite<T>());
  bool const edited = at.edits(hook);
  std::vector<T> before;
  if (edited) before.assign(states.data<T>(), states.data<T>() + states.count() * states.width());
  states = at(hook, std::move(states));
  // What is captured lends this memory, and shall have what follows from an edit: written to without a copy.
  T* const memory = of->rows() ? const_cast<T*>(states.data<T>()) : nullptr;
  if (edited) s.carry_on(memory, before.data());
  s.read_all(memory);
}
template void scan(std::shared_ptr<row_packing const> const&, dtype, scan_shape const&, scan_steps<float> const&, carried&,
                   std::string_view, tap_scope const&);
template void scan(std::shared_ptr<row_packing const> const&, dtype, scan_shape const&, scan_steps<double> const&, carried&,
                   std::string_view, tap_scope const&);

}  // namespace wayfarer
