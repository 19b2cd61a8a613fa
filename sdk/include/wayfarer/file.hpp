// Files: reads files that may be hostile, and writes so that no reader ever sees half a file.
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
#include <utility>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

/// An open file or folder, closed with the object.
class WAYFARER_API open_descriptor {
 public:
  explicit open_descriptor(int d = -1) noexcept : d_(d) {}
  open_descriptor(open_descriptor&& from) noexcept : d_(from.release()) {}
  open_descriptor& operator=(open_descriptor&& from) noexcept {
    std::swap(d_, from.d_);
    return *this;
  }
  ~open_descriptor();
  int get() const noexcept { return d_; }
  int release() noexcept { return std::exchange(d_, -1); }
  explicit operator bool() const noexcept { return d_ >= 0; }

 private:
  template <class>
  friend struct layout_of;
  int d_;
};

/// A regular file mapped read-only. The bytes live as long as the object; share it (`open`) to keep them for longer.
/// If another program truncates the file, touching the lost part raises SIGBUS, which the host turns into a data error
/// (`find_mapping`); `check_unchanged` detects it earlier.
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
  template <class>
  friend struct layout_of;
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

/// Keeps a temporary name on the list of `remove_temporary_files` while it lives. The file itself is its owner's to remove.
class WAYFARER_API temporary_name {
 public:
  temporary_name() = default;
  explicit temporary_name(std::string const& path);
  temporary_name(temporary_name&&) noexcept;
  temporary_name& operator=(temporary_name&&) noexcept;
  ~temporary_name();

 private:
  template <class>
  friend struct layout_of;
  void* slot_ = nullptr;
};

/// A file under a temporary name, ".NAME.tmp.PID.RANDOM" beside the one that it shall become, for those who write by other means
/// than atomic_file. It is locked while the descriptor is open: so `remove_litter` can tell it from what the dead have left,
/// also those of other hosts and containers. The owner closes, renames (first) or removes it.
struct temporary_file {
  std::string name;
  int descriptor = -1;  ///< for reading and writing; -1: it can't be made, and `code` says why
  int code = 0;
  temporary_name listed{};
};
WAYFARER_API temporary_file make_temporary_file(std::string const& path);
/// Renames it to what it shall become; it stays open, and locked against `remove_litter`, while programs that lock what they
/// read, as HDF5 does, can read it from the first moment. False, with errno, if it can't be renamed.
WAYFARER_API bool give_name(temporary_file&, std::string const& path) noexcept;

/// Removes from a folder what writers that were killed left under temporary names of files for whose names `of` holds (of the
/// first 200 bytes of longer ones). What a living writer, wherever it runs, still has open is locked and stays, and so does what
/// can't be locked.
WAYFARER_API void remove_litter(std::string const& folder, std::function<bool(std::string_view name)> const& of);

/// Writes a file that appears under its name only when it is whole and on the disk: `commit` does fsync, rename, and fsync of the
/// folder. Until then the bytes are in a temporary file, which is removed if `commit` is never reached. An existing file is
/// replaced, and its mode kept. Failures are resource_errors.
class WAYFARER_API atomic_file {
 public:
  explicit atomic_file(std::string path);
  /// `made` by make_temporary_file for this path.
  atomic_file(std::string path, temporary_file made);
  atomic_file(atomic_file const&) = delete;
  atomic_file& operator=(atomic_file const&) = delete;
  ~atomic_file();

  void write(std::span<std::byte const> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();
  /// Instead of `commit`, for what can be made again and has a checksum: without waiting for the disk, so that a power failure
  /// may leave a damaged file under the name.
  void publish();

 private:
  template <class>
  friend struct layout_of;
  [[noreturn]] void fail(std::string_view what);
  void discard() noexcept;

  std::string path_;
  temporary_file temporary_;
};

WAYFARER_API void write_file_atomically(std::string const& path, std::span<std::byte const> bytes);
WAYFARER_API void write_file_atomically(std::string const& path, std::string_view text);

/// Where what can be made again is kept between runs: $XDG_CACHE_HOME/wayfarer/PART, else ~/.cache/wayfarer/PART; "" without a
/// home. The folder need not be there.
WAYFARER_API std::string cache_folder(std::string_view part);

/// A file without a name, for data of a run that does not fit memory. It disappears with the object and its maps, however
/// the process ends. Failures are resource_errors that name the folder.
class WAYFARER_API scratch_file {
 public:
  /// Offsets that may be mapped are multiples of this.
  static constexpr std::size_t alignment = std::size_t{1} << 16;

  explicit scratch_file(std::string folder);
  scratch_file(scratch_file const&) = delete;
  scratch_file& operator=(scratch_file const&) = delete;
  ~scratch_file();

  void write_at(std::size_t offset, std::span<std::byte const> bytes);
  /// Bytes [offset, offset + size), all of which were written, as memory that lives as long as the pointer.
  std::shared_ptr<std::byte const> map(std::size_t offset, std::size_t size) const;

 private:
  template <class>
  friend struct layout_of;
  [[noreturn]] void fail(std::string_view what, int code) const;

  std::string folder_;
  int descriptor_ = -1;
};

/// Tells the system that these bytes, if they lie in a mapped_file or scratch_file, need not stay in memory; they are read again
/// when touched. Other memory is left alone.
WAYFARER_API void drop_pages(std::span<std::byte const>) noexcept;

// ---- for the program's signal handlers; both may be called there ----

struct mapping {
  char const* path = nullptr;  ///< null: the address is in no mapped file
  std::size_t byte = 0;        ///< the address's place in the file
};
WAYFARER_API mapping find_mapping(void const* address) noexcept;
/// Removes every file that is being written under a temporary name.
WAYFARER_API void remove_temporary_files() noexcept;

WAYFARER_LAYOUT(open_descriptor, d_);
WAYFARER_LAYOUT(mapped_file, path_, descriptor_, data_, size_, modified_seconds_, modified_nanoseconds_);
WAYFARER_LAYOUT(temporary_name, slot_);
WAYFARER_LAYOUT(temporary_file, name, descriptor, code, listed);
WAYFARER_LAYOUT(atomic_file, path_, temporary_);
WAYFARER_LAYOUT(scratch_file, folder_, descriptor_);
WAYFARER_LAYOUT(mapping, path, byte);

}  // namespace wayfarer
