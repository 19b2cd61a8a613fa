#include "engine/blocks.hpp"

#include <cstring>
#include <system_error>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

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

}  // namespace

fs::path block_store::path_of(item_range r) const {
  return folder_ / (key_.substr(0, 40) + "-" + std::to_string(r.first) + "-" + std::to_string(r.last) + std::string(suffix));
}

bool block_store::load(item_range r, std::vector<accumulator>& sums) const {
  std::string const wanted = description(sums);
  std::size_t size = wanted.size() + 64;
  for (auto const& a : sums) size += a.bytes();
  std::error_code missing;
  if (fs::file_size(path_of(r), missing) != size || missing) return false;
  mapped_file const file(path_of(r).string());
  if (file.size() != size || !file.text().starts_with(wanted)) return false;
  if (sha256_hex(file.text().substr(0, size - 64)) != file.text().substr(size - 64)) return false;
  char const* at = file.text().data() + wanted.size();
  for (auto const& a : sums)
    for (auto const& [name, f] : a.fields()) {
      if (f.values.bytes() != 0) std::memcpy(const_cast<void*>(f.values.raw()), at, f.values.bytes());
      at += f.values.bytes();
    }
  return true;
}

void block_store::save(item_range r, std::vector<accumulator> const& sums) const {
  atomic_file file(path_of(r).string());
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
  file.commit();
}

fs::path block_folder(fs::path const& result) {
  fs::path folder = result;
  return folder += ".blocks";
}

void remove_blocks(fs::path const& folder) {
  std::error_code ignored;
  for (fs::directory_iterator at(folder, ignored), end; at != end; at.increment(ignored)) {
    std::string const name = at->path().filename().string();
    // Unfinished ones are called ".NAME.tmp.PID.RANDOM".
    if (name.ends_with(suffix) || (name.starts_with('.') && name.find(std::string(suffix) + ".tmp.") != name.npos))
      fs::remove(at->path(), ignored);
  }
  fs::remove(folder, ignored);  // only if it is empty
}

}  // namespace wayfarer::host
