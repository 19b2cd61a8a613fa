// Runs a plan: a oneTBB flow graph with one node for each plan node and one serial writer.
//
// Called once by the main thread. A node runs as soon as its inputs are done. Probes that can share a forward pass share
// one sweep. Results reach the writer in plan order, even if they are finished in another order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <vector>

#include "engine/console.hpp"
#include "engine/expectations.hpp"
#include "engine/instances.hpp"
#include "engine/provenance.hpp"
#include "engine/work_folder.hpp"
#include "pipeline/plan.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

struct run_options {
  std::filesystem::path out;
  std::size_t threads = 0;          ///< 0: as many as the process may use
  std::uint64_t memory_budget = 0;  ///< bytes for blocks in flight, 0: a quarter of RAM; at most two blocks per thread
  bool resume = false;              ///< keeps finished blocks beside `out` until it is complete, and reuses existing ones
  bool reproducible = false;        ///< leaves out of the file what differs between runs by its nature
  std::filesystem::path work;       ///< folder that processes fill together (work_folder.hpp); empty: this one does everything
  bool local = false;               ///< `work` is seen by this process alone, which shares it by messages (courier.hpp)
  worker_place place{};             ///< which of them this is
  double lease_seconds = 60;        ///< how long a silent process is waited for
  bool merge = false;               ///< makes nothing of a pass: what is missing is an error
  std::filesystem::path store;      ///< keeps blocks and activations for other runs (shared_store.hpp); empty: nothing is kept
  std::optional<std::uint64_t> store_limit{};  ///< bytes that it may take; absent: what was said before
  file_states files_before{};                  ///< of the input files, before the plugins read of them; for the store
};

/// "4 of 5 values are not finite (2 NaN)".
std::string describe(not_finite const&);

/// What a run's last lines report.
struct run_outcome {
  std::vector<verdict> verdicts;
  std::vector<std::string> missing;  ///< a line for each node and reason that its datasets give for values that are not finite
  std::size_t unexplained = 0;       ///< datasets with such values and no reason: each has a warning
  std::size_t datasets = 0;
  std::uint64_t bytes = 0;
  bool written = false;        ///< by this process; else by another
  std::exception_ptr failure;  ///< of the first metric that failed; it and what needs it are left out of the file
};

/// What one block of a pass takes, made for real.
struct measured_pass {
  std::vector<std::size_t> nodes{};
  std::string why_not{};  ///< why no block was made; "" if one was
  std::size_t block = 0, blocks = 0, in_flight = 0;
  bool of_all_items = false;      ///< else the longest of the first items decided how many items a block has
  double seconds = 0;             ///< of one block, with all threads
  std::uint64_t kept_bytes = 0;   ///< that a block leaves in the folder of --work
  std::uint64_t peak_memory = 0;  ///< of this process so far, with the weights
};
/// Loads the models and makes one block of each pass over items; of a short one, two. What fails is in `why_not`.
std::vector<measured_pass> measure_passes(plan const&, std::vector<instance>&, run_options const&, console&);

/// The text after "stopped by SIGINT": what a stopped run keeps, and how to resume.
std::string kept_when_stopped(plan const&, run_options const&);

/// Runs all nodes and writes the result file. Throws the first error in plan order, after all work has stopped. Then no new file
/// is left, and an older one of that name stays unchanged. If only metrics fail, everything else is written
/// (run_outcome::failure). When disk or memory is exhausted, the other work is stopped. `stopped` is thrown if a signal asked to
/// stop (wayfarer/stopping.hpp).
run_outcome run_plan(plan const&, std::vector<instance>&, run_options const&, console&);

}  // namespace wayfarer::host
