#include <wayfarer/optimizer.hpp>

#include <cmath>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>

#include "common.hpp"

namespace wayfarer {

using layer_kernels::kernels;

template <class T>
void adamw_step(std::span<T> w, std::span<T const> gradient, std::span<T> m, std::span<T> v, std::size_t step, double rate,
                double gradient_scale, adamw_options const& how) {
  if (gradient.size() != w.size() || m.size() != w.size() || v.size() != w.size())
    throw plugin_error("adamw_step: weights, gradient and moments are of different lengths");
  double const t = static_cast<double>(step);
  layer_kernels::adamw_constants<T> const c{static_cast<T>(gradient_scale),
                                            static_cast<T>(how.beta1),
                                            static_cast<T>(how.beta2),
                                            static_cast<T>(rate / (1 - std::pow(how.beta1, t))),
                                            static_cast<T>(1 / (1 - std::pow(how.beta2, t))),
                                            static_cast<T>(how.epsilon),
                                            static_cast<T>(1 - rate * how.decay)};
  in_chunks(w.size(), [&](std::size_t first, std::size_t n) {
    kernels<T>().adamw(w.data() + first, m.data() + first, v.data() + first, gradient.data() + first, n, c);
  });
}
template WAYFARER_API void adamw_step<float>(std::span<float>, std::span<float const>, std::span<float>, std::span<float>,
                                             std::size_t, double, double, adamw_options const&);
template WAYFARER_API void adamw_step<double>(std::span<double>, std::span<double const>, std::span<double>, std::span<double>,
                                              std::size_t, double, double, adamw_options const&);

template <class T>
double norm_of(std::span<T const> x) {
  constexpr std::size_t piece = 4096;
  std::vector<double> sums((x.size() + piece - 1) / piece);
  split(sums.size(), x.size(), [&](std::size_t i) {
    sums[i] = kernels<T>().sum_of_squares(x.data() + i * piece, std::min(piece, x.size() - i * piece));
  });
  double sum = 0;
  for (double const one : sums) sum += one;
  return std::sqrt(sum);
}
template WAYFARER_API double norm_of<float>(std::span<float const>);
template WAYFARER_API double norm_of<double>(std::span<double const>);

double learning_rate_course::at(std::size_t step) const noexcept {
  if (step <= warm_up && warm_up > 0) return peak * static_cast<double>(step) / static_cast<double>(warm_up);
  if (step >= steps) return least;
  double const done = static_cast<double>(step - warm_up) / static_cast<double>(steps - warm_up);
  return least + 0.5 * (1 + std::cos(3.14159265358979323846 * done)) * (peak - least);
}

}  // namespace wayfarer
