// What a trainable model offers so that its snapshots can be kept as files: other processes then use them and need not train.
//
// The host finds it by dynamic_cast, and calls it from one thread at a time, on the object that is asked to train. Without it
// every process of a shared run trains for itself.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// Derive a trainable_model from it as well.
struct WAYFARER_API snapshot_state {
  virtual ~snapshot_state();
  /// All that a snapshot of this model's training is made of, besides the model's parameters.
  virtual std::vector<std::pair<std::string, tensor>> tensors_of(model const& snapshot) const = 0;
  /// The snapshot again: the same bytes in whatever it is asked for. Throws data_error for tensors that are not such a state.
  virtual std::shared_ptr<model const> snapshot_of(std::vector<std::pair<std::string, tensor>> const&) const = 0;
};

WAYFARER_INTERFACE_LAYOUT(snapshot_state, tensors_of, snapshot_of);

}  // namespace wayfarer
