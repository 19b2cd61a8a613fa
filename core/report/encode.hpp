// Encodes bytes for a page: gzip, base64, and text that HTML does not read as markup. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace wayfarer::host {

/// gzip without a name or a time, so that equal bytes give equal pages.
std::string gzipped(std::span<std::byte const> bytes);
inline std::string gzipped(std::string_view text) {
  return gzipped(std::as_bytes(std::span(text)));
}
std::string base64(std::span<std::byte const> bytes);
inline std::string base64(std::string_view text) {
  return base64(std::as_bytes(std::span(text)));
}
/// "'sha256-...'", as a content security policy names an inline script or style.
std::string policy_hash(std::string_view text);
/// The first bytes of all elements, then their second bytes, and so on: floats of one magnitude compress better so.
std::string in_planes(std::span<std::byte const> bytes, std::size_t each);
/// Valid UTF-8: other bytes become "\xNN".
std::string clean_utf8(std::string_view text);
/// Text for the content of an HTML element.
std::string html_text(std::string_view text);

}  // namespace wayfarer::host
