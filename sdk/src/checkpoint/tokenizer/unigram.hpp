// Unigram language model tokenizers (SentencePiece's default, T5's): of all ways to cut a normalised text into pieces, the one
// with the highest sum of scores.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base.hpp"
#include "normalize.hpp"
#include "sentencepiece_text.hpp"
#include "trie.hpp"

namespace wayfarer::tokenizing {

struct unigram_pieces {
  byte_trie trie;              ///< of the pieces as they are in the file
  std::vector<double> scores;  ///< by id
  std::vector<bool> defined;   ///< by id: a symbol that the user defined, which always wins
  std::vector<bool> bytes;     ///< by id: stands for one byte
  double lowest = 0, highest = 0;
  std::int32_t unknown = -1;
  std::vector<std::int32_t> byte_tokens;  ///< 256 ids for bytes of unknown characters; empty: there are none
};

/// How Hugging Face composes the same.
struct metaspace_rules {
  bool split_at_white_space = false;  ///< and drop it
  enum class prefix { always, first, never } prepend = prefix::always;
  bool split = true;  ///< cut before each mark
};

/// The whole text is one lattice, with sums in float32, as in the library.
std::shared_ptr<tokenizer const> make_unigram(setting, unigram_pieces, sentencepiece_rules);
/// Each word is a lattice of its own, with sums in float64, as in Hugging Face's library.
std::shared_ptr<tokenizer const> make_unigram(setting, unigram_pieces, metaspace_rules);

}  // namespace wayfarer::tokenizing
