// SHA-256 digests of large files, kept from run to run.
//
// The digest of a checkpoint takes longer than a short text takes to pass through it. So it is filed in the user's cache beside
// the file's device, inode, size and times, and holds as long as these do. Any thread.
#pragma once

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <string>

#include <wayfarer/file.hpp>

namespace wayfarer::host {

/// The file's SHA-256, from the cache where it is known. An empty cache, or one that can't be written, keeps nothing. What was
/// written within two seconds of `now` may be written again without another time, so it is not kept either.
std::string kept_digest(std::filesystem::path const& file, std::filesystem::path const& cache = cache_folder("digests"),
                        std::int64_t now = std::time(nullptr));

}  // namespace wayfarer::host
