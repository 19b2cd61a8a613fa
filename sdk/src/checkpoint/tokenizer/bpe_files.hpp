// Parts of reading a BPE vocabulary that tokenizer.json and the older pairs of files share.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/json.hpp>

#include "bpe.hpp"

namespace wayfarer::tokenizing {

/// {"token in byte letters": id, ...}
void read_byte_letters(json_value const& vocab, std::vector<added_token> const& added, vocabulary& into);

/// Collects merges in the order of their rank. The vocabulary must be indexed.
class merge_reader {
 public:
  /// `prefix`: of tokens that continue a word; the result of a merge has it once.
  merge_reader(vocabulary const& tokens, bool byte_letters, std::size_t expected, std::string_view prefix = "")
      : tokens_(tokens), byte_letters_(byte_letters), prefix_(prefix), merges_(expected) {}
  /// Both as the file has them. Refuses unknown tokens.
  void add(std::string_view left, std::string_view right, refusal const&);
  merge_table take() { return std::move(merges_); }

 private:
  vocabulary const& tokens_;
  bool byte_letters_;
  std::string_view prefix_;
  merge_table merges_;
  std::uint32_t rank_ = 0;
};

}  // namespace wayfarer::tokenizing
