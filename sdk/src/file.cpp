#include <wayfarer/file.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>

#include "file_tables.hpp"

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

class descriptor {
 public:
  explicit descriptor(int d) noexcept : d_(d) {}
  descriptor(descriptor const&) = delete;
  descriptor& operator=(descriptor const&) = delete;
  ~descriptor() {
    if (d_ >= 0) ::close(d_);
  }
  int get() const noexcept { return d_; }
  int release() noexcept { return std::exchange(d_, -1); }

 private:
  int d_;
};

/// Opens a regular file for reading. A pipe or device under a model's name must not hang the reader, hence O_NONBLOCK.
int open_regular(std::string const& path, struct stat& status) {
  // A path with a NUL byte would silently open another file.
  if (path.find('\0') != path.npos) throw data_error(path.substr(0, path.find('\0')) + ": path with a NUL byte");
  descriptor d(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (d.get() < 0) reading_failed(path, "can't open", errno);
  if (::fstat(d.get(), &status) != 0) reading_failed(path, "can't examine", errno);
  if (S_ISDIR(status.st_mode)) reading_failed(path, "can't read", EISDIR);
  if (!S_ISREG(status.st_mode)) throw data_error(path + ": not a regular file");
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

// ---- reading ----

mapped_file::mapped_file(std::string path) : path_(std::move(path)) {
  struct stat status {};
  descriptor d(open_regular(path_, status));
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
  descriptor const d(open_regular(path, status));
  std::vector<std::byte> buffer(block_bytes);
  while (std::size_t const n = read_some(d.get(), buffer, path)) block(std::span(buffer).first(n));
}

std::string read_text(std::string const& path, std::size_t max_bytes) {
  struct stat status {};
  descriptor const d(open_regular(path, status));
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

atomic_file::atomic_file(std::string path) : path_(std::move(path)) {
  if (path_.find('\0') != path_.npos) throw resource_error(path_.substr(0, path_.find('\0')) + ": path with a NUL byte");
  std::size_t const slash = path_.rfind('/');
  std::string const folder = slash == path_.npos ? "" : path_.substr(0, slash + 1);
  std::string const name = path_.substr(folder.size());
  if (name.empty() || name == "." || name == "..") throw resource_error(path_ + ": can't write: not the name of a file");
  for (;;) {
    std::uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) fail("can't get random bytes");
    // Names are at most 255 bytes long on Linux.
    temporary_ = folder + '.' + name.substr(0, 200) + ".tmp." + std::to_string(::getpid()) + '.' + std::to_string(random);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ >= 0) {
      listed_ = temporary_name(temporary_);
      return;
    }
    if (errno == EEXIST || errno == EINTR) continue;
    int const code = errno;
    temporary_.clear();
    throw resource_error(message(path_, "can't write", code));
  }
}

atomic_file::~atomic_file() {
  discard();
}

void atomic_file::discard() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
  listed_ = {};
}

void atomic_file::fail(std::string_view what) {
  int const code = errno;
  discard();
  throw resource_error(message(path_, what, code));
}

void atomic_file::write(std::span<std::byte const> bytes) {
  while (!bytes.empty()) {
    ssize_t const n = ::write(descriptor_, bytes.data(), std::min(bytes.size(), std::size_t{1} << 30));
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("can't write");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void atomic_file::commit() {
  // A failed fsync is final: the kernel may have dropped the pages, and a second call would report success.
  if (::fsync(descriptor_) != 0) fail("can't write to disk");
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("can't write");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("can't rename " + temporary_);
  temporary_.clear();
  listed_ = {};

  std::size_t const slash = path_.rfind('/');
  std::string const folder = slash == path_.npos ? "." : path_.substr(0, slash + 1);
  descriptor const d(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A folder that may be written but not read can't be synced, nor can some network file systems' (EINVAL).
  if (d.get() >= 0 && ::fsync(d.get()) != 0 && errno != EINVAL) fail("written, but its folder can't be synced to disk");
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
  // mmap refuses 0 bytes, and nobody reads them.
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
