// What a node of a run has become, and the same as bytes, for the other processes that share the run.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/model.hpp>
#include <wayfarer/results.hpp>

#include "engine/filed.hpp"
#include "engine/stack.hpp"
#include "pipeline/plan.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

/// What a node has become. Written by the one task that runs the node, read by its followers.
struct node_state {
  results out;                                                    ///< as it goes into the file
  std::vector<axis> axes;                                         ///< along which it was run more than once
  std::vector<results> parts;                                     ///< of each combination along the axes; empty without axes
  std::vector<std::size_t> steps;                                 ///< of a trained model
  std::vector<std::shared_ptr<wayfarer::model const>> snapshots;  ///< of a trained model
  std::vector<std::size_t> first_equal;                           ///< of a trained model: see equal_steps.hpp
  std::vector<not_finite> gaps;                                   ///< known once written
  std::string spoiled;        ///< what the model or an edit gave that is not finite; "" for nothing
  std::string why_no_reason;  ///< stands in the datasets for the node's own reasons, which such values make untrue
  std::exception_ptr failure;
  bool skipped = false;  ///< something that it needs failed
  double seconds = 0;
};

/// What errors call a node, or one combination of a swept one: "lens (logit_lens, wayfarer_logit_lens.so)".
std::string title_of(plan_node const&, std::size_t combination = 0);

/// `learner`: the node's model, if it is one that was trained.
void put_state(filed_writer&, node_state const&, wayfarer::model const* learner);
/// Throws data_error for what `put_state` has not written. Tensors live as long as they are held.
node_state read_state(filed_reader&, wayfarer::model const* learner);

}  // namespace wayfarer::host
