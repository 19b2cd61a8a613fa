// Probes: what is measured.
//
// The host reads items in blocks, runs the model once a block for all probes that share it, and calls `observe` for each block,
// from any thread, each time with a fresh accumulator. It merges accumulators in block order and calls `finish` once. A probe of
// weights alone defines no field, asks for no hook, and only finishes. After a trainable model all of this happens for every
// snapshot and the results gain the dimension "step".
//
// Probes that run the model themselves can share what costs much: all combinations of a `sweep:` are probes of one pass over the
// items, and see the same `shared_values`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <typeindex>
#include <utility>
#include <vector>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/config.hpp>
#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/plugin.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/source.hpp>

namespace wayfarer {

/// One item of a block. A small handle: copy it freely, use it while the block is observed.
class WAYFARER_API sample_item {
 public:
  sample_item(item_block const& items, batch const& tokens, activations const& captured, std::size_t i)
      : items_(&items), tokens_(&tokens), captured_(&captured), i_(i) {}

  std::size_t index() const noexcept { return items_->first + i_; }  ///< within the source
  std::size_t row() const noexcept { return i_; }                    ///< within the block: for rows of an accumulator
  std::span<std::int32_t const> words() const noexcept { return items_->words[i_]; }
  std::span<std::int32_t const> tokens() const noexcept { return tokens_->tokens[i_]; }
  /// Empty unless the model is an encoder-decoder and the source gives them.
  std::span<std::int32_t const> decoder_tokens() const noexcept {
    return tokens_->decoder_tokens.empty() ? std::span<std::int32_t const>{} : tokens_->decoder_tokens[i_];
  }
  /// Empty unless the source gives pairs or types: all are 0, or as the model's own rule says.
  std::span<std::int32_t const> token_types() const noexcept {
    return tokens_->token_types.empty() ? std::span<std::int32_t const>{} : tokens_->token_types[i_];
  }
  /// "" unless the source gives texts.
  std::string_view text() const noexcept { return items_->texts.empty() ? std::string_view{} : items_->texts[i_]; }
  tensor const& operator[](std::string_view hook) const { return captured_->at(hook, i_); }

 private:
  template <class>
  friend struct layout_of;
  item_block const* items_;
  batch const* tokens_;
  activations const* captured_;
  std::size_t i_;
};

/// Values that probes share: each is made once, by whichever probe asks first, and lives as long as this object or its last
/// handle. Any thread. What a probe measures must not depend on who made a value, nor on whether it is shared at all.
class WAYFARER_API shared_values {
 public:
  /// The value of this key and type; begin the key with the plugin's id. `make()` gives a T. It runs under a lock, so it must be
  /// quick and ask for no other value: what takes long is for a member function of T, under a lock of its own.
  template <class T, class Make>
  std::shared_ptr<T> get(std::string_view key, Make const& make) {
    return std::static_pointer_cast<T>(
        find(key, typeid(T), [&]() -> std::shared_ptr<void> { return std::shared_ptr<T>(new T(make())); }));
  }

 private:
  template <class>
  friend struct layout_of;
  std::shared_ptr<void> find(std::string_view key, std::type_index type, std::function<std::shared_ptr<void>()> const& make);
  std::mutex lock_;
  std::map<std::pair<std::string, std::type_index>, std::shared_ptr<void>> all_;
};

/// One block of items after its forward pass. `size()` items; `block[i]` is item i.
class WAYFARER_API sample {
 public:
  /// `of_block`, `of_sweep`: what the probes of this block, and of the whole sweep, share; null: this sample alone has them.
  sample(item_block const& items, batch const& tokens, activations const& captured, std::uint64_t seed,
         run_request const* request = nullptr, shared_values* of_block = nullptr, shared_values* of_sweep = nullptr);

  std::size_t size() const noexcept { return items_->count; }
  sample_item operator[](std::size_t i) const noexcept { return {*items_, *tokens_, *captured_, i}; }
  item_block const& items() const noexcept { return *items_; }
  batch const& tokens() const noexcept { return *tokens_; }
  /// For a probe that runs the model itself: the precision and the edits of the block's own pass, and nothing to capture. `rows`
  /// says which item of the block each item of the new batch is; positions are those of the new batch.
  run_request request(std::vector<std::size_t> rows) const;
  /// Random numbers of one item, the same whatever block it is in: split invariance depends on using these.
  random_stream random(std::string_view purpose, sample_item const& item) const noexcept {
    return {seed_, purpose, item.index()};
  }
  /// A value shared by all probes that observe this block, and gone after it. See shared_values::get.
  template <class T, class Make>
  std::shared_ptr<T> shared(std::string_view key, Make const& make) const {
    return of_block_->get<T>(key, make);
  }
  /// A value shared by all blocks of the sweep too, which are observed side by side: what it holds must be bounded.
  template <class T, class Make>
  std::shared_ptr<T> kept(std::string_view key, Make const& make) const {
    return of_sweep_->get<T>(key, make);
  }

 private:
  template <class>
  friend struct layout_of;
  item_block const* items_;
  batch const* tokens_;
  activations const* captured_;
  std::uint64_t seed_;
  run_request const* request_;
  std::shared_ptr<shared_values> of_block_, of_sweep_;
};

/// What a probe is wired to. `model()` and `data()` throw plugin_error where the node has no such port.
class WAYFARER_API probe_context {
 public:
  probe_context(wayfarer::model const* m, source const* s, item_range items, std::size_t step, std::size_t longest = 0,
                std::size_t longest_decoder = 0, metric_input const* inputs = nullptr)
      : model_(m),
        source_(s),
        items_(items),
        step_(step),
        longest_(longest),
        longest_decoder_(longest_decoder),
        inputs_(inputs) {}
  wayfarer::model const& model() const;
  source const& data() const;
  bool has_model() const noexcept { return model_ != nullptr; }
  bool has_data() const noexcept { return source_ != nullptr; }
  item_range items() const noexcept { return items_; }  ///< what is observed
  std::size_t step() const noexcept { return step_; }   ///< of the (first equal) snapshot, 0 if nothing is learned
  /// Most tokens (decoder tokens) of any item that is observed, after cutting: what rows must hold. Known in `shape`, `observe`
  /// and `finish` of a probe that has a model and a source.
  std::size_t longest() const noexcept { return longest_; }
  std::size_t longest_decoder() const noexcept { return longest_decoder_; }
  /// What the node's results ports name. Known in `observe` and `finish`. Throws plugin_error where the node has no such port.
  metric_input const& inputs() const;

 private:
  template <class>
  friend struct layout_of;
  wayfarer::model const* model_;
  source const* source_;
  item_range items_;
  std::size_t step_, longest_, longest_decoder_;
  metric_input const* inputs_;
};

struct WAYFARER_API probe : plugin_base {
  ~probe() override;
  /// The hooks that `observe` reads. Asked before any weight is loaded. Without hooks there is no forward pass: blocks then come
  /// with words and tokens alone.
  virtual hook_set needs(model_info const&) const { return {}; }
  /// Defines the accumulator's fields. A probe that defines none is shown no item: it reads weights, and only finishes.
  virtual void shape(accumulator&, probe_context const&) const {}
  /// Adds one block.
  virtual void observe(accumulator&, sample const&, probe_context const&) const {}
  /// Adds the accumulator of the items that follow. Must be associative.
  virtual void merge(accumulator& into, accumulator const& from) const { into.append(from); }
  /// Turns the sums into results.
  virtual void finish(accumulator const&, results&, probe_context const&) const = 0;
  /// Announces, through a value that the sweep's probes `kept`, what `observe` will need of it, so that one probe can compute it
  /// for all. Called once for each probe, before the sweep's first block. Some callers skip it, so `observe` must work
  /// without.
  virtual void announce(shared_values& of_sweep, probe_context const&) const;
};

WAYFARER_LAYOUT(sample_item, items_, tokens_, captured_, i_);
WAYFARER_LAYOUT(shared_values, lock_, all_);
WAYFARER_LAYOUT(sample, items_, tokens_, captured_, seed_, request_, of_block_, of_sweep_);
WAYFARER_LAYOUT(probe_context, model_, source_, items_, step_, longest_, longest_decoder_, inputs_);
WAYFARER_INTERFACE_LAYOUT(probe, needs, shape, observe, merge, finish, announce);

}  // namespace wayfarer
