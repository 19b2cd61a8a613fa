// Reads numbers from an earlier result file, or from any HDF5 file, for plugins that use them.
//
// Plugins never open HDF5 themselves: the library crashes on crafted files. The host reads for them, in a child process. To be
// called from a constructor, which the host's main thread runs before anything else; not from `read`, `run` or `observe`.
#pragma once

#include <functional>
#include <string>

#include <wayfarer/export.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// The dataset "node/name" of a result file, or any dataset of an HDF5 file that another program wrote, as float64. Throws
/// usage_error for an empty name, data_error if the file is an unfinished result or lacks the dataset, and resource_error outside
/// the program.
WAYFARER_API tensor read_result(std::string const& file, std::string const& dataset);

/// How the program reads: file and dataset, without a slash at its front. Called once, by its main.
WAYFARER_API void provide_result_reader(std::function<tensor(std::string const&, std::string const&)> reader);

}  // namespace wayfarer
