// The digamma function, derivative of log gamma. Pure; any thread.
#pragma once

#include <boost/math/special_functions/digamma.hpp>

namespace wayfarer {

/// digamma(x), x > 0, to about 1e-15.
inline double digamma(double x) noexcept {
  namespace how = boost::math::policies;
  // Long double would be slower and no better here; outside x > 0 the answer is not a number, no exception.
  using policy =
      how::policy<how::promote_double<false>, how::domain_error<how::ignore_error>, how::pole_error<how::ignore_error>>;
  return boost::math::digamma(x, policy());
}

}  // namespace wayfarer
