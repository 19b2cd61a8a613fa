// Files: reading what may be hostile, and writing so that nobody ever sees half a file.
//
// Every error names the path and the system's reason. A file that can't be read as asked (missing, a directory, too long, changed
// meanwhile) is a data_error; running out of something (disk, memory, descriptors, permission to write) is a resource_error.
// Everything here may be used from any thread, each object from one thread at a time (mapped_file: any number may read).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <wayfarer/export.hpp>

namespace wayfarer {

/// A regular file mapped read-only. The bytes live as long as the object; share it (`open`) to keep them for longer.
/// If somebody shortens the file in place, touching the lost part raises SIGBUS; `check_unchanged` finds out beforehand.
class WAYFARER_API mapped_file {
 public:
  explicit mapped_file(std::string path);
  static std::shared_ptr<mapped_file const> open(std::string path);
  mapped_file(mapped_file const&) = delete;
  mapped_file& operator=(mapped_file const&) = delete;
  ~mapped_file();

  std::string const& path() const noexcept { return path_; }
  std::size_t size() const noexcept { return size_; }
  std::span<std::byte const> bytes() const noexcept { return {data_, size_}; }
  std::string_view text() const noexcept { return {reinterpret_cast<char const*>(data_), size_}; }
  /// Throws data_error if length or modification time differ from what they were when the file was mapped.
  void check_unchanged() const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::byte const* data_ = nullptr;
  std::size_t size_ = 0;
  std::int64_t modified_seconds_ = 0, modified_nanoseconds_ = 0;
};

/// A whole regular file of at most `max_bytes` bytes.
WAYFARER_API std::string read_text(std::string const& path, std::size_t max_bytes);
/// Calls `block` with consecutive pieces of a regular file, in order, without mapping it.
WAYFARER_API void read_blocks(std::string const& path, std::function<void(std::span<std::byte const>)> const& block);

/// Writes a file that appears under its name only when it is whole and on the disk: `commit` does fsync, rename, and fsync of the
/// folder. Until then the bytes are in ".NAME.tmp.PID.RANDOM" beside it, which is removed if `commit` is never reached. An
/// existing file is replaced. Failures are resource_errors.
class WAYFARER_API atomic_file {
 public:
  explicit atomic_file(std::string path);
  atomic_file(atomic_file const&) = delete;
  atomic_file& operator=(atomic_file const&) = delete;
  ~atomic_file();

  void write(std::span<std::byte const> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

 private:
  [[noreturn]] void fail(std::string_view what);
  void discard() noexcept;

  std::string path_, temporary_;
  int descriptor_ = -1;
};

WAYFARER_API void write_file_atomically(std::string const& path, std::span<std::byte const> bytes);
WAYFARER_API void write_file_atomically(std::string const& path, std::string_view text);

}  // namespace wayfarer
