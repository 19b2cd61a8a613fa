// Regular expressions of tokenizer.json, written for Oniguruma and run by PCRE2: the pattern is rewritten where the two read it
// differently (nested classes, \s, \h, $, scripts, intervals), and refused where no rewriting says the same.
//
// A pattern is immutable once made; any thread. A search belongs to one thread. Hostile patterns are held by PCRE2's limits.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "vocabulary.hpp"

namespace wayfarer::tokenizing {

class pattern {
 public:
  /// `text`: as the file has it.
  pattern(std::string text, refusal const&);
  ~pattern();
  pattern(pattern&&) noexcept;
  pattern& operator=(pattern&&) noexcept;

  std::string const& text() const noexcept { return text_; }
  /// Whether no match begins with this byte.
  bool never_begins(unsigned char) const noexcept;

 private:
  friend class pattern_search;
  struct compiled;
  std::string text_;
  std::unique_ptr<compiled const> code_;
};

/// Finds the matches of one pattern in texts, one after another. The pattern must outlive it.
class pattern_search {
 public:
  explicit pattern_search(pattern const&);
  ~pattern_search();
  pattern_search(pattern_search&&) noexcept;
  pattern_search& operator=(pattern_search&&) noexcept;

  /// The first match at or after `from`; false if there is none. The text is UTF-8, `from` at a character's begin or the end.
  /// Throws data_error, with the pattern, when a limit is reached.
  bool next(std::string_view text, std::size_t from);
  std::size_t begin() const noexcept { return begin_; }
  std::size_t end() const noexcept { return end_; }

 private:
  struct state;
  pattern const* of_;
  std::unique_ptr<state> state_;
  std::size_t begin_ = 0, end_ = 0;
};

/// What PCRE2 gets for a pattern of Oniguruma's syntax. `guards`: with what keeps a search through a long run from trying each of
/// its places; it changes no match.
std::string rewritten(std::string_view pattern, refusal const&, bool guards = true);

}  // namespace wayfarer::tokenizing
