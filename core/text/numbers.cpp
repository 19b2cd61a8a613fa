#include "text/numbers.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include <wayfarer/error.hpp>

#include "text/printable.hpp"

namespace wayfarer::host {

std::uint64_t parse_size(std::string_view text) {
  auto const refuse = [&](std::string_view why) -> usage_error {
    return usage_error("'" + printable(text) + "' is not a size: " + std::string(why) +
                       "; write bytes, or K, M, G, T after the number, as in 512M");
  };
  std::uint64_t number = 0;
  auto const [rest, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (bad == std::errc::result_out_of_range) throw refuse("too large");
  if (bad != std::errc{}) throw refuse("no whole number at its start");
  std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  unsigned shift = 0;
  if (!unit.empty()) {
    constexpr std::string_view letters = "KMGT";
    auto const at = letters.find(static_cast<char>(unit.front() & ~0x20));
    bool const plain_bytes = unit == "B" || unit == "b";
    std::string_view const after = unit.substr(1);
    if (!plain_bytes) {
      if (at == letters.npos || !(after.empty() || after == "B" || after == "b" || after == "iB")) throw refuse("unknown unit");
      shift = 10 * (static_cast<unsigned>(at) + 1);
    }
  }
  if (shift > 0 && number > (~std::uint64_t{0} >> shift)) throw refuse("too large");
  return number << shift;
}

std::string format_size(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
  constexpr std::array units = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  // Rounded to what is printed, so that 1048575 bytes are 1 MiB and not 1024 KiB.
  while (std::round(value) >= 1024 && unit + 1 < units.size()) value /= 1024, ++unit;
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), value < 9.95 ? "%.1f" : "%.0f", value);
  std::string number = text.data();
  if (number.ends_with(".0")) number.resize(number.size() - 2);
  return number + " " + units[unit];
}

std::string format_count(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string format_number(double x) {
  // printf writes -nan for some.
  if (std::isnan(x)) return "nan";
  std::array<char, 32> text;
  bool const whole = x == std::trunc(x) && std::abs(x) < 1e15;
  std::snprintf(text.data(), text.size(), whole ? "%.0f" : "%.6g", x == 0 ? 0.0 : x);
  return text.data();
}

}  // namespace wayfarer::host
