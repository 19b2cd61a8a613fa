// Norms folded into the matrices that read them: n(x) G W = n(x) [Pi G W], where n is the norm without weight and bias.
//
// Used by the probes of weights. A plain function; any thread. Molina 2023 (arXiv 2309.07315), notes 1.3.
#pragma once

#include <cstddef>

#include <wayfarer/tensor.hpp>

namespace wayfarer::reading {

/// Pi G W in float64, for W: [d_model, d_head] and the norm's weight [d_model]. Pi centres, which RMS norms do not.
inline tensor folded(tensor const& w, tensor const& norm_weight, bool centred) {
  tensor const out = w.to(dtype::f64).clone(), g = norm_weight.to(dtype::f64);
  auto const m = out.view<double>();
  std::size_t const rows = m.size(0), columns = m.size(1);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j) m(i, j) *= g(i);
  if (!centred) return out;
  for (std::size_t j = 0; j < columns; ++j) {
    double mean = 0;
    for (std::size_t i = 0; i < rows; ++i) mean += m(i, j);
    mean /= static_cast<double>(rows);
    for (std::size_t i = 0; i < rows; ++i) m(i, j) -= mean;
  }
  return out;
}

}  // namespace wayfarer::reading
