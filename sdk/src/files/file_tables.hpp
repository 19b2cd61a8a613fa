// Tables for signal handlers: which files are mapped where, and which temporary files are being written.
//
// Slots are claimed and given back from any thread without a lock, are never freed, and may be read in a signal handler.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <string_view>

namespace wayfarer::file_tables {

struct mapped_range {
  std::atomic<bool> taken{false};
  std::atomic<std::byte const*> first{nullptr};  // set last, cleared first
  std::atomic<std::size_t> size{0}, offset{0};
  std::atomic<char const*> path{nullptr};
};

struct temporary {
  std::atomic<bool> taken{false};
  std::atomic<bool> ready{false};  // set last, cleared first
  std::array<char, 4096> path{};   // in place: a handler may still read it while its owner lets go
};

/// `path` must live until `forget_mapping`; `offset` is the place of `first` in the file.
void note_mapping(std::byte const* first, std::size_t size, std::size_t offset, char const* path);
void forget_mapping(std::byte const* first) noexcept;

temporary* note_temporary(std::string_view path);
void forget_temporary(temporary*) noexcept;

}  // namespace wayfarer::file_tables
