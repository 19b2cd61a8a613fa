// A corpus as bags of words: for each document its distinct words and how often each occurs.
//
// Made once from a source, on the host's threads; the same whatever their number. Takes 8 bytes for each distinct word of each
// document.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <wayfarer/source.hpp>

namespace wayfarer::lda {

struct corpus {
  std::vector<std::size_t> offsets{0};  ///< document d has the entries [offsets[d], offsets[d+1])
  std::vector<std::int32_t> words;      ///< ascending within a document
  std::vector<float> counts;
  std::vector<std::string> names;  ///< of the words, where known
  std::size_t vocabulary = 0;

  std::size_t documents() const noexcept { return offsets.size() - 1; }
};

/// Which words of texts count, in gensim's terms no_below, no_above and keep_n, and the lengths that its Wikipedia corpus keeps.
struct word_choice {
  std::size_t min_documents = 20;
  double max_share = 0.1;  ///< of the documents
  std::size_t most = 100'000;
  std::size_t shortest = 2, longest = 15;  ///< in characters
};

/// The words of a text, one after another: runs of letters, in lower case (ASCII only; other scripts as they are), of the wanted
/// lengths. Anything from U+0080 on is a letter but for the punctuation of U+0080 to U+00BF and U+2000 to U+206F.
std::vector<std::string> words_of(std::string_view text, word_choice const&);

/// The items of a source with words, as they are, or with texts, whose vocabulary is chosen: the words in most documents first,
/// by their bytes among equals. Throws usage_error if the source has neither or no word is left.
corpus read_corpus(source const&, item_range, word_choice const&);

/// Replaces counts by count * log2(documents / documents with the word), scaled to length 1 in each document; words that are in
/// every document leave it.
void weigh_by_rarity(corpus&);

}  // namespace wayfarer::lda
