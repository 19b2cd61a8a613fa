// Sizes, counts and numbers as people write and read them. Pure functions, for any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace wayfarer::host {

/// "512M", "2G", "1073741824" in bytes. Throws usage_error.
std::uint64_t parse_size(std::string_view text);
/// 219136 -> "214 KiB".
std::string format_size(std::uint64_t bytes);
/// 1249883 -> "1,249,883".
std::string format_count(std::uint64_t n);
/// A number with at most six digits, for people.
std::string format_number(double);

}  // namespace wayfarer::host
