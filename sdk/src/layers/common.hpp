// What the sources of the layers share: types chosen at run time, and work split so that small pieces stay on one thread.
#pragma once

#include <algorithm>
#include <cstddef>

#include <wayfarer/parallel.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/tensor.hpp>

#include "kernels.hpp"

namespace wayfarer {

/// Calls f with a null pointer to float or double.
template <class F>
void with_type(dtype t, F&& f) {
  if (t == dtype::f64)
    f(static_cast<double const*>(nullptr));
  else
    f(static_cast<float const*>(nullptr));
}

layer_kernels::number number_of(dtype);

enum class activation;
layer_kernels::act act_of(activation);

/// `body(i)` for i in [0, n), on this thread alone if all of it is only about `cost` operations and not worth a task.
template <class F>
void split(std::size_t n, std::size_t cost, F const& body) {
  if (n <= 1 || cost < 20'000)
    for (std::size_t i = 0; i < n; ++i) body(i);
  else
    parallel_for(n, body);
}

/// `body(first, count)` over [0, n) in pieces that fit the cache.
template <class F>
void in_chunks(std::size_t n, F const& body) {
  constexpr std::size_t chunk = 16'384;
  split((n + chunk - 1) / chunk, n, [&](std::size_t i) { body(i * chunk, std::min(chunk, n - i * chunk)); });
}

/// `body(first, count)` over rows in pieces of about as many numbers.
template <class F>
void in_row_chunks(std::size_t rows, std::size_t width, F const& body) {
  std::size_t const chunk = std::max<std::size_t>(1, 16'384 / std::max<std::size_t>(1, width));
  split((rows + chunk - 1) / chunk, rows * width, [&](std::size_t i) { body(i * chunk, std::min(chunk, rows - i * chunk)); });
}

/// Memory of one thread for the time of one piece of work, aligned to 64 bytes; kept for the next piece. A piece that holds it
/// must not start parallel work, which might run another piece on the same thread.
template <class T>
T* scratch(std::size_t count, std::size_t slot);

}  // namespace wayfarer
