// Models: weights, a tokenizer, hook points and a forward pass.
//
// A model is immutable once loaded and is run from many threads at once. Nothing that was not asked for is computed or kept. A
// trainable model also yields snapshots of itself while it learns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/export.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/plugin.hpp>
#include <wayfarer/progress.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/source.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// What is known of a model before its weights are read.
struct WAYFARER_API model_info {
  std::string architecture;  ///< "topic_transformer", "gpt2", "t5"
  std::size_t layers = 0, heads = 0, d_model = 0, d_head = 0, vocabulary = 0;
  std::size_t longest = 0;  ///< most positions, 0 if unbounded
  std::vector<hook_info> hooks;
  std::vector<std::string> weights;  ///< names for model::weight

  /// The hooks that fit these names or patterns, in the model's order. A pattern that fits nothing is a usage_error with near
  /// names.
  hook_set hooks_for(std::span<std::string const> patterns) const;
  hook_set hooks_for(std::string pattern) const { return hooks_for({&pattern, 1}); }
  hook_info const* find_hook(std::string_view name) const noexcept;
};

/// Token sequences of some items, packed end to end.
struct batch {
  ragged<std::int32_t> tokens;
  ragged<std::int32_t> decoder_tokens;  ///< encoder-decoder models only
  /// Start from these vectors instead of looking tokens up: [token, d_model], in the packing of `tokens`. Undefined: look up.
  tensor embeddings;
  std::size_t items() const noexcept { return tokens.size(); }
};

/// A change to an activation on its way: `change` gets the hook's tensor for one item and may write to it.
struct hook_edit {
  std::string hook;
  std::function<void(std::size_t item, tensor const& activation)> change;
};

enum class wanted_logits { none, last, all };

struct run_request {
  hook_set capture;
  std::vector<hook_edit> edits;
  wanted_logits logits = wanted_logits::none;
  dtype precision = dtype::f32;
};

/// What a forward pass captured, for each hook and item. Views live as long as this object or a copy of the tensor.
class WAYFARER_API activations {
 public:
  activations() = default;
  /// One tensor an item, all of the hook's shape with the item's own length.
  void put(std::string hook, std::vector<tensor> per_item);
  /// [pos, ...] or, for a hook over pairs, [head, query, key]. Throws plugin_error for a hook that was not captured.
  tensor const& at(std::string_view hook, std::size_t item) const;
  bool has(std::string_view hook) const { return all_.find(hook) != all_.end(); }
  std::size_t bytes() const noexcept;

 private:
  std::map<std::string, std::vector<tensor>, std::less<>> all_;
};

struct encode_options {
  std::size_t max_tokens = 0;  ///< cut to this many, 0: the model's own limit
};

struct WAYFARER_API model : plugin_base {
  ~model() override;
  /// Valid from construction on; the constructor reads configuration, not weights.
  virtual model_info const& info() const = 0;
  /// Brings the weights in. Called once, before anything below, by one thread.
  virtual void load() {}
  /// The items as token sequences of this model: source tokens as they are, words by the model's own mapping, texts by its
  /// tokenizer.
  virtual batch encode(item_block const&, encode_options const&) const = 0;
  /// The text of a token, for tables and axes.
  virtual std::string token_text(std::int32_t token) const = 0;
  /// A forward pass. Throws plugin_error for a hook that it was asked for and did not reach.
  virtual activations run(batch const&, run_request const&) const = 0;
  /// A weight in the convention y = x W: a view with named dimensions. Throws data_error if the checkpoint lacks it, and
  /// usage_error, with near names, if the architecture has no such weight.
  virtual tensor weight(std::string_view name) const = 0;
};

/// One state of a model in training.
struct snapshot {
  std::size_t step = 0;  ///< updates done
  std::shared_ptr<model const> state;
};

/// What `train` is given. References live until it returns.
struct training {
  source const& data;
  source const* held_out;  ///< null if the pipeline names none
  results& out;            ///< curves and figures of the training itself
  progress& report;
  /// Receives snapshots in order of their steps; the last is the trained model.
  std::function<void(snapshot)> keep;
};

struct WAYFARER_API trainable_model : model {
  ~trainable_model() override;
  /// Trains from the initial state given by the seed; yields at least one snapshot. Same bytes for any number of threads.
  virtual void train(training const&) const = 0;
};

}  // namespace wayfarer
