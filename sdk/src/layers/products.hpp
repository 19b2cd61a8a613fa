// Products of activations and weights: the split into pieces, on top of the kernels.
#pragma once

#include <cstddef>
#include <memory>

#include <wayfarer/layers.hpp>

#include "kernels.hpp"

namespace wayfarer {

/// c [m, n] = act(a [m, k] w + bias).
template <class T>
struct product_job {
  T* c;
  std::size_t ld_c;
  T const* a;
  std::size_t ld_a;
  layer_kernels::matrix w;
  std::size_t m, n, k;
  T const* bias;  // or null
  layer_kernels::act act;
};
template <class T>
void multiply(product_job<T> const&);
void multiply_bf16(product_job<float> const&);

layer_kernels::matrix matrix_of(tensor const&, bool in_first);
/// The n numbers of a vector in type T: a view if they are, else a copy. Throws plugin_error if there are not n.
template <class T>
std::shared_ptr<T const> numbers(tensor const&, std::size_t n);

rows linear_activated(rows const& x, linear_weights const&, layer_kernels::act);

}  // namespace wayfarer
