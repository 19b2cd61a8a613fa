// Numbers in the words of a summary, the line with which a probe or a metric says what it found.
//
// Used in `finish` and `measure`; plain functions, any thread. A summary says what the numbers say and no more: where nothing was
// measured, it says that.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>

namespace wayfarer {

/// A number with so many digits, "1.41" or "+1.41" with `sign`; "no number" for NaN, so that it is not read as a result.
inline std::string told(double value, int digits = 3, bool sign = false) {
  if (std::isnan(value)) return "no number";
  if (std::isinf(value)) return value > 0 ? "infinity" : "-infinity";
  char text[48];
  std::snprintf(text, sizeof text, sign ? "%+.*g" : "%.*g", digits, value == 0 ? 0.0 : value);
  return text;
}

/// "1 pair", "3 pairs".
inline std::string counted(std::size_t n, std::string const& one) {
  return std::to_string(n) + " " + one + (n == 1 ? "" : "s");
}

}  // namespace wayfarer
