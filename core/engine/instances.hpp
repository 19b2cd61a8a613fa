// The plan's plugins as objects: constructed, asked for their hooks, and kept for the run. No weights are loaded yet.
//
// Made by the main thread, for `check` as well as for `run`. Problems are added to the plan's list, with places, so that a hook
// that the model lacks shows up beside a misspelt parameter.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <wayfarer/metric.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/source.hpp>

#include "engine/remainder.hpp"
#include "engine/sweep.hpp"
#include "pipeline/plan.hpp"

namespace wayfarer::host {

/// A combination of a probe whose node has mistakes, made without them: what can still be seen of it is said beside them.
struct probe_remainder {
  std::size_t combination = 0;
  remaining_values values;
  std::unique_ptr<wayfarer::probe> probe;
  hook_set hooks;
};

/// The object of one node: the pointer of its kind is set.
struct instance {
  std::unique_ptr<wayfarer::source> source;
  std::unique_ptr<wayfarer::model> model;
  std::unique_ptr<wayfarer::probe> probe;
  std::unique_ptr<wayfarer::metric> metric;
  hook_set hooks;  ///< of a probe
  bool trains = false;
  std::vector<instance> more;               ///< of a swept node: the objects of the combinations after the first
  std::vector<tensor> edit_values;          ///< of a probe with edits: for each the value from a file, undefined for others
  std::vector<probe_remainder> remainders;  ///< where the node has mistakes; there is no probe then

  /// Whether its passes over items are the host's. A probe that asks for no hook makes its own, which may be longer than items.
  bool asks_for_hooks() const noexcept;
  instance const& at(std::size_t combination) const { return combination == 0 ? *this : more[combination - 1]; }
};

/// Limit of an item's tokens, as far as it is known before items are read; 0 if there is none.
item_lengths bound_of(plan_node const&, source_info const&, model_info const&) noexcept;

/// Nodes that run together: the probes of one sweep, or a single node, in plan order.
struct task {
  std::vector<std::size_t> nodes;
};
/// Probes share a sweep if they see the same forward passes: the same model, source, items, cut, block, precision and edits.
std::vector<task> tasks_of(plan const&);

/// Estimate of the plan's memory and file sizes before it runs. Zero tokens if nothing limits an item's length.
struct forecast {
  /// Of one node.
  struct part {
    std::size_t node = 0;
    std::size_t items = 0;
    std::uint64_t file_bytes = 0;  ///< rows that go into the file, over all items and combinations
    bool at_most = false;          ///< sized by a bound on the items' lengths, not by the lengths themselves
    bool unknown = false;          ///< nothing bounds the lengths
  };
  /// Of one sweep, by the union of what its probes capture.
  struct pass {
    std::vector<std::size_t> nodes;
    std::size_t items = 0, block = 0, tokens = 0;
    std::size_t hooks = 0;
    std::uint64_t block_bytes = 0;  ///< activations and rows of one block
    bool unknown = false;
  };
  std::vector<part> parts;
  std::vector<pass> passes;
};

/// Constructs the object of each sound node, in plan order, with what its inputs say of themselves put into its parameters
/// (pipeline/facts.hpp): afterwards the plan's parameters are what is run.
std::vector<instance> make_instances(plan&, std::vector<problem>&);

/// A note about a model's files for the user: the node, and one sentence.
struct file_remark {
  std::size_t node = 0;
  std::string text;
};
/// Reads the headers of the models' files, without weights. Problems are added for what a run would refuse, and for a text
/// source wired to a model without a tokenizer. Returns the notes.
std::vector<file_remark> look_at_files(plan const&, std::vector<instance> const&, std::vector<problem>&);

/// Items a block of a probe's sweep: the node's own `block`, else as many as some thousand tokens hold, from 1 to 64. Depends on
/// the plan and the items alone, since the order of sums does.
std::size_t block_items(plan_node const&, std::size_t longest) noexcept;
/// The items that a probe reads.
item_range items_of(plan_node const&, source_info const&) noexcept;

/// Maximum number of bytes of these hooks for one item.
std::uint64_t item_bytes(plan_node const&, model_info const&, hook_set const&, item_lengths const&) noexcept;
/// Bytes of the rows that a probe keeps for one item.
std::uint64_t row_bytes(probe const&, probe_context const&);

forecast predict(plan const&, std::vector<instance> const&);

}  // namespace wayfarer::host
