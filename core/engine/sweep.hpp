// One pass over items for all probes that share model, source, range and cut: read a block, run the model once, let every probe
// observe it, merge in block order.
//
// Sums are merged as a tree that the number of blocks alone determines: 256 blocks in order, then 256 such sums, and so on. So
// processes can merge parts of a long pass beside each other, and the result has the bytes of one process that holds all of it.
// Rows are put one after another, which needs no tree.
//
// A bounded number of blocks is in flight, each with its own buffers; block size depends on the plan alone, so results don't
// depend on threads. Called by one engine task; uses the run's threads inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/progress.hpp>

#include "engine/blocks.hpp"
#include "engine/edits.hpp"
#include "engine/stored_pass.hpp"

namespace wayfarer::host {

/// One probe of a sweep.
struct observer {
  probe const* what;
  std::string name;  ///< for errors
  hook_set hooks;
  std::uint64_t seed = 0;
  accumulator sums{};  ///< filled by the sweep
};

/// Blocks, or sums of them, that are merged into one.
inline constexpr std::size_t fan_in = 256;

/// Rows of one probe that stay in memory; more go to a temporary file.
inline constexpr std::size_t most_row_bytes = std::size_t{32} << 20;

struct sweep_plan {
  model const* over = nullptr;  ///< null: items alone
  source const* data = nullptr;
  item_range items;
  std::string model_name, data_name;  ///< for errors
  std::size_t block = 64, max_tokens = 0;
  std::size_t step = 0;
  std::size_t in_flight = 2;
  metric_input const* inputs = nullptr;  ///< of probes with results ports
  edit_set const* edits = nullptr;       ///< null: none
  dtype precision = dtype::f32;
  item_lengths longest{};                          ///< of all items, for probes that ask
  std::string scratch{};                           ///< folder for rows that don't fit memory
  block_store const* blocks = nullptr;             ///< where finished blocks are kept and found; null: nowhere
  block_store const* merged = nullptr;             ///< the same of their sums, for passes without rows
  stored_blocks const* stored = nullptr;           ///< of other runs, and for them; null: nowhere
  stored_outputs const* outputs = nullptr;         ///< the same of activations
  std::function<void()> before_save{};             ///< called before a block is published; may be empty
  std::function<void(std::string const&)> tell{};  ///< of damaged blocks; empty: they are warned of
};

/// What probes know of the pass.
probe_context context_of(sweep_plan const&);
/// The items of each block, in order.
std::vector<item_range> blocks_of_pass(sweep_plan const&);
/// Levels of sums between the blocks and the last merge; 0 for a pass of few blocks.
std::size_t merge_levels(sweep_plan const&);
/// The items of each sum of that level, in order; of level 0, of each block.
std::vector<item_range> parts_of_pass(sweep_plan const&, std::size_t level);

/// Maximum number of tokens of an item after encoding and cutting; zero without a model. Blocks are encoded in parallel, each
/// with the memory of its thread: cheap next to a forward pass.
/// Counts the texts that were cut or are empty, too.
item_lengths longest_of(sweep_plan const&, class text_counts&);

/// Whether any field has a row for each item.
bool has_rows(accumulator const&);
/// The hooks that any of them needs.
hook_set captured_by(std::vector<observer> const&);

/// Observes every item once. Errors carry the range of items in which they arose. `counts` gets what edits did
/// (`edit_set::misses`) and which captured values are spoiled (spoiled.hpp).
void sweep(sweep_plan const&, std::vector<observer>&, progress&, accumulator& counts);

/// Makes single blocks of a pass, in any order, to be kept in plan.blocks, and sums of blocks, to be kept in plan.merged: what a
/// sweep finds there it does not make again. Any thread.
class block_maker {
 public:
  /// All must outlive it.
  block_maker(sweep_plan const&, std::vector<observer> const&, progress&);
  ~block_maker();
  /// The blocks of one file.
  void operator()(item_range unit) const;
  /// Seconds that one block takes. It is in memory then, for the file that it belongs in. `bytes`: that it takes there.
  double measure(item_range block, std::uint64_t* bytes = nullptr) const;
  void merge(item_range, std::size_t level) const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace wayfarer::host
