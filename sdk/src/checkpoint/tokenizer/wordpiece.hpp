// WordPiece, BERT's tokenizer: words and single punctuation marks, each covered by the longest pieces from left to right.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base.hpp"
#include "normalize.hpp"
#include "trie.hpp"

namespace wayfarer::tokenizing {

struct wordpiece_rules {
  byte_trie first, later;     ///< pieces that begin a word, and those that continue one (without their prefix)
  std::vector<bool> goes_on;  ///< by id
  std::string prefix = "##";  ///< of pieces that continue a word
  std::int32_t unknown = -1;  ///< for a word that can't be covered, or is longer than `longest` characters
  std::size_t longest = 100;
  bool tidy = true;  ///< when reading back, no space before . ? ! and ,
};

/// BERT's normalisation: control characters, Chinese characters, accents, case.
std::vector<normalizer> bert_steps(bool clean, bool chinese, bool strip_accents, bool lower);

/// Fills tokens, and the tries and flags of the rules, from (piece, id). `unreachable`: ids that can be read back but are never
/// made. The setting's steps of normalisation are there already.
void read_pieces(std::vector<std::pair<std::string_view, std::int32_t>> const&,
                 std::vector<std::pair<std::string_view, std::int32_t>> const& unreachable, setting&, wordpiece_rules&,
                 std::vector<added_token> const&, refusal const&);

std::shared_ptr<tokenizer const> make_wordpiece(setting, wordpiece_rules);

}  // namespace wayfarer::tokenizing
