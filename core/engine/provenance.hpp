// Provenance of a result: digests of its input files, the key of each node, and the machine. Main thread, before the run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <wayfarer/run_files.hpp>

#include "pipeline/plan.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

/// The files and folders that a run may read: the pipeline, what parameters of type path name, and the files of edits.
std::vector<std::string> input_paths(plan const&);

/// What changes when a file is written, or another is put in its place.
struct file_state {
  std::uint64_t device = 0, inode = 0, size = 0;
  std::int64_t written = 0, changed = 0;  ///< ns; of its bytes, of its inode
  friend bool operator==(file_state const&, file_state const&) = default;
};
/// Links are followed. Nothing if there is no file.
std::optional<file_state> state_of(std::string const& path);
using file_states = std::map<std::string, file_state, std::less<>>;
/// Of every file that `digest_inputs` would name, by its path.
file_states states_of_inputs(plan const&);

/// A file that may be read.
struct possible_input {
  input_file what;
  file_identity file;
  std::string
      in_key;  ///< the path's place in the node, with the file's name in a folder, or the extension that says how to read it
  std::string path;
};
/// Every file that a parameter of type path or an edit names, with size and SHA-256; of a folder, the files directly inside,
/// sorted by name.
std::vector<possible_input> digest_inputs(plan const&);
/// Those for which `was_read` holds; of a model that ran as another (`same_models`), those that were read of the other.
std::vector<possible_input> inputs_read(std::vector<possible_input> const&, plan const&, std::vector<std::size_t> const& same,
                                        std::function<bool(possible_input const&)> const& was_read);

/// For each node the SHA-256 over all that determines its result: plugin, version, build id, canonical parameters, seed, the
/// host's keys, the keys of its inputs and the digests of its files. No path is part of it: the same bytes elsewhere, or behind a
/// link, have the same key.
std::vector<std::string> node_keys(plan const&, std::vector<possible_input> const&);
/// For each node the first node that is the same model, read from the same bytes; itself if there is none.
std::vector<std::size_t> same_models(plan const&, std::vector<possible_input> const&);

/// SHA-256 over the program, the SDK, the plugins of these nodes and the system's libraries for numbers and text, as files, and
/// the processor's vector instructions: what no version number tells.
std::string digest_code(plan const&, std::set<std::size_t> const& nodes);
/// These nodes and all that they are wired to, directly or not.
std::set<std::size_t> with_inputs(plan const&, std::vector<std::size_t> const& nodes);

/// Of this program.
char const* build_id() noexcept;
/// Versions of Wayfarer and of the libraries that numbers or files depend on.
std::vector<std::pair<std::string, std::string>> library_versions();
/// Processor and compiler; nothing that names a person, a host or a folder.
std::vector<std::pair<std::string, std::string>> environment();

std::string utc_now();
std::uint64_t peak_memory_bytes();

}  // namespace wayfarer::host
