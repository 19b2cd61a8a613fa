// Finished blocks of a sweep on disk, so that a run that was killed goes on where it was: `wayfarer run --resume`.
//
// A block's accumulators are one file, named by the digest of everything that determines them and by its items, and published by
// write, fsync and rename: whole or not there, and the same whoever made it. Any thread may load and save, each block once.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/source.hpp>

namespace wayfarer::host {

class block_store {
 public:
  /// `key`: SHA-256 of what determines the blocks of one sweep, but for their items. The folder must be there.
  block_store(std::filesystem::path folder, std::string key) : folder_(std::move(folder)), key_(std::move(key)) {}

  /// Fills accumulators that have their shapes already; false if the block is not there, is damaged, or has other shapes.
  bool load(item_range, std::vector<accumulator>& sums) const;
  void save(item_range, std::vector<accumulator> const& sums) const;

 private:
  std::filesystem::path path_of(item_range) const;

  std::filesystem::path folder_;
  std::string key_;
};

/// "r.h5" -> "r.h5.blocks", beside it.
std::filesystem::path block_folder(std::filesystem::path const& result);
/// Removes the folder with the blocks and unfinished files in it, and nothing else.
void remove_blocks(std::filesystem::path const& folder);

}  // namespace wayfarer::host
