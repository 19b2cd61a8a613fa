// What one pass takes from a shared store and leaves there: its blocks, and the activations that its model makes.
//
// Blocks are those of one key, which holds the probes, too. Activations are left only if the pipeline says so (`keep:
// activations`); their key holds the model, the source and what else a forward pass depends on, and no probe, so that other
// probes find them. A block's activations count for just these items in one block: a model from elsewhere may round otherwise
// beside other items. Both may be used from any thread; the entries of the store are in use for as long as they live.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/source.hpp>

#include "engine/shared_store.hpp"

namespace wayfarer::host {

/// What the run wants to know of an entry.
struct store_hooks {
  /// Before something that was found counts: says which input files were read for it.
  std::function<void(std::set<std::string> const& marks)> found;
  /// Before something is left: which have been read by now. Nothing if it must not be left, as one of them has changed.
  std::function<std::optional<std::set<std::string>>()> read;
};

class stored_blocks {
 public:
  /// The blocks of these items, each of `block` items but for the last.
  stored_blocks(std::shared_ptr<shared_store::entry>, item_range items, std::size_t block, store_hooks);
  /// Fills accumulators that have their shapes already, if the block is there.
  bool load(item_range, std::vector<accumulator>& sums) const;

  /// Leaves blocks, in the order of their items, some in a file. One thread at a time.
  class line {
   public:
    explicit line(stored_blocks const& to) : to_(to) {}
    ~line() { end(); }
    line(line const&) = delete;
    /// A gap before it begins another file.
    void add(item_range, std::vector<accumulator> const& sums);
    void end() noexcept;

   private:
    stored_blocks const& to_;
    std::unique_ptr<shared_store::new_file> file_;
    item_range items_{};
    std::size_t blocks_ = 0;
    double begun_ = 0;
  };

 private:
  std::string salt(item_range) const;
  std::shared_ptr<shared_store::entry> entry_;
  item_range items_;
  std::size_t block_;
  store_hooks hooks_;
  std::vector<std::string> names_;
  std::vector<item_range> files_;
  std::vector<std::uint32_t> file_of_;  // of each block, from 1; 0: none
  mutable std::once_flag found_;
};

class stored_outputs {
 public:
  /// `keeps`: what was not found is left there.
  stored_outputs(std::shared_ptr<shared_store::entry>, bool keeps, store_hooks);
  /// What `over.run` captures: each hook as it was found, else made.
  activations run(model const& over, batch const&, run_request const&, item_range) const;

 private:
  std::optional<std::vector<tensor>> load(model const&, hook_info const&, std::string const& name, batch const&, dtype) const;
  void save(std::string const& hook, std::string const& name, std::vector<tensor> const&) const;
  std::shared_ptr<shared_store::entry> entry_;
  bool keeps_;
  store_hooks hooks_;
  std::unordered_set<std::string> there_;
  mutable std::once_flag found_;
};

}  // namespace wayfarer::host
