// Normalisation of a text with a memory of where each byte comes from: the steps that published tokenizers name. Immutable once
// made; any thread, each aligned_text from one thread.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "origins.hpp"
#include "pattern.hpp"
#include "vocabulary.hpp"

namespace wayfarer::tokenizing {

/// A text, and for each byte the bytes [begin, end) of the original text that it stands for.
struct aligned_text {
  std::string text;
  origins from;

  void put(std::string_view more, origin o) {
    text.append(more);
    from.add(more.size(), o);
  }
  /// Bytes [at, at + n) of another.
  void put(aligned_text const& other, std::size_t at, std::size_t n) {
    text.append(other.text, at, n);
    from.add(other.from, at, n);
  }
  void clear() {
    text.clear();
    from.clear();
  }
};

/// text[begin, end) with U+FFFD for each byte that is no UTF-8, or with these bytes as they are.
enum class broken_bytes { replaced, kept };
aligned_text align(std::string_view text, std::size_t begin, std::size_t end, broken_bytes = broken_bytes::replaced);

/// One step: reads one text, fills another, which comes empty. Bytes that are no UTF-8 stay as they are.
class normalizer {
 public:
  /// `same`: recognises quickly some texts that the step does not change; none: it recognises no text.
  template <std::invocable<aligned_text const&, aligned_text&> Step>
  normalizer(Step step, std::function<bool(std::string_view)> same = {}) : step_(std::move(step)), same_(std::move(same)) {}
  void operator()(aligned_text const& in, aligned_text& out) const { step_(in, out); }
  bool leaves(std::string_view text) const { return same_ && same_(text); }
  bool local = false;  ///< gives the same for two halves of a text as for the whole, if they meet at a border (`end_of_slice`)

 private:
  std::function<void(aligned_text const&, aligned_text&)> step_;
  std::function<bool(std::string_view)> same_;
};

/// Whether all steps are known quickly not to change the text.
bool untouched(std::string_view text, std::vector<normalizer> const&);

/// Applies the steps in order.
aligned_text normalized(aligned_text, std::vector<normalizer> const&);

/// Whether all of them are local.
bool all_local(std::vector<normalizer> const&) noexcept;
/// Where a part of text[begin, end) may end that is normalised by itself: the first border behind `enough` bytes, or `end`. A
/// border lies between two plain characters, which no form of Unicode, no cluster and no run of spaces joins.
std::size_t end_of_slice(std::string_view text, std::size_t begin, std::size_t end, std::size_t enough);

/// SentencePiece's compiled character map: a double array of prefixes, each with its replacement. Every step through it is
/// bounded.
class character_map {
 public:
  character_map() = default;
  /// `blob`: the bytes of precompiled_charsmap. Refuses one whose parts don't fit.
  character_map(std::string blob, refusal const&);
  bool empty() const noexcept { return units_.empty(); }
  /// Whether anything that begins with this byte may be replaced.
  bool begins(unsigned char byte) const noexcept {
    if (units_.empty()) return false;
    std::size_t const at = offset(units_[0]) ^ byte;
    return at < units_.size() && (units_[at] & (1u << 31 | 0xffu)) == byte;
  }
  struct replacement {
    std::string_view text;
    std::size_t length = 0;  ///< bytes replaced, 0 if nothing fits
  };
  /// For the longest prefix of the text that has one.
  replacement longest(std::string_view text) const noexcept { return search(text, false); }
  /// For the shortest, which is what Hugging Face takes.
  replacement shortest(std::string_view text) const noexcept { return search(text, true); }

 private:
  static std::uint32_t offset(std::uint32_t unit) noexcept { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
  replacement search(std::string_view text, bool first) const noexcept;
  std::vector<std::uint32_t> units_;
  std::string texts_;
};

/// The map as Hugging Face applies it: to clusters of characters that are short, else to each character.
normalizer by_character_map(std::shared_ptr<character_map const>);

enum class unicode_form { nfc, nfd, nfkc, nfkd };
normalizer by_unicode_form(unicode_form);
/// Each character by itself, so a final sigma is as any.
normalizer lower_case();
/// Drops marks that take no space (Mn), as BERT does; or all marks (M).
normalizer without_marks();
normalizer without_all_marks();
/// What SentencePiece's "nmt" does: control characters go, other spaces become a space.
normalizer nmt();
/// BERT's first step: control characters go, white space becomes a space.
normalizer cleaned();
/// Spaces around Chinese characters.
normalizer chinese_apart();
normalizer stripped(bool left, bool right);
normalizer replaced(std::string what, std::string with);
normalizer replaced(std::shared_ptr<pattern const> what, std::string with);
/// In front of, or behind, a text that is not empty.
normalizer with_prefix(std::string prefix);
normalizer with_suffix(std::string suffix);
/// Each byte as the letter that byte-level vocabularies write for it.
normalizer as_byte_letters();

}  // namespace wayfarer::tokenizing
