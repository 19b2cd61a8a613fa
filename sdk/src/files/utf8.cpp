#include <wayfarer/utf8.hpp>

#include <algorithm>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer {
namespace {

constexpr std::string_view utf8_mark = "\xef\xbb\xbf";

std::string hex_of(char c) {
  constexpr char digits[] = "0123456789abcdef";
  auto const byte = static_cast<unsigned char>(c);
  return {'0', 'x', digits[byte >> 4], digits[byte & 15]};
}

std::string convert(std::string_view from, std::string const& path) {
  std::string const iconv = "iconv -f " + std::string(from) + " -t UTF-8";
  if (path == "/dev/stdin") return "convert it: ... | " + iconv + " | wayfarer ...";
  for (auto const& [ending, unpack] : {std::pair(".gz", "zcat"), std::pair(".bz2", "bzcat"), std::pair(".zst", "zstdcat")})
    if (path.ends_with(ending)) return std::string("convert it: ") + unpack + " '" + path + "' | " + iconv + " > NEW";
  return "convert it: " + iconv + " '" + path + "' > NEW";
}

/// UTF-16 or UTF-32, recognised by its byte order mark or by the zero bytes between Latin letters; "" if it looks like neither.
std::string_view wide_encoding(std::string_view text) noexcept {
  using namespace std::string_view_literals;
  if (text.starts_with("\xff\xfe\0\0"sv)) return "UTF-32LE";
  if (text.starts_with("\0\0\xfe\xff"sv)) return "UTF-32BE";
  if (text.starts_with("\xff\xfe"sv)) return "UTF-16LE";
  if (text.starts_with("\xfe\xff"sv)) return "UTF-16BE";
  // Zero bytes by their place among four; a text has none.
  std::string_view const start = text.substr(0, std::min<std::size_t>(text.size(), 4096) / 4 * 4);
  if (start.empty()) return {};
  std::size_t zero[4] = {};
  for (std::size_t i = 0; i < start.size(); ++i)
    if (start[i] == '\0') ++zero[i % 4];
  std::size_t const most = start.size() / 4, half = most / 2 + most % 2;
  if (zero[0] >= half && zero[1] >= half && zero[2] >= half && zero[3] == 0) return "UTF-32BE";
  if (zero[1] >= half && zero[2] >= half && zero[3] >= half && zero[0] == 0) return "UTF-32LE";
  if (zero[0] >= half && zero[2] >= half && zero[1] == 0 && zero[3] == 0) return "UTF-16BE";
  if (zero[1] >= half && zero[3] >= half && zero[0] == 0 && zero[2] == 0) return "UTF-16LE";
  return {};
}

/// Throws data_error for bytes that are packed, by the first of them: unpacked text is asked for.
void refuse_packed(std::string_view bytes, std::string const& path) {
  struct packing {
    std::string_view begin;
    char const *name, *unpack;
  };
  for (auto const& [begin, name, unpack] :
       {packing{"\x1f\x8b", "gzip", "zcat"}, packing{"BZh", "bzip2", "bzcat"}, packing{"\x28\xb5\x2f\xfd", "zstd", "zstdcat"}})
    if (bytes.starts_with(begin) && !is_utf8(bytes))
      throw data_error(path + ": this is packed (" + name + "), not text; unpack it: " +
                       (path == "/dev/stdin" ? std::string("... | ") + unpack + " | wayfarer ..."
                                             : std::string(unpack) + " '" + path + "' > NEW"));
}

}  // namespace

std::size_t first_invalid_utf8(std::string_view text) noexcept {
  auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    unsigned const lead = byte(i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    std::size_t const more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || more >= text.size() - i) return i;
    for (std::size_t k = 1; k <= more; ++k)
      if ((byte(i + k) & 0xc0) != 0x80) return i;
    // Overlong forms, surrogates and what lies beyond U+10FFFF.
    unsigned const second = byte(i + 1);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second >= 0xa0) || (lead == 0xf0 && second < 0x90) ||
        (lead == 0xf4 && second >= 0x90))
      return i;
    i += more + 1;
  }
  return text.size();
}

bool is_utf8(std::string_view text) noexcept {
  return first_invalid_utf8(text) == text.size();
}

void require_utf8(std::string_view text, std::string const& where, std::size_t begin) {
  std::size_t const at = first_invalid_utf8(text);
  if (at == text.size()) return;
  throw data_error(where + ": this is not UTF-8: byte " + std::to_string(begin + at) + " is " + hex_of(text[at]) +
                   "; convert the text (from Latin-1: iconv -f LATIN1 -t UTF-8)");
}

std::string_view text_of_file(std::string_view bytes, std::string const& path, std::vector<std::string>& notes) {
  refuse_packed(bytes, path);
  if (auto const wide = wide_encoding(bytes); !wide.empty())
    throw data_error(path + ": byte " +
                     std::to_string(std::min(bytes.find_first_of(std::string_view("\0\xff\xfe", 3)), bytes.size())) +
                     ": this is " + std::string(wide) + ", not UTF-8; " + convert(wide, path));
  if (std::size_t const zero = bytes.find('\0'); zero != bytes.npos)
    throw data_error(path + ": byte " + std::to_string(zero) +
                     ": is NUL, which no text holds; if this is UTF-16 without a byte order mark, " +
                     convert(zero % 2 == 1 ? "UTF-16LE" : "UTF-16BE", path));
  std::size_t begin = 0;
  if (bytes.starts_with(utf8_mark)) {
    begin = utf8_mark.size();
    notes.push_back(path + " begins with a byte order mark, which is no part of the text and was left out");
  }
  std::string_view const text = bytes.substr(begin);
  if (std::size_t const at = first_invalid_utf8(text); at != text.size()) {
    auto const line =
        static_cast<std::size_t>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n')) + 1;
    throw data_error(located(path, line, 0,
                             "this is not UTF-8: byte " + std::to_string(begin + at) + " is " + hex_of(text[at]) +
                                 "; if the file is Latin-1, " + convert("LATIN1", path)));
  }
  return text;
}

}  // namespace wayfarer
