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
constexpr std::size_t checksum_digits = 64;
/// Written at once.
constexpr std::size_t most_waiting = std::size_t{1} << 16;

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

/// Over a block and what stands outside before it.
std::string checksum(std::string_view salt, std::string_view block) {
  sha256 digest;
  return digest.update(salt).update(block).hex();
}

/// What the names of all blocks of a key begin with.
std::string name_of(std::string const& key) {
  return key.substr(0, 40) + "-";
}

/// Whether a run that was done has removed the folder.
bool is_gone(fs::path const& folder) {
  std::error_code unused;
  return fs::symlink_status(folder, unused).type() == fs::file_type::not_found;
}

}  // namespace

std::string block_store::unit_of(item_range r) const {
  return name_of(key_) + std::to_string(r.first) + "-" + std::to_string(r.last) + ending_;
}

fs::path block_store::path_of(item_range r) const {
  return where_ == places::spread ? unit_path(folder_, unit_of(r)) : folder_ / unit_of(r);
}

std::size_t bytes_of_block(std::vector<accumulator> const& sums) {
  std::size_t size = description(sums).size() + checksum_digits;
  for (auto const& a : sums) size += a.bytes();
  return size;
}

void put_block(std::vector<accumulator> const& sums, std::string_view salt, std::function<void(std::string_view)> const& to) {
  sha256 digest;
  digest.update(salt);
  auto const put = [&](std::string_view bytes) {
    to(bytes);
    digest.update(bytes);
  };
  put(description(sums));
  for (auto const& a : sums)
    for (auto const& [name, f] : a.fields()) {
      tensor const& values = a[name];
      put({static_cast<char const*>(values.raw()), values.bytes()});
    }
  to(digest.hex());
}

bool take_block(std::string_view block, std::string_view salt, std::vector<accumulator>& sums) {
  std::string const wanted = description(sums);
  if (block.size() != bytes_of_block(sums) || !block.starts_with(wanted)) return false;
  std::size_t const size = block.size() - checksum_digits;
  if (checksum(salt, block.substr(0, size)) != block.substr(size)) return false;
  char const* at = block.data() + wanted.size();
  for (auto const& a : sums)
    for (auto const& [name, f] : a.fields()) {
      if (f.values.bytes() != 0) std::memcpy(const_cast<void*>(f.values.raw()), at, f.values.bytes());
      at += f.values.bytes();
    }
  return true;
}

std::optional<std::uint64_t> place_of_block(item_range in, item_range r, std::size_t block, std::uint64_t file,
                                            std::size_t size) {
  // All blocks of a file are as long as the first, but for the last, which may have fewer items.
  if (file < size) return std::nullopt;
  if (r.last == in.last) return in.size() == r.size() && file != size ? std::nullopt : std::optional(file - size);
  std::uint64_t begin = 0;
  if (__builtin_mul_overflow((r.first - in.first) / block, size, &begin) || begin > file - size) return std::nullopt;
  return begin;
}

item_range block_store::grouping::around(item_range r) const {
  if (count <= 1) return r;
  std::size_t const each = block * count, first = items.first + (r.first - items.first) / each * each;
  return {first, std::min(first + each, items.last)};
}

std::vector<item_range> block_store::grouping::all() const {
  std::vector<item_range> units;
  std::size_t const each = block * count;
  for (std::size_t at = items.first; at < items.last; at += each) units.push_back({at, std::min(at + each, items.last)});
  return units;
}

block_store::found block_store::load(item_range r, std::vector<accumulator>& sums) const {
  item_range const unit = group_.around(r);
  found const there = load(path_of(unit), unit, r, sums);
  // What was damaged in a group was made again as a file of its own.
  if (there != found::damaged || unit.size() == r.size()) return there;
  return load(path_of(r), r, r, sums) == found::whole ? found::whole : found::damaged;
}

block_store::found block_store::load(fs::path const& place, item_range in, item_range r, std::vector<accumulator>& sums) const {
  std::error_code missing;
  if (!fs::exists(place, missing)) return found::nothing;
  std::shared_ptr<mapped_file const> kept;
  try {
    kept = mapped_file::open(place.string());
  } catch (data_error const&) {
    return found::nothing;  // another run has removed it just now
  }
  std::string_view const file = kept->text();
  std::size_t const size = bytes_of_block(sums);
  auto const begin = place_of_block(in, r, r.size(), file.size(), size);
  return begin && take_block(file.substr(*begin, size), unit_of(r), sums) ? found::whole : found::damaged;
}

void block_store::save(item_range r, std::vector<accumulator> const& sums) const {
  for (int again = 10;; --again) {
    try {
      writer out(*this, r);
      out.add(r, sums);
      return out.publish();
    } catch (resource_error const&) {
      if (again == 0 || !is_gone(path_of(r).parent_path())) throw;
    }
  }
}

block_store::writer::writer(block_store const& to, item_range items) : to_(&to) {
  fs::path const place = to.path_of(items);
  for (int again = 10;; --again) {
    temporary_file made = make_temporary_file(place.string());
    int const code = made.code;
    if (made.descriptor >= 0 || code != ENOENT || again == 0) {
      file_.emplace(place.string(), std::move(made));
      return;
    }
    // A run that was done has removed the folder, or this is the first file in it. Another thread may make it at this moment.
    std::error_code unused;
    if (to.where_ == places::flat)
      make_block_folder(to.folder_);
    else
      fs::create_directories(place.parent_path(), unused);
  }
}

void block_store::writer::add(item_range block_items, std::vector<accumulator> const& sums) {
  put_block(sums, to_->unit_of(block_items), [&](std::string_view bytes) {
    if (waiting_.size() + bytes.size() > most_waiting) flush();
    if (bytes.size() > most_waiting)
      file_->write(bytes);
    else
      waiting_ += bytes;
  });
}

void block_store::writer::flush() {
  file_->write(waiting_);
  waiting_.clear();
}

void block_store::writer::publish() {
  flush();
  // Waiting for the disk costs more than most blocks.
  file_->publish();
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
