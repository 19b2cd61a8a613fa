#include "engine/kept_digests.hpp"

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

/// Smaller files are digested before a cache is found.
constexpr std::int64_t least_bytes = 1 << 20;
constexpr std::int64_t settled_seconds = 2;
constexpr std::string_view opening = "wayfarer digest 1\n";

/// All that changes when somebody writes the file. The time of the last change of its inode can't be set by hand.
std::optional<std::string> identity_of_content(fs::path const& file, std::int64_t now) {
  struct stat s {};
  if (::stat(file.c_str(), &s) != 0 || !S_ISREG(s.st_mode) || s.st_size < least_bytes) return {};
  if (now - s.st_mtim.tv_sec < settled_seconds || now - s.st_ctim.tv_sec < settled_seconds) return {};
  std::string text;
  for (std::int64_t const n :
       {static_cast<std::int64_t>(s.st_dev), static_cast<std::int64_t>(s.st_ino), static_cast<std::int64_t>(s.st_size),
        static_cast<std::int64_t>(s.st_mtim.tv_sec), static_cast<std::int64_t>(s.st_mtim.tv_nsec),
        static_cast<std::int64_t>(s.st_ctim.tv_sec), static_cast<std::int64_t>(s.st_ctim.tv_nsec)})
    text += std::to_string(n) + ' ';
  return text;
}

std::string filed(std::string const& identity, std::string const& digest) {
  std::string const said = std::string(opening) + identity + digest + '\n';
  return said + sha256_hex(said) + '\n';
}

/// The digest in a cache's file, if it was filed for this content and is whole.
std::optional<std::string> read_digest(fs::path const& place, std::string const& identity) {
  constexpr std::size_t digits = 64;
  try {
    std::string const text = read_text(place, opening.size() + identity.size() + 2 * (digits + 1));
    if (text.size() != opening.size() + identity.size() + 2 * (digits + 1)) return {};
    std::string digest = text.substr(opening.size() + identity.size(), digits);
    if (text == filed(identity, digest)) return digest;
  } catch (wayfarer::error const&) {
    // Not there, or not readable.
  }
  return {};
}

}  // namespace

std::string kept_digest(fs::path const& file, fs::path const& cache, std::int64_t now) {
  auto const identity = cache.empty() ? std::nullopt : identity_of_content(file, now);
  if (!identity) return sha256_file(file);
  std::error_code none;
  fs::path const place = cache / sha256_hex(fs::weakly_canonical(file, none).string()).substr(0, 40);
  if (auto known = read_digest(place, *identity)) return *known;
  std::string digest = sha256_file(file);
  if (identity_of_content(file, now) != identity) return digest;  // somebody writes it
  try {
    fs::create_directories(cache, none);
    write_file_atomically(place, filed(*identity, digest));
  } catch (wayfarer::error const&) {
    // The next run digests it again.
  }
  return digest;
}

}  // namespace wayfarer::host
