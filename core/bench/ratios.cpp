#include "bench/ratios.hpp"

#include <algorithm>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/statistics.hpp>

namespace wayfarer::host::bench {
namespace {

double seconds_of(std::string const& unit, json_value const& at) {
  if (unit == "ns") return 1e-9;
  if (unit == "us") return 1e-6;
  if (unit == "ms") return 1e-3;
  if (unit == "s") return 1;
  at.fail("is not a unit of time that Google Benchmark writes");
}

constexpr std::size_t resamples = 4000, least_repetitions = 3;

}  // namespace

measurements read_measurements(std::string const& file) {
  json_value const all = read_json(file, {std::size_t{64} << 20, 16, 1'000'000});
  measurements out;
  for (json_value const run : all.at("benchmarks").elements()) {
    auto const type = run.find("run_type");
    if ((type && type->as_string() != "iteration") || run.find("error_occurred")) continue;
    auto const name = run.find("run_name");
    json_value const unit = run.at("time_unit");
    out[name ? name->as_string() : run.at("name").as_string()].push_back(run.at("real_time").as_number(0) *
                                                                         seconds_of(unit.as_string(), unit));
  }
  if (out.empty())
    throw data_error(file +
                     ": holds no repetition; write it with --benchmark_out=FILE, without --benchmark_report_aggregates_only");
  return out;
}

ratio ratio_of(std::span<double const> now, std::span<double const> before) {
  if (now.empty() || before.empty()) throw usage_error("a ratio needs times on both sides");
  std::vector<double> a(now.begin(), now.end()), b(before.begin(), before.end());
  ratio out;
  out.value = out.low = out.high = median(a) / median(b);
  out.certain = now.size() >= least_repetitions && before.size() >= least_repetitions;
  if (!out.certain) return out;
  std::vector<double> drawn(resamples);
  for (std::size_t r = 0; r < resamples; ++r) {
    random_stream draw(0, "bootstrap", r);
    for (auto& v : a) v = now[draw.below(static_cast<std::uint32_t>(now.size()))];
    for (auto& v : b) v = before[draw.below(static_cast<std::uint32_t>(before.size()))];
    drawn[r] = median(a) / median(b);
  }
  std::sort(drawn.begin(), drawn.end());
  out.low = quantile(drawn, 0.025), out.high = quantile(drawn, 0.975);
  return out;
}

std::vector<compared> compare(measurements const& now, measurements const& before) {
  std::vector<compared> out;
  for (auto const& [name, times] : now)
    if (auto const at = before.find(name); at != before.end()) out.push_back({name, ratio_of(times, at->second)});
  return out;
}

}  // namespace wayfarer::host::bench
