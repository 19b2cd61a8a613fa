// One run of a plan: what its tasks share. Private to the engine: run_plan makes one. Its functions are in engine.cpp (the flow
// graph), probe_tasks.cpp, metric_tasks.cpp, worker.cpp (many processes, one result), store_tasks.cpp (for other runs) and
// measured.cpp. What has a state of its own is a class of its own: the result file (run_result.hpp), which inputs were read
// (input_log.hpp), and what workers share (shared_work.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engine/blocks.hpp"
#include "engine/console.hpp"
#include "engine/edits.hpp"
#include "engine/engine.hpp"
#include "engine/failure.hpp"
#include "engine/input_log.hpp"
#include "engine/node_state.hpp"
#include "engine/provenance.hpp"
#include "engine/run_result.hpp"
#include "engine/shared_store.hpp"
#include "engine/shared_work.hpp"
#include "engine/stack.hpp"
#include "engine/stored_pass.hpp"
#include "engine/sweep.hpp"
#include "engine/texts.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

/// Where along the axes of its inputs a node is run: axis and index.
using fixed_axes = std::vector<std::pair<std::string, std::size_t>>;

class run {
 public:
  run(plan const& p, std::vector<instance>& objects, run_options const& options, console& talk)
      : given_(p), plan_(p), objects_(objects), options_(options), talk_(talk), states_(p.nodes.size()) {}

  run_outcome operator()(std::size_t threads);
  /// The same as one of several processes (worker.cpp).
  run_outcome work(std::size_t threads);
  /// One block of each pass (measured.cpp).
  std::vector<measured_pass> measure_passes(std::size_t threads);

 private:
  void prepare();
  void run_graph(std::vector<task> const&);
  run_outcome finish_result(std::string const& started);
  void throw_if_stopped(int signal) const;
  void execute(task const&);
  void execute_source(std::size_t i);
  void execute_model(std::size_t i, console::part&);
  void execute_metric(std::size_t i);
  void execute_probes(task const&, console::part&);
  struct member;
  std::vector<member> members_of(task const&) const;
  struct step_input;
  step_input input_of_step(task const&, std::size_t s) const;
  std::size_t steps_of(task const&) const;
  std::vector<std::size_t> equal_steps_of(std::size_t i) const;
  struct step_pass;
  void prepare_pass(step_pass&, task const&, std::vector<member> const&, step_input const&, item_lengths);
  std::vector<results> finish_step(step_pass&, accumulator& counts, progress&);
  struct step_results;
  step_results measure_steps(task const&, std::vector<member> const&, console::part&);
  bool reads_items(task const&, std::vector<member> const&, wayfarer::model const*, source const*) const;
  std::optional<item_lengths> measure(task const&, std::vector<member> const&, wayfarer::model const*, source const*) const;
  std::size_t most_tokens_of(task const&, std::vector<member> const&, wayfarer::model const&) const;
  edit_set edits_of(task const&, wayfarer::model const&, source const&, fixed_axes const&) const;
  std::vector<axis> axes_of_inputs(std::size_t i) const;
  struct gathered;
  gathered inputs_of(std::size_t i, fixed_axes const&) const;
  results view_of(node_state const&, fixed_axes const&) const;
  void put_together(std::size_t i, std::vector<axis>, std::vector<results>);
  std::optional<block_store> blocks_of(task const&, std::size_t step);
  sweep_plan plan_of_sweep(task const&, wayfarer::model const*, source const*) const;
  std::size_t blocks_in_flight(std::size_t block, std::uint64_t block_bytes) const;

  // store_tasks.cpp
  void open_store();
  void tell_store() const;
  std::string code_of(std::set<std::size_t> const& nodes);
  std::string code_of_all();
  void stop_keeping(std::string const& changed_file);
  void use_store(step_pass&, task const&, step_input const&);

  // measured.cpp
  std::string why_not_measured(task const&) const;
  measured_pass measure_pass(task const&, console::part&);

  // worker.cpp
  std::string unit_of(task const&, std::string_view what) const;
  unit_round make_lengths(task const&, std::vector<member> const&, step_input const&,
                          std::unordered_set<std::string> const& there);
  unit_round make_blocks(task const&, console::part&);
  std::vector<std::string> agree_on_units(task const&, step_pass&, class block_maker const&, std::size_t proposed);
  std::string name_of_node(task const&) const;
  unit_round make_merges(step_pass const&, block_maker const&, std::unordered_set<std::string> const& there,
                         std::string const& name);
  std::string lengths_key(task const&, std::size_t most) const;
  std::vector<item_range> measured_ranges(task const&, source const&) const;
  item_lengths measure_range(task const&, item_range, std::size_t most, text_counts&) const;
  enum class state_of_task { done, advanced, waiting };
  state_of_task advance(task const&, console::part&);
  state_of_task finish(task const&, std::string const& unit);
  bool is_filed(task const&) const;
  void file(task const&, std::string const& unit, std::set<std::string> const& warnings) const;
  bool restore(task const&, std::string const& unit);
  void work_through(std::vector<task> const&);
  std::optional<run_outcome> write_unless_written(std::string const& started);

  wire const* wire_of(std::size_t i, port_kind kind) const {
    for (auto const& w : plan_.nodes[i].wires)
      if (w.kind == kind && !is_edit(w)) return &w;
    return nullptr;
  }
  std::string title(std::size_t i, std::size_t combination = 0) const { return title_of(plan_.nodes[i], combination); }
  std::string scratch_folder() const { return options_.out.has_parent_path() ? options_.out.parent_path().string() : "."; }

  plan const& given_;
  plan plan_;                      // where models are the same, all that is wired to one of them is wired to the first
  std::vector<std::size_t> same_;  // see same_models
  std::vector<instance>& objects_;
  run_options const& options_;
  console& talk_;
  std::vector<node_state> states_;
  std::vector<node_record> records_;
  std::optional<input_log> inputs_;
  std::string code_;                     // digest of the program and the plugins, if blocks are kept
  std::unique_ptr<shared_store> store_;  // null: nothing is kept for other runs
  std::unique_ptr<shared_work> work_;    // null: this process does everything
  std::optional<run_result> result_;
  std::map<std::size_t, std::vector<std::string>> awaited_;  // by a task's first node: units that others are at
  std::mutex codes_mutex_;
  std::map<std::set<std::size_t>, std::string> codes_;  // of nodes
  std::mutex block_keys_mutex_;
  std::set<std::string> block_keys_;  // of the sweeps of this run
  std::size_t threads_ = 1, name_width_ = 0, plugin_width_ = 0;
};

/// A probe of a task: a node, or one combination of a swept one.
struct run::member {
  std::size_t node = 0, combination = 0;
  probe const* what = nullptr;
  hook_set const* hooks = nullptr;
  std::uint64_t seed = 0;
  std::string name{};
};

/// Results that a node reads, with what holds them for as long as they are read.
struct run::gathered {
  metric_input ports;
  std::vector<std::unique_ptr<results>> hold{};
};

/// What a step of a pass reads: a state of the model, other nodes' results, edits.
struct run::step_input {
  wayfarer::model const* over = nullptr;
  source const* data = nullptr;
  std::size_t step = 0;  ///< updates done
  std::string name{};    ///< "step 100", of a model that was trained
  gathered inputs{};
  bool has_inputs = false;
  edit_set edits{};
};

/// What the probes of a task found at all steps.
struct run::step_results {
  std::map<std::size_t, std::vector<results>> parts{};  ///< of each node, its combinations fastest
  accumulator counts{};                                 ///< what edits did and what the model gave, over all steps
  std::vector<std::string> misses{};
  std::string spoils{};
  std::size_t items = 0;  ///< of all steps
};

/// A step's pass with its probes, ready to run. Points into itself.
struct run::step_pass {
  step_pass() = default;
  step_pass(step_pass const&) = delete;
  sweep_plan plan{};
  std::vector<observer> observers{}, watching{};  ///< all probes; those that look at items
  std::optional<block_store> kept{}, merged{};
  std::optional<stored_blocks> stored{};
  std::optional<stored_outputs> outputs{};
  bool passes = false;  ///< whether there are items to look at
};

}  // namespace wayfarer::host
