// The unpacked bytes of a file: plain, gzip, bzip2 or zstd, recognised by the first bytes and unpacked piece by piece, from the
// start or from a point within.
//
// Called by the readers of document files and corpora, each stream by one thread at a time. Memory is a few blocks for any file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace wayfarer {

/// Members put one after another are one file, as for gunzip, bunzip2 and unzstd. Everything throws data_error, with the byte
/// offset in the packed file, when the file is truncated, corrupt, has bytes after its end, or is not packed although its name
/// ends in .gz, .bz2 or .zst.
class packed_stream {
 public:
  /// A place where unpacking may begin, as found by an earlier stream over the same bytes.
  struct point {
    std::uint64_t packed = 0, unpacked = 0;  ///< offsets in bytes
    std::uint8_t bits = 0;                   ///< of the byte before `packed` that belong to what follows
    std::string window;                      ///< what was unpacked before it and may be repeated; "" at a member's beginning
  };

  explicit packed_stream(std::string path);
  packed_stream(std::string path, point const& from);
  packed_stream(packed_stream&&) noexcept;
  packed_stream& operator=(packed_stream&&) noexcept;
  ~packed_stream();

  /// Fills `to` with the bytes that follow, and returns how many there were: fewer only at the end.
  std::size_t read(std::span<std::byte> to);
  /// The unpacked offset of the next byte.
  std::uint64_t position() const noexcept;

  /// From now on, notes points at least so many unpacked bytes apart, where the format allows: gzip at the ends of its blocks,
  /// bzip2 and zstd only where a member or frame begins. A plain file needs none.
  void note_points(std::uint64_t apart);
  std::vector<point> const& points() const noexcept;
  /// Whether any offset may be the start of a stream, without a point.
  bool is_plain() const noexcept;

  struct decoder;

 private:
  std::unique_ptr<decoder> decoder_;
};

/// Whether it is packed by its first bytes. Throws as a stream does.
bool is_packed(std::string const& path);

/// Calls `block` with consecutive pieces of the unpacked bytes. Throws data_error also when they are more than `max_bytes`.
void read_unpacked(std::string const& path, std::size_t max_bytes, std::function<void(std::span<std::byte const>)> const& block);

}  // namespace wayfarer
