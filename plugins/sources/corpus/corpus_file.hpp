// One file of a corpus: which items it has, and any range of them without reading what stands before.
//
// A first pass over the file notes where every so many items begin, and for packed files where unpacking may begin. That index is
// kept in the user's cache folder under the file's path, size, time and inode, so that the next run does without the pass. Any
// number of threads may read; memory is the index and one line for each.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "sources/common/compressed_file.hpp"

namespace wayfarer {

enum class corpus_split { line, document };

/// What the first pass finds.
struct corpus_index {
  /// Items between two noted ones.
  static constexpr std::size_t stride = 64;

  std::uint64_t size = 0, modified_seconds = 0, modified_nanoseconds = 0, inode = 0;  ///< of the file that it belongs to
  std::uint64_t items = 0, longest = 0;                                               ///< longest: bytes of the longest line
  bool plain = false;                                                                 ///< any place may be entered
  bool marked = false;                                                                ///< begins with a byte order mark
  std::vector<std::uint64_t> at;  ///< the unpacked offset where item 0, 64, 128, ... begins
  std::vector<packed_stream::point> points;
};

class corpus_file {
 public:
  /// Throws data_error for a file that can't be read, and for a line of more than `most_line` bytes. `cache`: a folder, "" for
  /// none.
  corpus_file(std::string path, corpus_split, std::size_t most_line, std::string const& cache);
  corpus_file(corpus_file const&) = delete;
  ~corpus_file();

  std::string const& path() const noexcept { return path_; }
  corpus_index const& index() const noexcept { return index_; }
  /// Calls item(text) for items [first, last) in order; the text lives until it returns. Throws data_error if the file has
  /// changed.
  void read(std::size_t first, std::size_t last,
            std::function<void(std::size_t number, std::string_view text)> const& item) const;

  class cursor;

 private:
  std::unique_ptr<cursor> cursor_at(std::size_t item) const;
  void give_back(std::unique_ptr<cursor>) const;
  void check_unchanged() const;
  void make_index();

  std::string path_;
  corpus_split split_;
  std::size_t most_line_;
  corpus_index index_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<cursor>> idle_;  ///< where earlier reads ended
};

}  // namespace wayfarer
