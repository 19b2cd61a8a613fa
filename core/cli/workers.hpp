// How `wayfarer run` becomes one of several processes: its options, and rank and size from what started it.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "cli/options.hpp"
#include "engine/engine.hpp"

namespace wayfarer::host {

/// --work, --work-local, --worker, --processes, --merge, --lease, --reproducible, and those of the store.
void add_worker_options(verb_options&);
/// --store, --store-limit.
void add_store_options(verb_options&);
/// Fills in the store and its limit, from the options or the environment. Throws usage_error for what can't be.
void choose_store(verb_options const&, run_options& options);

/// Rank and size that mpirun (PMIx, OpenMPI) or srun gave this process; nothing if it is alone. Throws usage_error for values
/// that are no such numbers. `get`: the environment.
std::optional<worker_place> place_from_launcher(std::function<char const*(char const*)> const& get);
/// Index and size of a Slurm array, whatever its first index and step are; nothing outside of one.
std::optional<worker_place> place_from_array(std::function<char const*(char const*)> const& get);

/// A lease in seconds as it was given. Throws usage_error for one that can't be.
double checked_lease(double seconds);

/// What --work names; nothing if it was not given. Throws usage_error for an empty name.
std::optional<std::filesystem::path> given_work(verb_options const&);
/// Fills in the folder, the place and what goes with them. `options.out` is there already.
void choose_place(verb_options const&, run_options& options);

/// The number of --processes; nothing if it was not given. Throws usage_error for what can't be.
std::optional<std::size_t> wanted_processes(verb_options const&);
/// Starts that many processes of this command, each one worker, waits for them and returns the exit code.
/// A signal that ends them is reported once: `stopped` is thrown, with `kept` behind the signal's name.
int run_processes(words const& arguments, std::size_t count, run_options const&, std::string const& kept);
/// To be called by each of them: leaves signals to the process that started it.
void follow_parent();

}  // namespace wayfarer::host
