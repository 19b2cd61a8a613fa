// Parts of reading a byte-level vocabulary that tokenizer.json and the older pairs of files share.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/json.hpp>

#include "byte_level.hpp"

namespace wayfarer::tokenizing {

/// {"token in byte letters": id, ...}
void read_byte_letters(json_value const& vocab, std::vector<added_token> const& added, vocabulary& into);

/// Collects merges in the order of their rank. The vocabulary must be indexed.
class merge_reader {
 public:
  merge_reader(vocabulary const& tokens, std::size_t expected) : tokens_(tokens), merges_(expected) {}
  /// Both in byte letters. Refuses what is no token.
  void add(std::string_view left, std::string_view right, refusal const&);
  merge_table take() { return std::move(merges_); }

 private:
  vocabulary const& tokens_;
  merge_table merges_;
  std::uint32_t rank_ = 0;
};

}  // namespace wayfarer::tokenizing
