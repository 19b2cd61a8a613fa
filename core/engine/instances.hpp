// The plan's plugins as objects: constructed, asked for their hooks, and held for the run. Nothing heavy is loaded yet.
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

#include "pipeline/plan.hpp"

namespace wayfarer::host {

/// The object of one node: the pointer of its kind is set.
struct instance {
  std::unique_ptr<wayfarer::source> source;
  std::unique_ptr<wayfarer::model> model;
  std::unique_ptr<wayfarer::probe> probe;
  std::unique_ptr<wayfarer::metric> metric;
  hook_set hooks;  ///< of a probe
  bool trains = false;
};

/// What running the plan will take, as far as can be known before.
struct forecast {
  std::uint64_t block_bytes = 0;  ///< captured activations of the largest block of any sweep
  std::uint64_t row_bytes = 0;    ///< rows that probes keep for each item
};

/// Constructs the object of each sound node, in plan order.
std::vector<instance> make_instances(plan const&, std::vector<problem>&);

/// Items a block of a probe's sweep: the node's own `block`, else 64.
std::size_t block_items(plan_node const&) noexcept;
/// The items that a probe looks at.
item_range items_of(plan_node const&, source_info const&) noexcept;

/// Most bytes that these hooks hold for one block of a probe's sweep.
std::uint64_t block_bytes(plan_node const&, source_info const&, model_info const&, hook_set const&) noexcept;

forecast predict(plan const&, std::vector<instance> const&);

}  // namespace wayfarer::host
