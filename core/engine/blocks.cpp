#include "engine/blocks.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

#include "engine/work_folder.hpp"

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view suffix = ".block";

/// What the accumulators hold, without their numbers.
std::string description(std::vector<accumulator> const& sums) {
  std::string text = "wayfarer block 1\n";
  for (auto const& a : sums) {
    text += "accumulator of " + std::to_string(a.items()) + "\n";
    for (auto const& [name, f] : a.fields())
      text += name + ": " + std::string(name_of(f.values.type())) + " " + describe(f.values.shape()) + "\n";
  }
  return text;
}

/// What the names of all blocks of a key begin with.
std::string name_of(std::string const& key) {
  return key.substr(0, 40) + "-";
}

/// A file that appears under its name when it is whole, and is not synced: waiting for the disk costs more than most blocks. What
/// a power failure leaves of a block does not have its checksum, and is made again.
class fresh_file {
 public:
  explicit fresh_file(std::string path) : path_(std::move(path)), temporary_(make_temporary_file(path_)) {
    if (temporary_.descriptor < 0) fail("can't write", temporary_.code);
  }
  fresh_file(fresh_file const&) = delete;
  ~fresh_file() {
    if (temporary_.descriptor < 0) return;
    ::unlink(temporary_.name.c_str());
    ::close(temporary_.descriptor);
  }
  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t const n = ::write(temporary_.descriptor, bytes.data(), std::min(bytes.size(), std::size_t{1} << 30));
      if (n < 0 && errno != EINTR) fail("can't write", errno);
      if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void publish() {
    // Before it is closed: then it is no longer locked, and might be swept.
    if (::rename(temporary_.name.c_str(), path_.c_str()) != 0) fail("can't rename " + temporary_.name, errno);
    temporary_.listed = {};
    // A network file system may tell only now that the disk is full.
    if (::close(std::exchange(temporary_.descriptor, -1)) != 0 && errno != EINTR) fail("can't write", errno);
  }

 private:
  [[noreturn]] void fail(std::string const& what, int code) const {
    throw resource_error(path_ + ": " + what + ": " + std::generic_category().message(code));
  }
  std::string path_;
  temporary_file temporary_;
};

}  // namespace

std::string block_store::unit_of(item_range r) const {
  return name_of(key_) + std::to_string(r.first) + "-" + std::to_string(r.last) + std::string(suffix);
}

fs::path block_store::path_of(item_range r) const {
  return where_ == places::spread ? unit_path(folder_, unit_of(r)) : folder_ / unit_of(r);
}

block_store::found block_store::load(item_range r, std::vector<accumulator>& sums) const {
  std::error_code missing;
  if (!fs::exists(path_of(r), missing)) return found::nothing;
  std::shared_ptr<mapped_file const> kept;
  try {
    kept = mapped_file::open(path_of(r).string());
  } catch (data_error const&) {
    return found::nothing;  // another run has removed it just now
  }
  mapped_file const& file = *kept;
  std::string const wanted = description(sums);
  std::size_t size = wanted.size() + 64;
  for (auto const& a : sums) size += a.bytes();
  if (file.size() != size || !file.text().starts_with(wanted)) return found::damaged;
  if (sha256_hex(file.text().substr(0, size - 64)) != file.text().substr(size - 64)) return found::damaged;
  char const* at = file.text().data() + wanted.size();
  for (auto const& a : sums)
    for (auto const& [name, f] : a.fields()) {
      if (f.values.bytes() != 0) std::memcpy(const_cast<void*>(f.values.raw()), at, f.values.bytes());
      at += f.values.bytes();
    }
  return found::whole;
}

void block_store::save(item_range r, std::vector<accumulator> const& sums) const {
  for (int again = 10;; --again) {
    try {
      return write(r, sums);
    } catch (resource_error const&) {
      // A run that was done has removed the folder, or this is the first of those that lie in it.
      std::error_code code;
      fs::path const parent = path_of(r).parent_path();
      if (again == 0 || fs::symlink_status(parent, code).type() != fs::file_type::not_found) throw;
      if (where_ == places::flat)
        make_block_folder(folder_);
      else
        fs::create_directories(parent, code);
    }
  }
}

void block_store::write(item_range r, std::vector<accumulator> const& sums) const {
  fresh_file file(path_of(r).string());
  sha256 digest;
  auto const put = [&](std::string_view bytes) {
    file.write(bytes);
    digest.update(bytes);
  };
  put(description(sums));
  for (auto const& a : sums)
    for (auto const& [name, f] : a.fields()) {
      tensor const& values = a[name];
      put({static_cast<char const*>(values.raw()), values.bytes()});
    }
  file.write(digest.hex());
  file.publish();
}

fs::path block_folder(fs::path const& result) {
  fs::path folder = result;
  return folder += ".blocks";
}

void make_block_folder(fs::path const& folder) {
  std::error_code code;
  auto const refuse = [&](std::string const& what) {
    throw usage_error(folder.string() + ": is " + what +
                      ", and finished blocks are kept in a folder of that name; remove it, or choose another place with --out");
  };
  fs::create_directory(folder, code);
  // What it says of something else under that name is no reason to give a person.
  auto const there = fs::symlink_status(folder).type();
  if (there == fs::file_type::symlink) refuse("a symbolic link");
  if (there != fs::file_type::directory && there != fs::file_type::not_found) refuse("no folder");
  if (code) throw resource_error(folder.string() + ": can't be made for finished blocks: " + code.message());
  remove_litter(folder.string(), [](std::string_view name) { return name.ends_with(suffix); });
}

void remove_blocks(fs::path const& folder, std::set<std::string> const& keys) {
  int const in = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  DIR* const all = in < 0 ? nullptr : ::fdopendir(in);
  if (!all) {
    if (in >= 0) ::close(in);
    return;
  }
  std::vector<std::string> names;
  while (dirent const* const entry = ::readdir(all)) {
    std::string_view const name = entry->d_name;
    if (name.ends_with(suffix) &&
        std::any_of(keys.begin(), keys.end(), [&](std::string const& k) { return name.starts_with(name_of(k)); }))
      names.emplace_back(name);
  }
  for (auto const& name : names) ::unlinkat(in, name.c_str(), 0);
  ::closedir(all);
  ::rmdir(folder.c_str());  // only if it is empty, and never a link
}

}  // namespace wayfarer::host
