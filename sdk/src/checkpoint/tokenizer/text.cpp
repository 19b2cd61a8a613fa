#include "text.hpp"

#include <cstring>
#include <vector>

#include <unicode/uchar.h>

namespace wayfarer::tokenizing {

namespace {

char_class classify(char32_t c) {
  auto const u = static_cast<UChar32>(c);
  if (u_hasBinaryProperty(u, UCHAR_WHITE_SPACE)) return char_class::space;
  auto const mask = U_GET_GC_MASK(u);
  if (mask & U_GC_L_MASK) return char_class::letter;
  if (mask & U_GC_N_MASK) return char_class::number;
  return char_class::other;
}

constexpr std::size_t page = 256;

/// Classes of all code points in pages of 256; equal pages are kept once, which leaves a table that fits the nearest cache.
struct class_table {
  std::vector<std::uint16_t> page_of;
  std::vector<char_class> classes;

  class_table() {
    page_of.resize(0x110000 / page);
    for (std::size_t p = 0; p < page_of.size(); ++p) {
      std::array<char_class, page> now;
      for (std::size_t i = 0; i < page; ++i) now[i] = classify(static_cast<char32_t>(p * page + i));
      std::size_t k = 0;
      while (k < classes.size() && !std::equal(now.begin(), now.end(), classes.begin() + static_cast<std::ptrdiff_t>(k)))
        k += page;
      if (k == classes.size()) classes.insert(classes.end(), now.begin(), now.end());
      page_of[p] = static_cast<std::uint16_t>(k / page);
    }
  }
};

constexpr std::array<char_class, 128> make_ascii_classes() {
  std::array<char_class, 128> t{};
  for (unsigned c = 0; c < 128; ++c)
    t[c] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? char_class::letter
           : c >= '0' && c <= '9'                           ? char_class::number
           : c == ' ' || (c >= '\t' && c <= '\r')           ? char_class::space
                                                            : char_class::other;
  return t;
}

/// Bytes that byte-level vocabularies write as the character of that number; the others become U+0100, U+0101 and so on.
constexpr bool writes_itself(unsigned b) {
  return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

struct letter_table {
  std::array<std::int16_t, 0x144> byte_of{};
  constexpr letter_table() {
    for (auto& b : byte_of) b = -1;
    unsigned next = 0x100;
    for (unsigned b = 0; b < 256; ++b) byte_of[writes_itself(b) ? b : next++] = static_cast<std::int16_t>(b);
  }
};
constexpr letter_table letters_;

/// The other way round: letters by byte.
struct byte_table {
  std::array<std::array<char, 2>, 256> text{};
  std::array<std::uint8_t, 256> length{};
  constexpr byte_table() {
    for (unsigned c = 0; c < letters_.byte_of.size(); ++c) {
      if (letters_.byte_of[c] < 0) continue;
      auto const b = static_cast<std::size_t>(letters_.byte_of[c]);
      if (c < 0x80)
        text[b] = {static_cast<char>(c), 0}, length[b] = 1;
      else
        text[b] = {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))}, length[b] = 2;
    }
  }
};
constexpr byte_table bytes_;

}  // namespace

std::array<char_class, 128> const ascii_classes = make_ascii_classes();

char_class class_of(char32_t c) noexcept {
  static class_table const table;
  return table.classes[table.page_of[c / page] * page + c % page];
}

void append_utf8(std::string& out, char32_t c) {
  auto const put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f)), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  }
}

bool is_punctuation(char32_t c) noexcept {
  if (c < 0x80) return c > ' ' && c < 0x7f && ascii_classes[c] == char_class::other;
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_P_MASK) != 0;
}

bool in_word(character const& c) noexcept {
  if (c.value < 0x80)
    return c.value == '_' || ascii_classes[c.value] == char_class::letter || ascii_classes[c.value] == char_class::number;
  if (!c.valid) return false;
  auto const u = static_cast<UChar32>(c.value);
  return u_hasBinaryProperty(u, UCHAR_ALPHABETIC) || u_hasBinaryProperty(u, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(u) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

std::size_t first_broken(std::string_view text, std::size_t from) noexcept {
  for (std::size_t i = from; i < text.size();) {
    if (std::uint64_t word; text.size() - i >= sizeof word) {
      std::memcpy(&word, text.data() + i, sizeof word);
      if ((word & 0x8080808080808080) == 0) {
        i += sizeof word;
        continue;
      }
    }
    character const c = read_character(text, i);
    if (!c.valid) return i;
    i += c.length;
  }
  return text.size();
}

std::size_t end_of_piece(std::string_view text, std::size_t at) noexcept {
  std::size_t const n = text.size();
  auto const is = [&](std::size_t i, char c) { return i < n && text[i] == c; };
  // The end of the run of characters of one class that begins at i.
  auto const run = [&](std::size_t i, char_class of) {
    while (i < n) {
      auto const byte = static_cast<unsigned char>(text[i]);
      if (byte < 0x80) {
        if (ascii_classes[byte] != of) break;
        ++i;
      } else {
        character const c = read_character(text, i);
        if (class_of(c) != of) break;
        i += c.length;
      }
    }
    return i;
  };
  if (text[at] == '\'') {
    if (is(at + 1, 's') || is(at + 1, 't') || is(at + 1, 'm') || is(at + 1, 'd')) return at + 2;
    if ((is(at + 1, 'r') && is(at + 2, 'e')) || (is(at + 1, 'v') && is(at + 2, 'e')) || (is(at + 1, 'l') && is(at + 2, 'l')))
      return at + 3;
  }
  character const first = read_character(text, at);
  char_class const of = class_of(first);
  if (of != char_class::space) return run(at + first.length, of);
  std::size_t const next = at + first.length;
  if (next >= n) return n;
  character const second = read_character(text, next);
  char_class const then = class_of(second);
  if (then != char_class::space) return text[at] == ' ' ? run(next + second.length, then) : next;
  // A run of white space gives its last character away if something follows.
  std::size_t last = next, end = next + second.length;
  while (end < n) {
    character const c = read_character(text, end);
    if (class_of(c) != char_class::space) return last;
    last = end;
    end += c.length;
  }
  return end;
}

std::optional<std::string> bytes_of_byte_letters(std::string_view letters) {
  std::string out;
  out.reserve(letters.size());
  for (std::size_t i = 0; i < letters.size();) {
    character const c = read_character(letters, i);
    if (!c.valid || c.value >= letters_.byte_of.size() || letters_.byte_of[c.value] < 0) return std::nullopt;
    out += static_cast<char>(letters_.byte_of[c.value]);
    i += c.length;
  }
  return out;
}

std::string_view letter_of_byte(unsigned char b) noexcept {
  return {bytes_.text[b].data(), bytes_.length[b]};
}

int byte_of_letter(char32_t c) noexcept {
  return c < letters_.byte_of.size() ? letters_.byte_of[c] : -1;
}

std::string readable(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size();) {
    character const c = read_character(bytes, i);
    if (c.valid && c.value == '\n') {
      out += "\\n";
    } else if (c.valid && c.value == '\t') {
      out += "\\t";
    } else if (c.valid && c.value == '\r') {
      out += "\\r";
    } else if (!c.valid || c.value < 0x20 || (c.value >= 0x7f && c.value < 0xa0)) {
      constexpr char digits[] = "0123456789abcdef";
      for (std::size_t k = 0; k < c.length; ++k) {
        auto const byte = static_cast<unsigned char>(bytes[i + k]);
        out += "\\x";
        out += digits[byte >> 4];
        out += digits[byte & 15];
      }
    } else {
      out.append(bytes.substr(i, c.length));
    }
    i += c.length;
  }
  return out;
}

}  // namespace wayfarer::tokenizing
