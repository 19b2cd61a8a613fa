// Compares a run of benchmarks with an earlier one: the ratio of medians and its confidence interval.
//
// The interval is a percentile bootstrap with 4,000 resamples of both sets of repetitions. Random numbers are counter-based, so
// the same times give the same interval. Pure functions.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

namespace wayfarer::host::bench {

/// Seconds of each repetition, by name of the benchmark.
using measurements = std::map<std::string, std::vector<double>>;

/// The repetitions in a file that --benchmark_out or --benchmark_format=json wrote. Throws data_error.
measurements read_measurements(std::string const& file);

struct ratio {
  double value = 0;          ///< median now over median before: above 1 is slower
  double low = 0, high = 0;  ///< 95 % interval; equal to `value` where there are fewer than 3 repetitions on a side
  bool certain = false;      ///< there are enough repetitions for an interval
};
ratio ratio_of(std::span<double const> now, std::span<double const> before);

struct compared {
  std::string name;
  ratio by;
};
/// For every benchmark that is in both.
std::vector<compared> compare(measurements const& now, measurements const& before);

}  // namespace wayfarer::host::bench
