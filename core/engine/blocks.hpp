// Finished blocks of a sweep on disk, so that a killed run can be resumed, and several processes can share one:
// `wayfarer run --resume`, `--work`.
//
// A block's accumulators are one file, named by the digest of everything that determines them and by its items, and published by
// write and rename: complete or absent. It is not synced; what a power failure damages does not have its checksum and is made
// again. Every run makes the same bytes. Any thread may load and save, each block once. Other runs may share the folder, and may
// take blocks or the folder away at any time: what is missing is made again.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/source.hpp>

namespace wayfarer::host {

class block_store {
 public:
  enum class found { whole, nothing, damaged };
  /// All in one folder, or as a work_folder has them.
  enum class places { flat, spread };

  /// `key`: SHA-256 of what determines the blocks of one sweep, but for their items.
  block_store(std::filesystem::path folder, std::string key, places where = places::flat)
      : folder_(std::move(folder)), key_(std::move(key)), where_(where) {}

  /// Fills accumulators that have their shapes already, if the block is there and whole by its checksum.
  found load(item_range, std::vector<accumulator>& sums) const;
  void save(item_range, std::vector<accumulator> const& sums) const;
  std::string unit_of(item_range) const;
  std::filesystem::path path_of(item_range) const;

 private:
  void write(item_range, std::vector<accumulator> const& sums) const;

  std::filesystem::path folder_;
  std::string key_;
  places where_;
};

/// "r.h5" -> "r.h5.blocks", beside it.
std::filesystem::path block_folder(std::filesystem::path const& result);
/// Makes the folder unless it is there, and removes what killed runs left half written in it. Throws usage_error for something
/// else under its name, a symbolic link too: what lies behind one is not ours to write or remove.
void make_block_folder(std::filesystem::path const& folder);
/// Removes the blocks of these keys, and the folder if nothing else is in it.
void remove_blocks(std::filesystem::path const& folder, std::set<std::string> const& keys);

}  // namespace wayfarer::host
