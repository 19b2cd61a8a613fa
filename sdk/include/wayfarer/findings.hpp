// Numbers in the words of a summary, the line with which a probe or a metric says what it found.
//
// Used in `finish` and `measure`; plain functions, any thread. A summary says what the numbers say and no more: where nothing was
// measured, it says that.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>

namespace wayfarer {

/// A number with so many digits, "1.41" or "+1.41" with `sign`, and all of a whole part below ten million; "no number" for NaN,
/// so that it is not read as a result.
inline std::string told(double value, int digits = 3, bool sign = false) {
  if (std::isnan(value)) return "no number";
  if (std::isinf(value)) return value > 0 ? "infinity" : "-infinity";
  char text[48];
  // "%.2g" would write 123 as 1.2e+02.
  if (std::abs(value) < 1e7 && std::abs(value) >= std::pow(10.0, digits) - 0.5)
    std::snprintf(text, sizeof text, sign ? "%+.0f" : "%.0f", value);
  else
    std::snprintf(text, sizeof text, sign ? "%+.*g" : "%.*g", digits, value == 0 ? 0.0 : value);
  return text;
}

/// "1 pair", "3 pairs".
inline std::string counted(std::size_t n, std::string const& one) {
  return std::to_string(n) + " " + one + (n == 1 ? "" : "s");
}

}  // namespace wayfarer
