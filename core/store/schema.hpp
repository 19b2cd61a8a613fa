// Names and limits that the writer and the reader of result files agree on; docs/file-format.md says the same for people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace wayfarer::host::schema {

inline constexpr std::string_view format = "wayfarer";
inline constexpr std::uint32_t format_version = 1;

inline constexpr char run_group[] = "_run";
/// Parameters that are too long for an attribute stand in a dataset of this name.
inline constexpr char long_parameters[] = "_parameters";
inline constexpr std::size_t longest_attribute = 60'000;
inline constexpr std::size_t longest_summary = 4'000;

/// Attribute of a dimension scale that is no dataset of the node's own.
inline constexpr char role[] = "role";
inline constexpr std::string_view role_index = "index";            ///< 0, 1, 2...: the plugin gave no coordinates
inline constexpr std::string_view role_coordinate = "coordinate";  ///< labels or numbers that the plugin gave

/// Parts of /_run that differ between runs of the same pipeline, and that `compare` ignores.
inline constexpr std::string_view varying[] = {"started", "ended", "threads", "peak_memory", "seconds", "environment"};

}  // namespace wayfarer::host::schema
