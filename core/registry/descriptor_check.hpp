// Checks a loaded library's descriptor, field by field, before any of its C++ is called.
//
// Called by load_plugin on the main thread. No pointer of the descriptor is followed before it is known to point into the
// library's own memory, so a broken or malicious table is refused rather than believed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>
#include <vector>

#include <wayfarer/descriptor.hpp>

namespace wayfarer::host {

/// The memory of one library. Valid as long as the library is loaded.
class library_memory {
 public:
  struct range {
    std::byte const* first;
    std::byte const* last;
  };
  library_memory(std::vector<range> readable, std::vector<range> executable)
      : readable_(std::move(readable)), executable_(std::move(executable)) {}
  /// Of a library that dlopen returned.
  static library_memory of(void* handle);

  /// How many bytes can be read from here on; 0 outside the library.
  std::size_t readable_from(void const*) const noexcept;
  bool executable(void const*) const noexcept;

 private:
  std::vector<range> readable_, executable_;
};

/// The descriptor, once it is known to be sound in every field. `id` is what the file's name says. Throws plugin_error with the
/// library's name, the versions on both sides, and what to do.
plugin_descriptor const* check_descriptor(void const* descriptor, library_memory const&, std::filesystem::path const& library,
                                          std::string_view id);

/// Whether this is `[a-z][a-z0-9_]*`, at most 64 characters: a plugin id.
bool is_plugin_id(std::string_view) noexcept;

}  // namespace wayfarer::host
