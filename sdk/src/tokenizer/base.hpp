// What all tokenizers share: the vocabulary, tokens that are matched in the raw text before anything else, tokens around a text,
// and reading tokens back. A kind of tokenizer adds how the text between such tokens is cut.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/tokenizer.hpp>

#include "trie.hpp"
#include "vocabulary.hpp"

namespace wayfarer::tokenizing {

/// A token that is looked for in the text as it stands. With `strips_left`, white space before it belongs to it.
struct added_token {
  std::int32_t id = 0;
  std::string text;
  bool special = true, strips_left = false, strips_right = false;
};
/// Where added tokens are in a text; the longest one that begins at a place wins.
class added_tokens {
 public:
  added_tokens() = default;
  /// Refuses empty and overlong ones, and those that come twice.
  added_tokens(std::vector<added_token>, refusal const&);
  added_token const* find(std::int32_t id) const;
  std::vector<added_token> const& all() const noexcept { return all_; }
  /// The first place at or after `from` where one begins; null if there is none. Those that are special count only if `special`.
  struct match {
    added_token const* token = nullptr;
    std::size_t begin = 0, end = 0;
  };
  match next(std::string_view text, std::size_t from, bool special) const;

 private:
  std::vector<added_token> all_;
  std::map<std::int32_t, std::size_t> by_id_;
  std::array<bool, 256> begins_{};
  int only_begin_ = -1;  // the byte with which all begin, -2 if there are several
  byte_trie trie_;       // of indices in all_
};

/// What a folder says about a tokenizer apart from how it cuts.
struct setting {
  vocabulary tokens;
  added_tokens added;
  std::vector<std::int32_t> before, after;  ///< tokens around a text
  special_tokens roles;
  std::vector<std::string> files;
};

class base : public tokenizer {
 public:
  explicit base(setting s) : set_(std::move(s)) {}

  encoding encode(std::string_view text, tokenize_options const&) const final;
  /// The same in parts of about `part_bytes` of the text each.
  void encode_in_parts(std::string_view text, tokenize_options const&, std::size_t part_bytes,
                       std::function<void(encoding const&)> const&) const;
  std::string token_text(std::int32_t id) const override { return readable(token_bytes(id)); }
  std::string token_bytes(std::int32_t id) const override;
  std::size_t vocabulary() const noexcept final { return set_.tokens.size(); }
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
  /// Throws usage_error if there is no such token.
  void check(std::int32_t id) const;
  tokenizing::vocabulary const& tokens() const noexcept { return set_.tokens; }
  added_tokens const& added() const noexcept { return set_.added; }

 private:
  setting set_;
};

}  // namespace wayfarer::tokenizing
