// A piece of a text on its way from the text to the model, and how it is cut into words: the pre-tokenizers of tokenizer.json.
//
// A pre_tokenization is immutable once made; any thread. A passage views bytes of its maker and lives no longer than the
// call that it is given to.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <wayfarer/tokenizer.hpp>

#include "normalize.hpp"
#include "pattern.hpp"

namespace wayfarer::tokenizing {

/// Bytes, and which of the original text each stands for.
struct passage {
  std::string_view text;
  origins const* from = nullptr;  ///< of all of a text, whose byte `begin` is the first here; null: it is the original text
  std::size_t begin = 0;

  passage(std::string_view all, origins const* where, std::size_t first) noexcept : text(all), from(where), begin(first) {}
  /// All of a changed text.
  explicit passage(aligned_text const& whole) noexcept : text(whole.text), from(&whole.from) {}

  passage part(std::size_t first, std::size_t end) const noexcept {
    return {text.substr(first, end - first), from, begin + first};
  }
  /// Of bytes [first, end), which are some.
  token_span span(std::size_t first, std::size_t end) const noexcept {
    if (!from) return {begin + first, begin + end};
    origin const o = from->span(begin + first, begin + end - 1);
    return {o.begin, o.end};
  }
  /// Where its first byte stands in the original text.
  std::size_t place() const noexcept { return text.empty() ? begin : span(0, 1).begin; }
};

/// What becomes of a delimiter.
enum class delimiter { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Cuts by what is looked for: a pattern, a text, or characters of a kind. `inverted`: what lies between is the delimiter.
struct split_step {
  enum class looked_for { by_pattern, by_text, by_kind, by_words };
  enum class kind { number, punctuation, space, character };
  looked_for how = looked_for::by_kind;
  std::shared_ptr<pattern const> matches;
  std::string text;
  kind of = kind::number;
  char32_t character = 0;
  delimiter what = delimiter::isolated;
  bool inverted = false;
};
/// Cuts by GPT-2's pattern.
struct gpt2_step {};
/// A space before what does not begin with one.
struct prefix_step {};
/// Each byte becomes the letter that byte-level vocabularies write for it. With `back`, the pieces that the steps behind it make
/// are turned back into bytes, for models that read bytes.
struct letters_step {
  bool back = false;
};
/// Spaces become the mark, one is put in front, and the text is cut before each.
struct mark_step {
  std::string mark = "\xe2\x96\x81";
  enum class prefix { always, first, never } prepend = prefix::always;
  bool split = true;
};

using pre_tokenizer = std::variant<split_step, gpt2_step, prefix_step, letters_step, mark_step>;

class pre_tokenization {
 public:
  pre_tokenization() = default;
  explicit pre_tokenization(std::vector<pre_tokenizer> steps);

  bool empty() const noexcept { return steps_.empty(); }
  std::vector<pre_tokenizer> const& steps() const noexcept { return steps_; }
  /// Calls `word` for each piece, in order; pieces are not empty.
  void run(passage const& whole, std::function<void(passage const&)> const& word) const;

 private:
  class runner;
  std::vector<pre_tokenizer> steps_;
  std::array<bool, 256> quiet_{};  // bytes of whose letters no step behind the letters makes anything
};

}  // namespace wayfarer::tokenizing
