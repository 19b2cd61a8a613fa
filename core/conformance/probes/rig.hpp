// A probe on its stage: a model, items, and results that it reads. A block is observed as in the host: items, one forward pass
// for exactly the hooks that the probe needs, a fresh accumulator, merges in block order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/source.hpp>

#include "conformance/wiring.hpp"

namespace wayfarer::host::conformance {

/// A model and items that a probe is shown.
struct stage {
  std::string name;
  std::string model_id;
  std::shared_ptr<model> over;                                 ///< null where the probe has no model port or leaves it open
  std::shared_ptr<source const> data;                          ///< null likewise
  std::shared_ptr<metric_input const> inputs = {};             ///< of its results ports; null if it has none
  std::shared_ptr<std::vector<candidate> const> results = {};  ///< that `inputs` point into
  std::string fed = {};                                        ///< what results ports are wired to, for people
  hook_set every_hook() const;
};

struct block_data {
  item_block items;
  batch tokens;
  activations captured;
};

/// What stands for an activation.
using transform = std::function<tensor(std::string const& hook, tensor const&)>;
/// Every number the same.
transform filled(double value);
/// Whole numbers from 0 to 7, so that sums of them are exact.
transform whole_numbers(std::uint64_t seed);

class rig {
 public:
  rig(stage, probe const&, std::uint64_t seed);

  hook_set const& hooks() const { return hooks_; }
  item_range items() const { return items_; }
  stage const& on() const { return stage_; }
  probe_context context(std::size_t step = 0) const;

  block_data block(item_range, transform const& change = {}, hook_set const* capture = nullptr) const;
  /// Sizes of `blocks` blocks, as even as they get.
  std::vector<item_range> cut(std::size_t blocks) const;
  std::vector<block_data> blocks(std::size_t count, transform const& change = {}) const;

  /// Whether there is anything to observe.
  bool observes(probe const&) const;
  /// An accumulator of no items.
  accumulator nothing(probe const&, std::size_t step = 0) const;
  accumulator observe(probe const&, block_data const&, shared_values* of_block = nullptr,
                      shared_values* of_sweep = nullptr) const;
  std::vector<accumulator> observe_all(probe const&, std::vector<block_data> const&) const;
  /// As the host merges: the first is taken over, the rest are added in order.
  static accumulator fold(probe const&, std::vector<accumulator> parts);
  /// Observes the blocks and merges them.
  accumulator sums(probe const&, std::vector<block_data> const&) const;
  results finish(probe const&, accumulator const&, std::size_t step = 0) const;
  /// The whole way in `count` blocks.
  results measure(probe const&, std::size_t count = 2, transform const& change = {}, std::size_t step = 0) const;

 private:
  stage stage_;
  std::uint64_t seed_;
  hook_set hooks_;
  item_range items_;
  std::size_t longest_ = 0, longest_decoder_ = 0;
};

}  // namespace wayfarer::host::conformance
