// How SentencePiece itself prepares a text: characters mapped, spaces squeezed and marked, a space put in front. Immutable once
// made; any thread.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "normalize.hpp"
#include "trie.hpp"

namespace wayfarer::tokenizing {

/// U+2581, which stands for a space in pieces.
inline constexpr std::string_view space_mark = "\xe2\x96\x81";
/// A piece's text with spaces for the marks.
std::string with_spaces(std::string_view piece);

/// How spaces are treated by SentencePiece itself.
struct sentencepiece_rules {
  std::shared_ptr<character_map const> map;
  byte_trie defined;  ///< symbols that are not normalised
  bool dummy_prefix = true, squeeze_spaces = true, escape_spaces = true;
  bool prefix_once = false;  ///< only at the start of a text, not behind each added token (T5's "legacy": false)
  broken_bytes broken = broken_bytes::replaced;
};

class sentencepiece_text {
 public:
  explicit sentencepiece_text(sentencepiece_rules);
  sentencepiece_rules const& rules() const noexcept { return rules_; }
  bool any_symbols() const noexcept { return any_symbols_; }
  /// Calls `put(bit, from)` for one bit of text[begin, end), normalised, after another. `goes_on`: a part of the same text has
  /// been normalised before it.
  void normalise(std::string_view text, std::size_t begin, std::size_t end, bool goes_on,
                 std::function<void(std::string_view, origins const&)> const& put) const;
  /// The longest symbol of the user that the text begins with: its length, and its id.
  std::pair<std::size_t, std::int32_t> symbol_at_begin_of(std::string_view text) const noexcept;

 private:
  struct prefix {
    std::string_view text;
    std::size_t length;
  };
  prefix next(std::string_view text) const;

  sentencepiece_rules rules_;
  bool any_symbols_ = false;
  std::array<bool, 256> plain_{};  // bytes that stand for themselves wherever they are
};

}  // namespace wayfarer::tokenizing
