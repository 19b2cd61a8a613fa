// The digamma function, derivative of log gamma. Pure; any thread.
#pragma once

#include <cmath>

namespace wayfarer {

/// digamma(x), x > 0, to about 1e-15.
inline double digamma(double x) noexcept {
  double shift = 0;
  for (; x < 10; x += 1) shift -= 1 / x;
  double const r = 1 / x, r2 = r * r;
  // Asymptotic series, Bernoulli numbers B_2n / 2n.
  double const series =
      r2 *
      (1.0 / 12 - r2 * (1.0 / 120 - r2 * (1.0 / 252 - r2 * (1.0 / 240 - r2 * (1.0 / 132 - r2 * (691.0 / 32760 - r2 / 12))))));
  return shift + std::log(x) - 0.5 * r - series;
}

}  // namespace wayfarer
