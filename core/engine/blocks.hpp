// Finished blocks of a sweep on disk, so that a killed run can be resumed, and several processes can share one:
// `wayfarer run --resume`, `--work`.
//
// A block's accumulators, or those of some blocks in a row, are one file, named by the digest of everything that determines them
// and by its items, and published by write and rename: complete or absent. It is not synced. Each block has a checksum over its
// bytes and its name. What a power failure damages, or what lies under another's name, does not have it and is made again. Every
// run makes the same bytes. Any thread may load and save, each block once. Other runs may share the folder, and may take blocks
// or the folder away at any time: what is missing is made again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/source.hpp>

namespace wayfarer::host {

/// A block as bytes: what its accumulators are called, their numbers, and a SHA-256 over both and a text before them that stays
/// outside, such as a name. `to` gets them piece by piece.
void put_block(std::vector<accumulator> const& sums, std::string_view salt, std::function<void(std::string_view)> const& to);
std::size_t bytes_of_block(std::vector<accumulator> const& sums);
/// Fills accumulators that have their shapes already; false, and nothing is changed, if these are not the bytes of such a block.
bool take_block(std::string_view bytes, std::string_view salt, std::vector<accumulator>& sums);
/// Where the block of items `r` begins in a file of `file` bytes that holds the blocks of `in`, each of `block` items, but for
/// the last. `size`: its bytes. Nothing if it can't be there.
std::optional<std::uint64_t> place_of_block(item_range in, item_range r, std::size_t block, std::uint64_t file, std::size_t size);

class block_store {
 public:
  enum class found { whole, nothing, damaged };
  /// All in one folder, or as a work_folder has them.
  enum class places { flat, spread };

  /// Blocks that lie in one file: `count` of them, from `first` on; the last file may have fewer, and its last block fewer items.
  struct grouping {
    item_range items{};
    std::size_t block = 0, count = 1;
    item_range around(item_range block_items) const;
    std::vector<item_range> all() const;
  };

  /// `key`: SHA-256 of what determines the blocks of one sweep, but for their items.
  block_store(std::filesystem::path folder, std::string key, places where = places::flat, std::string ending = ".block")
      : folder_(std::move(folder)), key_(std::move(key)), ending_(std::move(ending)), where_(where) {}
  /// Each block is a file of its own until this is called.
  void group(grouping g) { group_ = g; }
  grouping const& groups() const noexcept { return group_; }
  std::string const& key() const noexcept { return key_; }

  /// Fills accumulators that have their shapes already, if the block is there and whole by its checksum.
  found load(item_range, std::vector<accumulator>& sums) const;
  /// As a file of its own. Of a group, only in the place of what is damaged.
  void save(item_range, std::vector<accumulator> const& sums) const;
  /// Of one file, which may hold more blocks.
  std::string unit_of(item_range items) const;
  std::filesystem::path path_of(item_range items) const;
  /// The file that a block lies in.
  std::filesystem::path file_of(item_range block_items) const { return path_of(group_.around(block_items)); }

  /// Writes the blocks of one file, in order.
  class writer {
   public:
    writer(block_store const&, item_range items);
    void add(item_range block_items, std::vector<accumulator> const& sums);
    /// Until then nothing is under its name.
    void publish();

   private:
    void flush();
    block_store const* to_;
    std::optional<atomic_file> file_{};
    std::string waiting_{};
  };

 private:
  found load(std::filesystem::path const&, item_range in, item_range, std::vector<accumulator>& sums) const;

  std::filesystem::path folder_;
  std::string key_, ending_;
  places where_;
  grouping group_{};
};

/// "r.h5" -> "r.h5.blocks", beside it.
std::filesystem::path block_folder(std::filesystem::path const& result);
/// Makes the folder unless it is there, and removes what killed runs left half written in it. Throws usage_error for something
/// else under its name, a symbolic link too: what lies behind one is not ours to write or remove.
void make_block_folder(std::filesystem::path const& folder);
/// Removes the blocks of these keys, and the folder if nothing else is in it.
void remove_blocks(std::filesystem::path const& folder, std::set<std::string> const& keys);

}  // namespace wayfarer::host
