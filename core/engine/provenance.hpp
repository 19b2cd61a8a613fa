// Where a result came from: digests of the files it read, the key of each node, and what it ran on. Main thread, before the run.
#pragma once

#include <string>
#include <vector>

#include <wayfarer/run_files.hpp>

#include "pipeline/plan.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

/// The files and folders that a run may read: the pipeline, what parameters of type path name, and the files of edits.
std::vector<std::string> input_paths(plan const&);

/// A file that may be read.
struct possible_input {
  input_file what;
  file_identity file;
};
/// Every file that a parameter of type path or an edit names, with size and SHA-256; of a folder, the files directly inside,
/// sorted by name.
std::vector<possible_input> digest_inputs(plan const&);
/// Those that were read, or all of them.
std::vector<input_file> inputs_read(std::vector<possible_input> const&);
std::vector<input_file> inputs_possible(std::vector<possible_input> const&);

/// For each node the SHA-256 over all that determines its result: plugin, version, build id, canonical parameters, seed, the
/// host's keys, the keys of its inputs and the digests of its files.
std::vector<std::string> node_keys(plan const&, std::vector<input_file> const&);

/// SHA-256 over the program, the SDK and the plan's plugins, as files: what no version number tells.
std::string digest_code(plan const&);

/// Versions of Wayfarer and of the libraries that numbers or files depend on.
std::vector<std::pair<std::string, std::string>> library_versions();
/// Processor and compiler; nothing that names a person, a host or a folder.
std::vector<std::pair<std::string, std::string>> environment();

std::string utc_now();
std::uint64_t peak_memory_bytes();

}  // namespace wayfarer::host
