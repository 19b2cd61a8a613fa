// The views that a plugin can ask for: their kinds and options, as docs/report.md lists them. Called by `dataset::view`.
#pragma once

#include <string>
#include <string_view>

#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// The view as JSON. `how` is the name of a kind or a JSON object. Throws plugin_error, with near names, for a kind or an option
/// that does not exist, for an option of another type, and for a dimension that is not in `shape`.
std::string checked_view(std::string_view how, dims const& shape);

}  // namespace wayfarer
