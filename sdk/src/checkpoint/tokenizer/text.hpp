// Characters as tokenizers see them: reading UTF-8 that may be broken, classes of code points, and the alphabet in which
// byte-level vocabularies are written. Any thread; the tables are made at first use and never change.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace wayfarer::tokenizing {

/// One character of a text. A byte that begins no valid UTF-8 is a character of its own, of length 1.
struct character {
  char32_t value = 0;  ///< the byte itself if not valid
  std::uint8_t length = 0;
  bool valid = false;
};

/// The character at `at`, which is below text.size().
inline character read_character(std::string_view text, std::size_t at) noexcept {
  auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  char32_t const lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  std::size_t const left = text.size() - at;
  auto const follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return byte(i) >= low && byte(i) <= high;
  };
  if (lead >= 0xc2 && lead <= 0xdf && left >= 2 && follows(1)) return {(lead & 0x1f) << 6 | (byte(1) & 0x3fu), 2, true};
  if (lead >= 0xe0 && lead <= 0xef && left >= 3 && follows(1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf) &&
      follows(2))
    return {(lead & 0xf) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu), 3, true};
  if (lead >= 0xf0 && lead <= 0xf4 && left >= 4 && follows(1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf) &&
      follows(2) && follows(3))
    return {(lead & 7) << 18 | (byte(1) & 0x3fu) << 12 | (byte(2) & 0x3fu) << 6 | (byte(3) & 0x3fu), 4, true};
  return {lead, 1, false};
}

void append_utf8(std::string& out, char32_t c);

/// What the pattern of GPT-2 tells apart: \p{L}, \p{N}, \s (the property White_Space), and everything else.
enum class char_class : std::uint8_t { other, letter, number, space };
char_class class_of(char32_t) noexcept;
/// The same for a byte below 0x80, inlined.
extern std::array<char_class, 128> const ascii_classes;

inline char_class class_of(character const& c) noexcept {
  if (c.value < 0x80) return ascii_classes[c.value];
  return c.valid ? class_of(c.value) : char_class::other;
}

/// Numbers as Rust's is_numeric has them; punctuation as BERT and Hugging Face's Punctuation have it; what regular expressions
/// call a word's character (\w).
inline bool is_number(character const& c) noexcept {
  return class_of(c) == char_class::number;
}
bool is_punctuation(char32_t) noexcept;
bool in_word(character const&) noexcept;

/// The first byte at or after `from` that belongs to no UTF-8 character; text.size() if there is none.
std::size_t first_broken(std::string_view text, std::size_t from) noexcept;

/// How far the piece that begins at `at` reaches under GPT-2's pattern,
/// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ ; `at` is below text.size().
std::size_t end_of_piece(std::string_view text, std::size_t at) noexcept;

/// Text of a byte-level vocabulary, in which each byte is one visible character, as the bytes that it stands for; nothing if it
/// holds other characters.
std::optional<std::string> bytes_of_byte_letters(std::string_view letters);
/// The letter of a byte; and the byte of a letter, -1 if it is none.
std::string_view letter_of_byte(unsigned char) noexcept;
int byte_of_letter(char32_t) noexcept;

/// For people: what is valid UTF-8 as it is, control characters and other bytes escaped ("\n", "\x96").
std::string readable(std::string_view bytes);

}  // namespace wayfarer::tokenizing
