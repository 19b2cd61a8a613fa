// A probe's `edits:` made into changes of activations: checked against the model before anything is loaded, and bound to values
// (constants, other items, other nodes' results, other files) when a sweep runs.
//
// Checked by the main thread; an `edit_set` is made by the task that sweeps and then read from any of its blocks' threads.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/source.hpp>
#include <wayfarer/tensor.hpp>

#include "pipeline/plan.hpp"

namespace wayfarer::host {

/// Maximum number of tokens of an item.
struct item_lengths {
  std::size_t tokens = 0, decoder = 0;
};

/// Finds all mistakes in a node's edits before it runs: unknown hooks, heads and items, pairs outside the
/// source, positions that no item has, values of files that don't fit. `values`: for each edit the value from a file, undefined
/// for others. `longest`: no item of the host's passes is longer; 0 where that is not known.
void check_edits(plan_node const&, model_info const&, source_info const&, std::vector<tensor> const& values, item_lengths longest,
                 std::vector<problem>&);

/// What `edit_set::misses` would say after a run, where the lengths of items are known: of the items `looked_at`, in their order.
/// `all_items`: the run reads no others; a position that none of them has is then added to the problems. Edits that one of the
/// problems is about are passed over.
std::vector<std::string> foresee_edits(plan_node const&, model_info const&, std::vector<tensor> const& values,
                                       item_range looked_at, std::span<item_lengths const> lengths, bool all_items,
                                       std::vector<problem>&);

/// The values of edits that come from files, in the order of the edits; undefined for the others. For the main thread, before any
/// other thread uses the store. What is wrong with a file is added to the problems.
std::vector<tensor> read_edit_values(plan_node const&, std::vector<problem>&);

class edit_set {
 public:
  edit_set() = default;
  /// `values`: for each edit the value from a node or a file. `over` and `data` must outlive the set. Throws usage_error for a
  /// value that does not fit its hook.
  edit_set(plan_node const&, std::vector<tensor> values, model const& over, source const& data, item_range observed);

  bool empty() const noexcept { return edits_.empty(); }
  /// Which edits a block's passes reached and applied. Lives as long as the block's request.
  struct block_counts;
  /// The changes for a block of these items, with the forward passes over their pairs done.
  std::vector<hook_edit> for_block(item_range, std::shared_ptr<block_counts>&) const;

  /// How often edits applied, as a field of an accumulator that is merged and kept like those of the probes.
  void define_counts(accumulator&) const;
  void count(block_counts const&, item_range, accumulator& counts) const;
  /// A line for each edit that never applied, or whose positions some items lack. `counts`: the field over all items.
  std::vector<std::string> misses(tensor const& counts) const;
  /// "edit 0 (hook_embed) leaves values that are not finite in 2 of 2 items", of the first that does so; "" if none does.
  std::string spoils(tensor const& counts) const;

 private:
  struct bound {
    edit_spec what;
    std::vector<hook_info> hooks;
    tensor value{};                              // of a node or file
    std::shared_ptr<activations const> other{};  // of one other item, for all blocks
  };
  std::shared_ptr<activations const> run_unedited(item_range, hook_set const&) const;

  std::vector<bound> edits_;
  model const* over_ = nullptr;
  source const* data_ = nullptr;
  std::size_t max_tokens_ = 0;
  dtype precision_ = dtype::f32;
  item_range observed_;
};

}  // namespace wayfarer::host
