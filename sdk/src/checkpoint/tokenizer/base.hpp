// What all tokenizers share: the vocabulary, tokens that are matched in the raw text before anything else, tokens around a text,
// and reading tokens back. A kind of tokenizer adds how the text between such tokens is cut.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/tokenizer.hpp>

#include "normalize.hpp"
#include "trie.hpp"
#include "vocabulary.hpp"

namespace wayfarer::tokenizing {

/// A token that is looked for in the text before it is cut. With `strips_left`, white space before it belongs to it. One that is
/// `normalized` is looked for in the normalised text, by its own normalised text; the others in the original text, and first.
struct added_token {
  std::int32_t id = 0;
  std::string text;
  bool special = true, strips_left = false, strips_right = false, normalized = false, whole_word = false;
};
/// Where added tokens are in a text; the longest one that begins at a place wins.
class added_tokens {
 public:
  added_tokens() = default;
  /// Refuses empty and overlong ones, and those that come twice. `steps`: of the tokenizer's normalisation.
  added_tokens(std::vector<added_token>, std::vector<normalizer> const& steps, refusal const&);
  added_token const* find(std::int32_t id) const;
  /// The first place at or after `from` where one begins; null if there is none. Those that are special count only if `special`.
  struct match {
    added_token const* token = nullptr;
    std::size_t begin = 0, end = 0;
  };
  match next_raw(std::string_view text, std::size_t from, bool special) const { return next(raw_, text, from, special); }
  match next_normalized(std::string_view text, std::size_t from, bool special) const {
    return next(normal_, text, from, special);
  }
  bool any_normalized() const noexcept { return normal_.any; }

 private:
  struct finder {
    bool any = false;
    std::array<bool, 256> begins{};
    int only_begin = -1;  // the byte with which all begin, -2 if there are several
    byte_trie trie;       // of indices in all_
    void fill(std::vector<std::pair<std::string_view, std::int32_t>>);
  };
  match next(finder const&, std::string_view text, std::size_t from, bool special) const;

  std::vector<added_token> all_;
  std::map<std::int32_t, std::size_t> by_id_;
  finder raw_, normal_;
};

/// Tokens around a text, and around and between two. Types are those of the tokens and texts of a pair.
struct ends {
  std::vector<std::int32_t> before, after;
  bool after_once = false;  ///< not behind a text that ends with it already
  struct pair {
    std::vector<std::int32_t> before, between, after;
    std::int32_t type_before = 0, type_first = 0, type_between = 0, type_second = 0, type_after = 0;
  };
  std::optional<pair> both;  ///< nothing: there is no rule for pairs
};

/// What a folder says about a tokenizer apart from how it cuts.
struct setting {
  vocabulary tokens;
  std::vector<normalizer> steps;  ///< of normalisation; set before tokens are added. None: kinds that need no copy of the text
  added_tokens added;
  ends around;
  bool special_as_text = false;  ///< special tokens written out in a text are text ("split_special_tokens")
  special_tokens roles;
  std::vector<std::string> files, notes;
};

class base : public tokenizer, public pair_tokenizer {
 public:
  explicit base(setting s) : set_(std::move(s)) {}

  encoding encode(std::string_view text, tokenize_options const&) const final;
  /// The same in parts of about `part_bytes` of the text each.
  void encode_in_parts(std::string_view text, tokenize_options const&, std::size_t part_bytes,
                       std::function<void(encoding const&)> const&) const;
  /// With what stands before a text and nothing behind.
  encoding encode_prompt(std::string_view text) const;
  pair_encoding encode_pair(std::string_view first, std::string_view second, std::size_t most,
                            tokenize_options const&) const final;
  std::vector<std::string> const& notes() const noexcept final { return set_.notes; }
  std::string token_text(std::int32_t id) const override { return readable(token_bytes(id)); }
  std::string token_bytes(std::int32_t id) const override;
  std::size_t vocabulary() const noexcept final { return set_.tokens.size(); }
  bool has(std::int32_t id) const noexcept { return set_.tokens.has(id); }
  special_tokens const& special() const noexcept final { return set_.roles; }
  std::vector<std::string> const& files() const noexcept final { return set_.files; }

 protected:
  /// Cuts text[begin, end), which holds no added token.
  struct stretch {
    std::string_view text;
    std::size_t begin = 0, end = 0;
    bool goes_on = false;     ///< something before it has been cut already: it begins with a space, after a letter
    double* score = nullptr;  ///< what cutting carries from one to the next; null: nothing
    std::function<void()> const* give = nullptr;  ///< may take away what has been put out; null: all stays
  };
  /// Whether a text may be cut in two before a space between two ASCII letters, and the tokens are the same.
  virtual bool parts_at_spaces() const noexcept { return false; }
  virtual void cut(stretch const&, encoding& out) const = 0;
  /// The same of bytes [begin, end) of a normalised text; called only for kinds that have steps of normalisation.
  virtual void cut_normalized(aligned_text const&, std::size_t begin, std::size_t end, std::function<void()> const* give,
                              encoding& out) const;
  /// What its normalisation does with bytes that are no UTF-8.
  virtual broken_bytes broken() const noexcept { return broken_bytes::replaced; }
  std::vector<normalizer> const& steps() const noexcept { return set_.steps; }
  /// Throws usage_error if there is no such token.
  void check(std::int32_t id) const;
  tokenizing::vocabulary const& tokens() const noexcept { return set_.tokens; }
  added_tokens const& added() const noexcept { return set_.added; }

 private:
  /// A text without what stands around it.
  encoding inside(std::string_view text, bool special) const;
  /// text[begin, end), in which no token of the raw text stands.
  void rest(std::string_view text, std::size_t begin, std::size_t end, bool special, std::function<void()> const* give,
            encoding& out) const;

  setting set_;
};

}  // namespace wayfarer::tokenizing
