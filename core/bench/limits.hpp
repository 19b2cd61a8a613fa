// What the processor can do, measured in the run that compares with it: fused multiply-adds from registers, and bytes read from
// memory.
#pragma once

#include <cstddef>

namespace wayfarer::host::bench {

struct limits {
  double multiply_adds = 0;  ///< float32, a second
  double bandwidth = 0;      ///< bytes read from memory a second
};

/// Measured once for each number of threads, best of several tries; about a tenth of a second.
limits const& measured_limits(std::size_t threads);

}  // namespace wayfarer::host::bench
