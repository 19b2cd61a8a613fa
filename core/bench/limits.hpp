// What the processor can do, measured in the run that compares with it: fused multiply-adds from registers, and bytes read from
// memory. Called by `wayfarer bench` and by the programs in benchmarks/, from the thread that measures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wayfarer::host::bench {

struct limits {
  double multiply_adds = 0;  ///< float32, a second
  double bandwidth = 0;      ///< bytes read from memory a second
};

/// Measured once for each number of threads, best of several tries; some tenths of a second. Multiply-adds of several threads are
/// never less than those of one.
limits const& measured_limits(std::size_t threads);

/// Multiply-adds a second of one try on so many threads of its own, which begin together: for ratios taken in pairs. A
/// round is some nanoseconds: 2^20 take about 10 ms, 2^23 about a tenth of a second.
double multiply_adds_now(std::size_t threads, std::size_t rounds);

/// Holds 512 MiB while it lives: far beyond the caches.
class memory_reader {
 public:
  memory_reader();
  /// Bytes a second of one try on so many threads, by parallel_for in the caller's arena.
  double bytes_now(std::size_t threads) const;

 private:
  std::vector<std::uint64_t> memory_;
};

}  // namespace wayfarer::host::bench
