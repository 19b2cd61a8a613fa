#include "text/printable.hpp"

#include <array>
#include <cstdio>

namespace wayfarer::host {

std::size_t hidden_bytes(std::string_view text) noexcept {
  auto const u = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  if (u(0) < 0x20 || u(0) == 0x7f) return 1;
  if (u(0) == 0xc2 && u(1) < 0xa0) return 2;
  if (u(0) == 0xd8 && u(1) == 0x9c) return 2;                                    // U+061C
  if (u(0) == 0xe2 && u(1) == 0x80 && (u(2) == 0x8e || u(2) == 0x8f)) return 3;  // U+200E, U+200F
  if (u(0) == 0xe2 && u(1) == 0x80 && u(2) >= 0xa8 && u(2) <= 0xae) return 3;    // U+2028 to U+202E
  if (u(0) == 0xe2 && u(1) == 0x81 && u(2) >= 0xa6 && u(2) <= 0xa9) return 3;    // U+2066 to U+2069
  if (u(0) == 0xef && u(1) == 0xbb && u(2) == 0xbf) return 3;                    // U+FEFF
  if (u(0) == 0xf3 && u(1) == 0xa0 && (u(2) == 0x80 || u(2) == 0x81)) return 4;  // U+E0000 to U+E007F
  return 0;
}

namespace {

std::string made_printable(std::string_view text, std::string_view kept) {
  bool const utf8 = is_utf8(text);
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    bool const foreign = !utf8 && static_cast<unsigned char>(text[i]) >= 0x80;
    std::size_t n = kept.find(text[i]) != kept.npos ? 0 : foreign ? 1 : hidden_bytes(text.substr(i));
    if (n == 0) out += text[i++];
    for (; n > 0; --n, ++i) {
      constexpr char digits[] = "0123456789abcdef";
      auto const u = static_cast<unsigned char>(text[i]);
      out.append("\\x").append(1, digits[u >> 4]).append(1, digits[u & 15]);
    }
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text) {
  return made_printable(text, "");
}

std::string printable_lines(std::string_view text) {
  return made_printable(text, "\n\t");
}

std::string printable_json(json_value const& value, int indent) {
  std::string out;
  std::string const text = to_json(value, indent);
  for (std::size_t i = 0; i < text.size();) {
    std::size_t const n = text[i] == '\n' ? 0 : hidden_bytes(std::string_view(text).substr(i));
    if (n == 0) {
      out += text[i++];
      continue;
    }
    // UTF-16, as JSON wants it.
    auto const u = [&](std::size_t k) { return static_cast<unsigned char>(text[i + k]); };
    unsigned const code = n == 1   ? u(0)
                          : n == 2 ? (u(0) & 31u) << 6 | (u(1) & 63u)
                          : n == 3 ? (u(0) & 15u) << 12 | (u(1) & 63u) << 6 | (u(2) & 63u)
                                   : (u(0) & 7u) << 18 | (u(1) & 63u) << 12 | (u(2) & 63u) << 6 | (u(3) & 63u);
    std::array<char, 16> escape;
    if (code < 0x10000)
      std::snprintf(escape.data(), escape.size(), "\\u%04x", code);
    else
      std::snprintf(escape.data(), escape.size(), "\\u%04x\\u%04x", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff));
    out += escape.data();
    i += n;
  }
  return out;
}

}  // namespace wayfarer::host
