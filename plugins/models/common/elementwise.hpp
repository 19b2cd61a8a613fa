// Arithmetic on each number of rows alone, for what the layers of the SDK have no name for: gates, decays, mixtures of two rows.
//
// Functions take and give float or double, the type of the rows. Any thread, though not for the same objects.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <wayfarer/parallel.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// Calls f with a float or a double: the type in which these rows hold numbers.
template <class F>
void in_type_of(rows const& x, F&& f) {
  if (x.type() == dtype::f64)
    f(double{});
  else
    f(float{});
}

/// body(row) for each row, in pieces worth a task.
template <class F>
void for_each_row(rows const& x, F const& body) {
  std::size_t const at_once = std::max<std::size_t>(1, 16'384 / std::max<std::size_t>(1, x.width()));
  std::size_t const n = x.count(), pieces = (n + at_once - 1) / at_once;
  auto const piece = [&](std::size_t i) {
    for (std::size_t row = i * at_once; row < std::min(n, (i + 1) * at_once); ++row) body(row);
  };
  if (pieces == 1)
    piece(0);
  else
    parallel_for(pieces, piece);
}

/// f(x) of each number.
template <class F>
rows mapped(rows x, F f) {
  in_type_of(x, [&]<class T>(T) {
    T* const p = x.own<T>();
    std::size_t const d = x.width();
    for_each_row(x, [&](std::size_t row) {
      for (std::size_t j = row * d; j < (row + 1) * d; ++j) p[j] = f(p[j]);
    });
  });
  return x;
}

/// f(x, y) of numbers at the same place.
template <class F>
rows mapped(rows x, rows const& y, F f) {
  in_type_of(x, [&]<class T>(T) {
    T* const p = x.own<T>();
    T const* const q = y.data<T>();
    std::size_t const d = x.width();
    for_each_row(x, [&](std::size_t row) {
      for (std::size_t j = row * d; j < (row + 1) * d; ++j) p[j] = f(p[j], q[j]);
    });
  });
  return x;
}

/// f(x, w) with a weight for each column; w has as many numbers as a row.
template <class F>
rows mapped(rows x, tensor const& w, F f) {
  in_type_of(x, [&]<class T>(T) {
    tensor const wide = w.to(x.type());
    T const* const q = wide.values<T const>().data();
    T* const p = x.own<T>();
    std::size_t const d = x.width();
    for_each_row(x, [&](std::size_t row) {
      for (std::size_t j = 0; j < d; ++j) p[row * d + j] = f(p[row * d + j], q[j]);
    });
  });
  return x;
}

inline rows sigmoid(rows x) {
  return mapped(std::move(x), [](auto v) { return 1 / (1 + std::exp(-v)); });
}
inline rows multiplied(rows x, rows const& by) {
  return mapped(std::move(x), by, [](auto a, auto b) { return a * b; });
}

/// A row of these numbers at each position.
inline rows repeated(tensor const& w, rows const& like) {
  rows out = like.like(w.count());
  in_type_of(out, [&]<class T>(T) {
    tensor const wide = w.to(out.type());
    auto const from = wide.values<T const>();
    T* const p = out.overwrite<T>();
    for (std::size_t row = 0; row < out.count(); ++row) std::copy(from.begin(), from.end(), p + row * from.size());
  });
  return out;
}

}  // namespace wayfarer
