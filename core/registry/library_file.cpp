#include "registry/library_file.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>

namespace wayfarer::host {
namespace {

namespace fs = std::filesystem;

#if defined(__x86_64__)
constexpr std::uint16_t this_machine = EM_X86_64;
#elif defined(__aarch64__)
constexpr std::uint16_t this_machine = EM_AARCH64;
#elif defined(__riscv)
constexpr std::uint16_t this_machine = EM_RISCV;
#elif defined(__powerpc64__)
constexpr std::uint16_t this_machine = EM_PPC64;
#else
#error "add this machine's number in elf.h"
#endif
constexpr unsigned char this_order = std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;

class open_file {
 public:
  explicit open_file(int d) noexcept : d_(d) {}
  open_file(open_file const&) = delete;
  open_file& operator=(open_file const&) = delete;
  ~open_file() {
    if (d_ >= 0) ::close(d_);
  }
  int get() const noexcept { return d_; }
  int release() noexcept { return std::exchange(d_, -1); }

 private:
  int d_;
};

[[noreturn]] void refuse(fs::path const& library, std::string const& why) {
  throw plugin_error(library.string() + ": " + why);
}

std::string reason(int code) {
  return std::generic_category().message(code);
}

/// The file behind the name, which must stay in the folder that it was found in.
fs::path resolve(fs::path const& library) {
  std::error_code code;
  fs::path const real = fs::canonical(library, code);
  if (code) refuse(library, "can't be opened: " + code.message());
  fs::path const folder = fs::canonical(library.has_parent_path() ? library.parent_path() : fs::path("."), code);
  if (code) refuse(library, "can't be opened: " + code.message());
  if (real.parent_path() != folder)
    refuse(library, "is a link that leads out of its folder, to " + real.string() +
                        "; copy the library here or put its own folder on the plugin path");
  return real;
}

/// Refuses a file that every user of this machine could have written or could change.
void check_writers(fs::path const& library, fs::path const& real, struct stat const& status) {
  if (status.st_mode & S_IWOTH)
    refuse(library, "every user may write to it; remove that permission (chmod o-w) if you trust the file");
  for (fs::path folder = real.parent_path();; folder = folder.parent_path()) {
    struct stat s {};
    if (::stat(folder.c_str(), &s) != 0)
      refuse(library, "its folder " + folder.string() + " can't be examined: " + reason(errno));
    // Further up, the sticky bit keeps others from renaming what is ours, as in /tmp.
    bool const held = folder != real.parent_path() && (s.st_mode & S_ISVTX);
    if ((s.st_mode & S_IWOTH) && !held)
      refuse(library, "every user may write to the folder " + folder.string() +
                          "; remove that permission (chmod o-w) or move the library");
    if (folder == folder.root_path()) return;
  }
}

/// Reads from the file without ever mapping it: beyond its end, pread is short where a map would be SIGBUS.
class elf_reader {
 public:
  elf_reader(fs::path const& library, int descriptor, std::uint64_t size)
      : library_(library), descriptor_(descriptor), size_(size) {}

  /// Throws unless [offset, offset + length) lies in the file.
  void require(std::uint64_t offset, std::uint64_t length, std::string_view what) const {
    if (offset <= size_ && length <= size_ - offset) return;
    refuse(library_, "truncated or damaged: " + std::string(what) + " should take " + std::to_string(length) +
                         " bytes from byte " + std::to_string(offset) + ", but the file ends at " + std::to_string(size_) +
                         "; build or copy it again");
  }

  template <class T>
  std::vector<T> table(std::uint64_t offset, std::size_t count, std::string_view what) const {
    require(offset, std::uint64_t{count} * sizeof(T), what);
    std::vector<T> all(count);
    auto* into = reinterpret_cast<char*>(all.data());
    for (std::size_t left = count * sizeof(T); left > 0;) {
      ssize_t const n = ::pread(descriptor_, into, left, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) refuse(library_, "can't be read: " + (n < 0 ? reason(errno) : "it got shorter while it was read"));
      into += n, left -= static_cast<std::size_t>(n), offset += static_cast<std::uint64_t>(n);
    }
    return all;
  }

 private:
  fs::path const& library_;
  int descriptor_;
  std::uint64_t size_;
};

void check_segments(fs::path const& library, elf_reader const& file, Elf64_Ehdr const& head) {
  if (head.e_phentsize != sizeof(Elf64_Phdr) || head.e_phnum == 0)
    refuse(library, "damaged: it has no program headers that can be read; build or copy it again");
  auto const segments = file.table<Elf64_Phdr>(head.e_phoff, head.e_phnum, "the table of segments");
  bool dynamic = false, loads = false;
  for (auto const& s : segments) {
    if (s.p_type == PT_NULL || s.p_type == PT_GNU_STACK) continue;
    file.require(s.p_offset, s.p_filesz, "a segment");
    if (s.p_type == PT_DYNAMIC) dynamic = s.p_filesz >= sizeof(Elf64_Dyn);
    if (s.p_type != PT_LOAD) continue;
    loads = true;
    if (s.p_memsz < s.p_filesz || s.p_vaddr + s.p_memsz < s.p_vaddr || (s.p_align > 1 && !std::has_single_bit(s.p_align)))
      refuse(library, "damaged: a segment's size or alignment makes no sense; build or copy it again");
  }
  if (!loads || !dynamic) refuse(library, "not a shared library: nothing in it can be loaded dynamically; link it with -shared");
  for (auto const& s : segments) {
    if (s.p_type != PT_DYNAMIC) continue;
    // The loader reads the dynamic section in memory, so it must be in what is loaded, and end.
    if (std::none_of(segments.begin(), segments.end(), [&](Elf64_Phdr const& l) {
          return l.p_type == PT_LOAD && s.p_vaddr >= l.p_vaddr && s.p_filesz <= l.p_filesz &&
                 s.p_vaddr - l.p_vaddr <= l.p_filesz - s.p_filesz;
        }))
      refuse(library, "damaged: its dynamic section is not loaded; build or copy it again");
    auto const entries = file.table<Elf64_Dyn>(s.p_offset, s.p_filesz / sizeof(Elf64_Dyn), "the dynamic section");
    if (std::none_of(entries.begin(), entries.end(), [](Elf64_Dyn const& d) { return d.d_tag == DT_NULL; }))
      refuse(library, "damaged: its dynamic section has no end; build or copy it again");
  }
}

void check_elf(fs::path const& library, int descriptor, std::uint64_t size) {
  elf_reader const file(library, descriptor, size);
  if (size == 0) refuse(library, "an empty file, not a shared library; build or copy it again");
  auto const magic = file.table<char>(0, std::min<std::uint64_t>(size, SELFMAG), "the magic number");
  if (!std::equal(magic.begin(), magic.end(), ELFMAG))
    refuse(library, "not an ELF shared library; only plugins belong under this name");
  auto const head = file.table<Elf64_Ehdr>(0, 1, "the ELF header").front();
  if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != this_order || head.e_machine != this_machine)
    refuse(library, "built for another kind of machine (ELF class " + std::to_string(head.e_ident[EI_CLASS]) + ", machine " +
                        std::to_string(head.e_machine) + "; this host is class 2, machine " + std::to_string(this_machine) +
                        "); build it on this one");
  if (head.e_type != ET_DYN)
    refuse(library, "an ELF file, but not a shared library (type " + std::to_string(head.e_type) + "); link it with -shared");
  check_segments(library, file, head);
  // The loader does not need section headers, but they come last: if they are all there, nothing has been cut off.
  if (head.e_shoff != 0) {
    if (head.e_shentsize != sizeof(Elf64_Shdr))
      refuse(library, "damaged: its section headers can't be read; build or copy it again");
    file.require(head.e_shoff, std::max<std::uint64_t>(head.e_shnum, 1) * sizeof(Elf64_Shdr), "the table of sections");
  }
}

}  // namespace

int open_library(fs::path const& library) {
  fs::path const real = resolve(library);
  // A pipe under a library's name must not hang the host, hence O_NONBLOCK.
  open_file file(::open(real.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) refuse(library, "can't be opened: " + reason(errno));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) refuse(library, "can't be examined: " + reason(errno));
  if (!S_ISREG(status.st_mode))
    refuse(library, std::string(S_ISDIR(status.st_mode) ? "a folder" : "not a regular file") +
                        ", not a shared library; rename or remove it");
  check_writers(library, real, status);
  check_elf(library, file.get(), static_cast<std::uint64_t>(status.st_size));
  return file.release();
}

}  // namespace wayfarer::host
