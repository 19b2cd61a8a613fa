// Tokenizers: text to token ids and back, exactly as the published ones do it.
//
// A model plugin opens the one in its checkpoint's folder with `open_tokenizer` and hands it out as model::text_tokenizer().
// Immutable once opened; any thread. Files are read strictly: a malformed one is a data_error that names file and place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

/// Bytes [begin, end) of the text that a token stands for. Empty for tokens that stand for none, such as an end of sequence.
struct token_span {
  std::size_t begin = 0, end = 0;
  friend bool operator==(token_span const&, token_span const&) = default;
};

struct encoding {
  std::vector<std::int32_t> ids;
  std::vector<token_span> spans;  ///< as many as ids
};

/// Two texts in one sequence.
struct pair_encoding {
  std::vector<std::int32_t> ids;
  std::vector<token_span> spans;    ///< as many as ids, in the text that the token stands in
  std::vector<std::int32_t> types;  ///< as many as ids: what a BERT looks up as the token's type
  std::vector<bool> second;         ///< as many as ids: stands in, or ends, the second text
  std::size_t uncut = 0;            ///< how many ids there were before the cut
};

struct tokenize_options {
  bool special = true;  ///< a special token written out in the text ("<|endoftext|>") is that token
  bool ends = true;     ///< add what the model expects around a text: "</s>", "[CLS]" and "[SEP]"; GPT-2 has none
};

/// Ids of the tokens that have a role; absent where the tokenizer has none.
struct special_tokens {
  std::optional<std::int32_t> bos, eos, unk, pad, mask, cls, sep;
};

struct WAYFARER_API tokenizer {
  virtual ~tokenizer();
  /// "byte_level_bpe", "bpe" (over characters), "unigram", "wordpiece" or "bytes".
  virtual std::string_view kind() const noexcept = 0;
  virtual encoding encode(std::string_view text, tokenize_options const& = {}) const = 0;
  /// The text of these tokens together. For byte-level tokenizers decode(encode(x)) = x for all bytes x. An id outside the
  /// vocabulary is a usage_error.
  virtual std::string decode(std::span<std::int32_t const> ids) const = 0;
  /// One token as people read it, valid UTF-8: " stone"; bytes that are not text are escaped, as "\n" or "\x96".
  virtual std::string token_text(std::int32_t id) const = 0;
  /// The bytes that a token stands for.
  virtual std::string token_bytes(std::int32_t id) const = 0;
  /// Whether a token begins a word, to distinguish whole words from pieces.
  virtual bool begins_word(std::int32_t id) const = 0;
  virtual std::size_t vocabulary() const noexcept = 0;
  /// The token that stands for exactly these bytes.
  virtual std::optional<std::int32_t> find(std::string_view bytes) const = 0;
  virtual special_tokens const& special() const noexcept = 0;
  /// The files that it was read from.
  virtual std::vector<std::string> const& files() const noexcept = 0;
};

/// What `encode` gives, in consecutive parts: a long text needs little memory beside itself. A part lives during its call.
WAYFARER_API void encode_in_parts(tokenizer const&, std::string_view text, tokenize_options const&,
                                  std::function<void(encoding const& part)> const&);

/// A text for a model to continue: the text with the tokens that the model expects before it ("<s>"), and nothing behind, which
/// it would take for the end.
WAYFARER_API encoding encode_prompt(tokenizer const&, std::string_view text);

/// What a tokenizer may also do; ask with dynamic_cast. Those of `open_tokenizer` are of this kind.
struct WAYFARER_API pair_tokenizer {
  virtual ~pair_tokenizer();
  /// Both texts with what the model expects around and between them, cut to `most` ids (0: not) by taking from the end of the
  /// longer text, one token at a time, the second if they are as long. Throws usage_error if the tokenizer has no rule for pairs.
  virtual pair_encoding encode_pair(std::string_view first, std::string_view second, std::size_t most = 0,
                                    tokenize_options const& = {}) const = 0;
  /// What a user should know of the files and that is no error, such as unknown settings.
  virtual std::vector<std::string> const& notes() const noexcept = 0;
};

/// The tokenizer of a folder: tokenizer.json; vocab.json with merges.txt; encoder.json with vocab.bpe; spiece.model;
/// tokenizer.model; vocab.txt; whichever is there, in this order; ByT5's needs no file. tokenizer_config.json and its like are
/// read with it. Null if there is nothing of a tokenizer in the folder; data_error if there is one that this build does not read.
WAYFARER_API std::shared_ptr<tokenizer const> open_tokenizer(std::string const& folder);

WAYFARER_LAYOUT(token_span, begin, end);
WAYFARER_LAYOUT(encoding, ids, spans);
WAYFARER_LAYOUT(pair_encoding, ids, spans, types, second, uncut);
WAYFARER_LAYOUT(tokenize_options, special, ends);
WAYFARER_LAYOUT(special_tokens, bos, eos, unk, pad, mask, cls, sep);
WAYFARER_INTERFACE_LAYOUT(tokenizer, kind, encode, decode, token_text, token_bytes, begins_word, vocabulary, find, special,
                          files);
WAYFARER_INTERFACE_LAYOUT(pair_tokenizer, encode_pair, notes);

}  // namespace wayfarer
