#include <wayfarer/file.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <system_error>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/run_files.hpp>

#include "file_tables.hpp"
#include "read_log.hpp"

namespace wayfarer {

namespace {

constexpr std::size_t block_bytes = std::size_t{1} << 20;

std::string message(std::string const& path, std::string_view what, int code) {
  return path + ": " + std::string(what) + ": " + std::generic_category().message(code);
}

[[noreturn]] void reading_failed(std::string const& path, std::string_view what, int code) {
  switch (code) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
    case EIO:
      throw resource_error(message(path, what, code));
    default:
      throw data_error(message(path, what, code));
  }
}

/// Opens a regular file for reading. A pipe or device under a model's name must not hang the reader, hence O_NONBLOCK.
int open_regular(std::string const& path, struct stat& status) {
  // A path with a NUL byte would silently open another file.
  if (path.find('\0') != path.npos) throw data_error(path.substr(0, path.find('\0')) + ": path with a NUL byte");
  open_descriptor d(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (d.get() < 0) reading_failed(path, "can't open", errno);
  if (::fstat(d.get(), &status) != 0) reading_failed(path, "can't examine", errno);
  if (S_ISDIR(status.st_mode)) reading_failed(path, "can't read", EISDIR);
  if (!S_ISREG(status.st_mode)) throw data_error(path + ": not a regular file");
  read_log::note({static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino)});
  return d.release();
}

std::size_t read_some(int d, std::span<std::byte> into, std::string const& path) {
  for (;;) {
    ssize_t const n = ::read(d, into.data(), into.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) reading_failed(path, "can't read", errno);
  }
}

}  // namespace

open_descriptor::~open_descriptor() {
  if (d_ >= 0) ::close(d_);
}

// ---- reading ----

mapped_file::mapped_file(std::string path) : path_(std::move(path)) {
  struct stat status {};
  open_descriptor d(open_regular(path_, status));
  if (static_cast<std::uintmax_t>(status.st_size) > std::numeric_limits<std::ptrdiff_t>::max())
    throw data_error(path_ + ": too long to map");
  size_ = static_cast<std::size_t>(status.st_size);
  modified_seconds_ = status.st_mtim.tv_sec;
  modified_nanoseconds_ = status.st_mtim.tv_nsec;
  if (size_ > 0) {  // mmap refuses 0 bytes
    void* const at = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, d.get(), 0);
    if (at == MAP_FAILED) reading_failed(path_, "can't map", errno);
    data_ = static_cast<std::byte const*>(at);
    file_tables::note_mapping(data_, size_, 0, path_.c_str());
  }
  descriptor_ = d.release();
}

std::shared_ptr<mapped_file const> mapped_file::open(std::string path) {
  return std::make_shared<mapped_file const>(std::move(path));
}

mapped_file::~mapped_file() {
  if (data_) {
    file_tables::forget_mapping(data_);
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
  if (descriptor_ >= 0) ::close(descriptor_);
}

void mapped_file::check_unchanged() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) reading_failed(path_, "can't examine", errno);
  if (static_cast<std::size_t>(status.st_size) != size_)
    throw data_error(path_ + ": was " + std::to_string(size_) + " bytes long when it was opened, is " +
                     std::to_string(status.st_size) + " now; don't change files in use");
  if (status.st_mtim.tv_sec != modified_seconds_ || status.st_mtim.tv_nsec != modified_nanoseconds_)
    throw data_error(path_ + ": was written to after it was opened; don't change files in use");
}

void read_blocks(std::string const& path, std::function<void(std::span<std::byte const>)> const& block) {
  struct stat status {};
  open_descriptor const d(open_regular(path, status));
  std::vector<std::byte> buffer(block_bytes);
  while (std::size_t const n = read_some(d.get(), buffer, path)) block(std::span(buffer).first(n));
}

std::string read_text(std::string const& path, std::size_t max_bytes) {
  struct stat status {};
  open_descriptor const d(open_regular(path, status));
  auto const too_long = [&](std::string_view length) {
    throw data_error(path + ": is " + std::string(length) + " bytes long; at most " + std::to_string(max_bytes) + " are read");
  };
  if (static_cast<std::uintmax_t>(status.st_size) > max_bytes) too_long(std::to_string(status.st_size));
  // One byte more than it should hold, to see the end; files of /proc claim to be empty.
  std::string text(static_cast<std::size_t>(status.st_size) + 1, '\0');
  for (std::size_t have = 0;;) {
    std::size_t const n = read_some(d.get(), std::as_writable_bytes(std::span(text).subspan(have)), path);
    have += n;
    if (have > max_bytes) too_long("more than " + std::to_string(max_bytes));
    if (n == 0) {
      text.resize(have);
      return text;
    }
    if (have == text.size()) text.resize(text.size() + block_bytes);
  }
}

// ---- writing ----

namespace {

struct folder_and_name {
  std::string folder, name;  // "a/b" -> "a/", "b"
};

folder_and_name parts_of(std::string const& path) {
  std::size_t const slash = path.rfind('/');
  std::size_t const first = slash == path.npos ? 0 : slash + 1;
  return {path.substr(0, first), path.substr(first)};
}

// Names are at most 255 bytes long on Linux.
constexpr std::size_t longest_kept = 200;
constexpr std::string_view temporary_mark = ".tmp.";

/// ".NAME.tmp.PID.RANDOM" -> "NAME"; "" for other names.
std::string_view target_of(std::string_view temporary) {
  std::size_t const mark = temporary.rfind(temporary_mark);
  if (!temporary.starts_with('.') || mark == temporary.npos || mark < 2) return {};
  std::string_view const rest = temporary.substr(mark + temporary_mark.size());
  std::size_t const dot = rest.find('.');
  auto const number = [](std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (dot == rest.npos || !number(rest.substr(0, dot)) || !number(rest.substr(dot + 1))) return {};
  return temporary.substr(1, mark - 1);
}

/// Whether the file has been taken away from under its name.
bool is_gone(int d) {
  struct stat status {};
  return ::fstat(d, &status) == 0 && status.st_nlink == 0;
}

}  // namespace

temporary_file make_temporary_file(std::string const& path) {
  auto const [folder, name] = parts_of(path);
  temporary_file out;
  for (;;) {
    std::uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) {
      out.code = errno;
      return out;
    }
    out.name = folder + '.' + name.substr(0, longest_kept) + std::string(temporary_mark) + std::to_string(::getpid()) + '.' +
               std::to_string(random);
    open_descriptor d(::open(out.name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (d.get() < 0) {
      if (errno == EEXIST || errno == EINTR) continue;
      out.code = errno;
      return out;
    }
    // File systems without locks have no sweeping either. Between making and locking somebody may have taken it for litter.
    while (::flock(d.get(), LOCK_EX) != 0 && errno == EINTR) {
    }
    if (is_gone(d.get())) continue;
    out.listed = temporary_name(out.name);
    out.descriptor = d.release();
    return out;
  }
}

bool give_name(temporary_file& file, std::string const& path) noexcept {
  // Before it is closed: then it is no longer locked, and might be swept. Those who sweep want a lock that no other shares.
  while (::flock(file.descriptor, LOCK_SH) != 0 && errno == EINTR) {
  }
  if (::rename(file.name.c_str(), path.c_str()) != 0) return false;
  file.listed = {};
  return true;
}

void remove_litter(std::string const& folder, std::function<bool(std::string_view)> const& of) {
  open_descriptor const in(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int const listed = in.get() < 0 ? -1 : ::dup(in.get());
  DIR* const all = listed < 0 ? nullptr : ::fdopendir(listed);
  if (!all) {
    if (listed >= 0) ::close(listed);
    return;
  }
  std::vector<std::string> names;
  while (dirent const* const entry = ::readdir(all))
    if (std::string_view const target = target_of(entry->d_name); !target.empty() && of(target))
      names.emplace_back(entry->d_name);
  ::closedir(all);
  for (auto const& name : names) {
    // Network file systems give this lock to those alone who may write.
    open_descriptor const d(::openat(in.get(), name.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
    struct stat status {};
    if (d.get() < 0 || ::fstat(d.get(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (::flock(d.get(), LOCK_EX | LOCK_NB) == 0 && !is_gone(d.get())) ::unlinkat(in.get(), name.c_str(), 0);
  }
}

std::string cache_folder(std::string_view part) {
  char const *const caches = std::getenv("XDG_CACHE_HOME"), *const home = std::getenv("HOME");
  if (caches && *caches == '/') return std::string(caches) + "/wayfarer/" + std::string(part);
  return home && *home == '/' ? std::string(home) + "/.cache/wayfarer/" + std::string(part) : std::string();
}

namespace {

std::string const& checked_path(std::string const& path) {
  if (path.find('\0') != path.npos) throw resource_error(path.substr(0, path.find('\0')) + ": path with a NUL byte");
  std::string const name = parts_of(path).name;
  if (name.empty() || name == "." || name == "..") throw resource_error(path + ": can't write: not the name of a file");
  return path;
}

}  // namespace

atomic_file::atomic_file(std::string path) : atomic_file(path, make_temporary_file(checked_path(path))) {}

atomic_file::atomic_file(std::string path, temporary_file made) : path_(std::move(path)), temporary_(std::move(made)) {
  if (temporary_.descriptor < 0) throw resource_error(message(path_, "can't write", temporary_.code));
}

atomic_file::~atomic_file() {
  discard();
}

void atomic_file::discard() noexcept {
  if (temporary_.descriptor < 0) return;
  ::unlink(temporary_.name.c_str());
  ::close(std::exchange(temporary_.descriptor, -1));
  temporary_.listed = {};
}

void atomic_file::fail(std::string_view what) {
  int const code = errno;
  discard();
  throw resource_error(message(path_, what, code));
}

void atomic_file::write(std::span<std::byte const> bytes) {
  while (!bytes.empty()) {
    ssize_t const n = ::write(temporary_.descriptor, bytes.data(), std::min(bytes.size(), std::size_t{1} << 30));
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("can't write");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void atomic_file::commit() {
  take_mode_of(path_, temporary_.descriptor);
  // A failed fsync is final: the kernel may have dropped the pages, and a second call would report success.
  if (::fsync(temporary_.descriptor) != 0) fail("can't write to disk");
  publish();
  std::string const folder = parts_of(path_).folder;
  open_descriptor const d(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A folder that may be written but not read can't be synced, nor can some network file systems' (EINVAL).
  if (d.get() >= 0 && ::fsync(d.get()) != 0 && errno != EINVAL)
    throw resource_error(message(path_, "written, but its folder can't be synced to disk", errno));
}

void atomic_file::publish() {
  if (!give_name(temporary_, path_)) fail("can't rename " + temporary_.name);
  // A network file system may tell only now that the disk is full.
  if (::close(std::exchange(temporary_.descriptor, -1)) != 0 && errno != EINTR)
    throw resource_error(message(path_, "can't write", errno));
}

void write_file_atomically(std::string const& path, std::span<std::byte const> bytes) {
  atomic_file file(path);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(std::string const& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

// ---- what does not fit memory ----

scratch_file::scratch_file(std::string folder) : folder_(folder.empty() ? "." : std::move(folder)) {
  descriptor_ = ::open(folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  // Some file systems have no files without a name; there one is made and its name taken away at once.
  for (std::string name; descriptor_ < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EEXIST || errno == EINTR);) {
    std::uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) break;
    name = folder_ + "/.wayfarer." + std::to_string(::getpid()) + '.' + std::to_string(random);
    descriptor_ = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor_ >= 0) ::unlink(name.c_str());
  }
  if (descriptor_ < 0) fail("can't make a temporary file", errno);
}

scratch_file::~scratch_file() {
  ::close(descriptor_);
}

void scratch_file::fail(std::string_view what, int code) const {
  throw resource_error(message(folder_, what, code) + "; free some space or choose another place with --out");
}

void scratch_file::write_at(std::size_t offset, std::span<std::byte const> bytes) {
  while (!bytes.empty()) {
    ssize_t const n =
        ::pwrite(descriptor_, bytes.data(), std::min(bytes.size(), std::size_t{1} << 30), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("can't write to a temporary file", errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::size_t>(n);
  }
}

std::shared_ptr<std::byte const> scratch_file::map(std::size_t offset, std::size_t size) const {
  // mmap refuses 0 bytes.
  if (size == 0) return std::shared_ptr<std::byte const>(new std::byte{});
  // Shared: what a plugin writes into its rows goes to the file and outlives drop_pages.
  void* const at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, static_cast<off_t>(offset));
  if (at == MAP_FAILED) fail("can't map a temporary file", errno);
  auto const* const bytes = static_cast<std::byte const*>(at);
  std::shared_ptr<std::byte const> owned(bytes, [size](std::byte const* p) {
    file_tables::forget_mapping(p);
    ::munmap(const_cast<std::byte*>(p), size);
  });
  file_tables::note_mapping(bytes, size, offset, "a temporary file");
  return owned;
}

}  // namespace wayfarer
