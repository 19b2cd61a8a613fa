// Byte pair encoding: the text is normalised and cut into words, and within each the two neighbours that were merged earliest in
// training are joined until none are left. Words are bytes (GPT-2 and most of today's models) or characters, with bytes for those
// that are in no vocabulary (Llama 2, Gemma, and SentencePiece's own files).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base.hpp"
#include "decoding.hpp"
#include "merging.hpp"
#include "passage.hpp"
#include "sentencepiece_text.hpp"

namespace wayfarer::tokenizing {

struct bpe_rules {
  pre_tokenization words;
  bool whole_words = false;   ///< a word that is a token is that token, whatever the merges say ("ignore_merges")
  std::int32_t unknown = -1;  ///< for what has no token
  bool fuse_unknown = false;  ///< neighbours without a token are one unknown token
};

/// What BPE over characters has beside. `as_written`: the tokens as the file has them; the setting's are what each stands for.
struct character_rules {
  vocabulary as_written;
  decoding back;
  std::string prefix, suffix;             ///< of pieces that continue a word, and of pieces that end one
  std::vector<std::int32_t> byte_tokens;  ///< 256 ids, -1 where there is none; empty: bytes don't stand for characters
  /// SentencePiece's own: its normalisation, and symbols of the user that are cut out of the normalised text.
  std::optional<sentencepiece_text> spaces;
  /// Ids from here on are of characters that merge and are no tokens themselves. At most as many as `as_written` has.
  std::int32_t first_without_token = 0x7fffffff;
};

/// Throws usage_error from encode when something has no token and there is no unknown token.
std::shared_ptr<tokenizer const> make_byte_level(setting, merge_table, bpe_rules);
std::shared_ptr<tokenizer const> make_character_bpe(setting, merge_table, bpe_rules, character_rules);

}  // namespace wayfarer::tokenizing
