#include "text/times.hpp"

#include <cmath>

#include "text/numbers.hpp"

namespace wayfarer::host {

std::string format_time(double seconds) {
  auto const with = [](double n, double step, char const* unit) { return format_number(std::round(n / step) * step) + unit; };
  if (seconds < 0.0009995) return with(seconds * 1000, 0.01, " ms");
  if (seconds < 0.00995) return with(seconds * 1000, 0.1, " ms");
  if (seconds < 0.9995) return with(seconds * 1000, 1, " ms");
  if (seconds < 9.95) return with(seconds, 0.1, " s");
  if (seconds < 89.5) return with(seconds, 1, " s");
  if (seconds < 5370) return with(seconds / 60, 1, " min");
  return with(seconds / 3600, 0.1, " h");
}

}  // namespace wayfarer::host
