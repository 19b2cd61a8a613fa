#include "report/encode.hpp"

#include <zlib.h>

#include <array>
#include <cstdint>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer::host {

std::string gzipped(std::span<std::byte const> bytes) {
  z_stream z{};
  // 15 + 16: the gzip format.
  if (::deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw resource_error("no memory to compress a page");
  std::string out(::deflateBound(&z, static_cast<uLong>(bytes.size())), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  int const code = ::deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  ::deflateEnd(&z);
  if (code != Z_STREAM_END) throw resource_error("compressing a page failed");
  return out;
}

std::string base64(std::span<std::byte const> bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::size_t const n = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < n ? static_cast<std::uint32_t>(bytes[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k) out += k <= n ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string policy_hash(std::string_view text) {
  std::string const hex = sha256_hex(text);
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return "'sha256-" + base64(bytes) + "'";
}

std::string in_planes(std::span<std::byte const> bytes, std::size_t each) {
  std::string out(bytes.size(), '\0');
  std::size_t const count = bytes.size() / each;
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t k = 0; k < each; ++k) out[k * count + i] = static_cast<char>(bytes[i * each + k]);
  return out;
}

std::string clean_utf8(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  std::string out;
  for (char const c : text) {
    auto const u = static_cast<unsigned char>(c);
    if (u < 0x80) {
      out += c;
    } else {
      constexpr char digits[] = "0123456789abcdef";
      out.append("\\x").append(1, digits[u >> 4]).append(1, digits[u & 15]);
    }
  }
  return out;
}

std::string html_text(std::string_view text) {
  std::string out;
  for (char const c : clean_utf8(text)) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (c == '\'')
      out += "&#39;";
    else if (c != '\0')
      out += c;
  }
  return out;
}

}  // namespace wayfarer::host
