// Byte-level byte pair encoding, as GPT-2 and RoBERTa use it: the text is cut into words and the like, and within each the two
// neighbours that were merged earliest in training are joined until none are left.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base.hpp"

namespace wayfarer::tokenizing {

/// (left, right) -> (rank, token). Built once, then immutable.
class merge_table {
 public:
  static constexpr std::uint32_t none = 0xffffffff;
  struct merge {
    std::uint32_t rank = none;
    std::int32_t token = -1;
  };

  explicit merge_table(std::size_t expected);
  /// A pair that comes again gets the later rank.
  void add(std::int32_t left, std::int32_t right, merge);
  merge find(std::int32_t left, std::int32_t right) const noexcept {
    std::uint64_t const key = key_of(left, right);
    for (std::size_t s = place(key);; s = (s + 1) & mask_) {
      entry const& e = entries_[s];
      if (e.key == key) return e.value;
      if (e.key == empty) return {};
    }
  }

 private:
  static constexpr std::uint64_t empty = ~std::uint64_t{0};
  struct entry {
    std::uint64_t key = empty;
    merge value;
  };
  static std::uint64_t key_of(std::int32_t left, std::int32_t right) noexcept {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }
  std::size_t place(std::uint64_t key) const noexcept {
    return static_cast<std::size_t>(((key ^ seed_) * 0x9e3779b97f4a7c15) >> shift_) & mask_;
  }
  std::vector<entry> entries_;
  std::size_t mask_ = 0, used_ = 0;
  std::uint64_t seed_ = 0;
  unsigned shift_ = 0;
};

struct byte_level_rules {
  bool prefix_space = false;  ///< a text that does not begin with a space is read as if it did
  bool split = true;          ///< cut by GPT-2's pattern first; otherwise what lies between added tokens is one piece
  bool whole_words = false;   ///< a word that is a token is that token, whatever the merges say ("ignore_merges")
  std::int32_t unknown = -1;  ///< for a byte that has no token
  bool fuse_unknown = false;  ///< neighbouring bytes without a token are one unknown token
};

/// Merges: (left, right, token) in the order of training. Throws usage_error from encode when a byte has no token and there is no
/// unknown token.
std::shared_ptr<tokenizer const> make_byte_level(setting, merge_table, byte_level_rules const&);

}  // namespace wayfarer::tokenizing
