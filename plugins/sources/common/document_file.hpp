// Files of documents as lists of word numbers: the reference format of the topic-structure data, lda-c, and plain text.
//
//   reference  12 7 99 END                 word numbers between single spaces, then END
//   lda_c      3 12:1 7:2 99:1             distinct words, then word:count of each (Blei's lda-c); a word is repeated count times
//   text       the cat sat on the mat      words between white space, numbered in the order of their first appearance
//
// One document a line; any of them may be packed with gzip or bzip2. Called by the sources' constructors on the host's main
// thread; pure functions otherwise. Every malformed line is a data_error "file:line:column: what is wrong; what to do", counted
// in bytes of the unpacked file, from 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/source.hpp>

namespace wayfarer {

enum class document_format { detect, reference, lda_c, text };

/// The format of that name ("auto", "reference", "lda_c", "text"); throws usage_error for another.
document_format document_format_of(std::string_view name);

/// Limits for one file. Numbers beyond `words` or `documents` are refused for a file of any size.
struct document_limits {
  std::size_t bytes = std::size_t{256} << 20;  ///< unpacked, and again of the table in memory
  std::size_t line = std::size_t{64} << 20;    ///< bytes of a line
  std::size_t words = std::size_t{1} << 24;    ///< size of the vocabulary
  std::size_t documents = (std::size_t{1} << 31) - 1;
};

struct document_table {
  ragged<std::int32_t> documents;
  std::vector<std::string> names;  ///< of the words where known, else empty
  std::size_t vocabulary = 0;      ///< number of words; without names, the highest word number and one
  std::size_t longest = 0;         ///< most words in a document
  std::vector<std::string> notes;  ///< what the user should know of the file
};

/// Reads a whole file. `names`, if there are any, are the vocabulary: word numbers must lie within it, and the words of a text
/// must be among it. `what_bounds` says in messages what the vocabulary comes from.
document_table read_documents(std::string const& path, document_format, document_limits const&,
                              std::vector<std::string> names = {}, std::string const& what_bounds = "the vocabulary");

/// A vocabulary file: one word a line, line n being word n - 1.
std::vector<std::string> read_vocabulary(std::string const& path, document_limits const&, std::vector<std::string>& notes);

/// The documents of a range as a block.
item_block block_of(document_table const&, item_range);

}  // namespace wayfarer
