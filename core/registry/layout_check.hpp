// Compares the types that a plugin was compiled with with the host's own: sizes, fields, virtual functions, enumerators.
//
// Called by load_plugin on the main thread, after check_descriptor and before any C++ of the plugin is called.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/descriptor.hpp>

namespace wayfarer::host {

class library_memory;

/// Throws plugin_error, naming header, type and member, unless the host has every type of the plugin's lists with the same
/// layout. No pointer of the lists is followed before it is known to point into the library's own memory. Lists that lack the
/// interface of the plugin's kind are refused too, since a linker may have dropped them.
void check_layouts(plugin_descriptor const&, library_memory const&, std::filesystem::path const& library);

/// What a plugin would get wrong of one type.
struct layout_difference {
  std::string type, header, what;
};
/// In the order of the plugin's lists, in which a type comes after those that it is made of. Types and enumerators that only the
/// host has are no difference.
std::vector<layout_difference> layout_differences(std::span<type_layout const* const> plugin,
                                                  std::span<type_layout const* const> host);

}  // namespace wayfarer::host
