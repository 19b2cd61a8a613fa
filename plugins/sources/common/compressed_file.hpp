// The unpacked bytes of a file: plain, gzip or bzip2, recognised by the first bytes and unpacked block by block.
//
// Called by the readers of document files, from any thread. Memory is a few blocks for any file.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace wayfarer {

/// Calls `block` with consecutive pieces of the unpacked bytes. Members put one after another are one file, as for gunzip and
/// bunzip2. Throws data_error, with the byte offset in the packed file, when the file is truncated, corrupt, has bytes after its
/// end, is not packed although its name ends in .gz or .bz2, or unpacks to more than `max_bytes` bytes.
void read_unpacked(std::string const& path, std::size_t max_bytes, std::function<void(std::span<std::byte const>)> const& block);

}  // namespace wayfarer
