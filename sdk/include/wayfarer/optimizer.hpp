// What turns gradients into new weights: AdamW, clipping, and the learning rate's course.
//
// AdamW as Loshchilov and Hutter 2019 have it: decay acts on the weight itself, not through the gradient. Numbers are float or
// double; one pass over memory, split over threads, each element on its own. Free functions; any thread, though not for the same
// numbers.
#pragma once

#include <cstddef>
#include <span>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

struct adamw_options {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double decay = 0;  ///< w -= rate * decay * w
};

/// Step number `step`, counted from 1. `gradient_scale` multiplies the gradient (clipping). m and v: the moments, zeros at the
/// start. Throws plugin_error if the lengths differ.
template <class T>
WAYFARER_API void adamw_step(std::span<T> w, std::span<T const> gradient, std::span<T> m, std::span<T> v, std::size_t step,
                             double rate, double gradient_scale, adamw_options const&);

/// Euclidean norm, summed in fixed pieces.
template <class T>
WAYFARER_API double norm_of(std::span<T const>);

/// Rises in a straight line over the first `warm_up` steps, then falls along half a cosine to `least` at step `steps`.
struct learning_rate_course {
  double peak = 0, least = 0;
  std::size_t warm_up = 0, steps = 0;
  /// Of step 1, 2, ...
  WAYFARER_API double at(std::size_t step) const noexcept;
};

WAYFARER_LAYOUT(adamw_options, beta1, beta2, epsilon, decay);
WAYFARER_LAYOUT(learning_rate_course, peak, least, warm_up, steps);

}  // namespace wayfarer
