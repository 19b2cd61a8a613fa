// Merging neighbours, the heart of byte pair encoding: of all neighbours that have a merge the one of the lowest rank is joined
// first, the leftmost of equal ones, until none are left.
//
// A table is built once, then immutable; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <wayfarer/packed_numbers.hpp>

namespace wayfarer::tokenizing {

/// (left, right) -> (rank, token).
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
    std::uint64_t const key = key_of(left, right), hash = hash_of(key);
    if (!may_hold(hash)) return {};
    entry const* const entries = entries_.data();
    for (std::size_t s = place(hash);; s = (s + 1) & mask_) {
      entry const& e = entries[s];
      if (e.key == key) return e.value;
      if (e.key == empty) return {};
    }
  }
  /// Calls `each(token)` for what merges make.
  template <class Each>
  void for_results(Each&& each) const {
    for (entry const& e : entries_)
      if (e.key != empty) each(e.value.token);
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
  std::uint64_t hash_of(std::uint64_t key) const noexcept { return (key ^ seed_) * 0x9e3779b97f4a7c15; }
  std::size_t place(std::uint64_t hash) const noexcept { return static_cast<std::size_t>(hash >> shift_) & mask_; }
  bool may_hold(std::uint64_t hash) const noexcept {
    std::uint64_t const bit = hash >> filter_shift_;
    return filter_.data()[bit / 64] >> bit % 64 & 1;
  }
  std::vector<entry> entries_;
  // Most pairs that are asked for have no merge. One bit for the hashes of some says so without a look at the entries, which
  // are too many for a processor's cache.
  std::vector<std::uint64_t> filter_;
  std::size_t mask_ = 0;
  std::uint64_t seed_ = 0;
  unsigned shift_ = 0, filter_shift_ = 0;
};

/// A token, or a part of one to be, and where its text ends; the next one begins there.
struct symbol {
  std::int32_t id = 0;
  std::uint32_t end = 0;
};

/// Up to this many symbols are merged by looking through all pairs each time, more by a tree of pairs.
inline constexpr std::size_t few_symbols = 48;

/// Merges symbols[0, n) in place and says how many are left. n is at most few_symbols.
std::size_t merge_few(merge_table const&, symbol* symbols, std::size_t n);
/// Any number, in n log n.
void merge(merge_table const&, std::vector<symbol>&);

/// Fills the symbols of bytes [begin, end) of one text, or of a little less where `end` is within a character; ends count from
/// the text's begin.
using symbol_source = std::function<void(std::size_t begin, std::size_t end, std::vector<symbol>&)>;
/// Texts longer than this many bytes are merged in windows.
inline constexpr std::size_t window_bytes = std::size_t{1} << 12;
/// What merging all of a text of `size` bytes gives, in little memory: of each symbol its id and its length in bytes. Nothing if
/// windows can't be joined.
std::optional<packed_numbers> merge_in_windows(merge_table const&, std::size_t size, symbol_source const&);

}  // namespace wayfarer::tokenizing
