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
#include <wayfarer/layout.hpp>
#include <wayfarer/plugin.hpp>
#include <wayfarer/progress.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/source.hpp>
#include <wayfarer/tensor.hpp>
#include <wayfarer/tokenizer.hpp>

namespace wayfarer {

enum class model_family { decoder, encoder, encoder_decoder };
enum class norm_kind { none, layer, rms };

/// What is known of a model before its weights are read.
struct WAYFARER_API model_info {
  std::string architecture;  ///< "topic_transformer", "gpt2", "t5"
  model_family family = model_family::decoder;
  std::size_t layers = 0;          ///< of the decoder-only or encoder-only stack, or of the encoder
  std::size_t decoder_layers = 0;  ///< of an encoder-decoder's decoder
  std::size_t heads = 0, d_model = 0, d_head = 0, d_mlp = 0, vocabulary = 0;
  std::size_t longest = 0;  ///< most positions, 0 if unbounded
  norm_kind norm = norm_kind::none;
  double norm_epsilon = 0;
  double attention_scale = 1;  ///< scores are this times q.k, before any position bias; of layer 0 where layers differ
  std::vector<hook_info> hooks;
  std::vector<std::string> weights;        ///< names for model::weight; the same for every architecture, see docs/hooks.md
  std::string activation;                  ///< of the MLPs (of the gate, if they have one), by Hugging Face's name; "": not known
  fact_map facts;                          ///< what users need not repeat, as source_info::facts
  std::vector<double> attention_scales{};  ///< of each layer where they differ; empty: attention_scale everywhere
  /// Of keys and values: head h of the queries reads head h / (heads / kv_heads) of them. 0: as many as heads.
  std::size_t kv_heads = 0;

  /// What that layer's scores q.k are multiplied by: what a probe of weights reads.
  double attention_scale_of(std::size_t layer) const noexcept {
    return layer < attention_scales.size() ? attention_scales[layer] : attention_scale;
  }

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
  ragged<std::int32_t> token_types;     ///< models that read pairs of texts: of the lengths of `tokens`; empty: all 0
  /// Start from these vectors instead of looking tokens up: [token, d_model], in the packing of `tokens`, whose numbers are then
  /// not read. Undefined: look up.
  tensor embeddings;
  /// Encoder-decoder models: take these for the encoder's final states, [token, d_model] in the packing of `tokens`, and do not
  /// run the encoder.
  tensor encoder_states;
  /// Position of each item's first token; empty: 0.
  std::vector<std::size_t> first_position;
  /// Tokens that each item had before `encode` cut it; empty: nothing is known of a cut. For the host's warnings alone.
  std::vector<std::size_t> uncut;
  std::size_t items() const noexcept { return tokens.size(); }
};

/// Where an edit is applied: the item of the batch, and the position in the item's sequence of the activation's first row, which
/// is above 0 only in a continued run (`continued_run`) or if the batch says so.
struct edit_site {
  std::size_t item = 0, first_position = 0;
};

/// A change to an activation on its way: `change` gets the hook's tensor for one item, of the shape in which it is captured, and
/// may write to it. Everything downstream sees what it wrote. Edits of one hook apply in their order; called from any thread,
/// for different items at once.
struct hook_edit {
  std::string hook;
  std::function<void(edit_site const&, tensor const& activation)> change;
};

/// What a forward pass is asked for. Logits are a hook like any other, "logits".
struct run_request {
  hook_set capture;
  std::vector<hook_edit> edits;
  dtype precision = dtype::f32;   ///< of the arithmetic: f32, f64 or bf16. Captures are f64 for f64, else f32
  bool last_logits_only = false;  ///< "logits" holds the last position of each item alone, [1, vocabulary]
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
  template <class>
  friend struct layout_of;
  std::map<std::string, std::vector<tensor>, std::less<>> all_;
};

struct encode_options {
  std::size_t max_tokens = 0;  ///< cut to this many, 0: the model's own limit
};

/// A forward pass that can be continued: it caches the keys and values of all that it has read. Used by one thread at a time; the
/// model must outlive it.
struct WAYFARER_API continued_run {
  virtual ~continued_run();
  virtual std::size_t items() const noexcept = 0;
  /// Tokens read so far (of an encoder-decoder: by the decoder).
  virtual std::size_t length(std::size_t item) const noexcept = 0;
  /// Reads more tokens of each item, possibly none of some (an encoder-decoder reads `decoder_tokens`), and gives what was asked
  /// for at the new positions. The same numbers as one run over everything, to rounding.
  virtual activations extend(batch const& more, run_request const&) = 0;
  /// An independent continuation of these items, in this order; an item may come more than once. What is common is shared.
  virtual std::unique_ptr<continued_run> branch(std::span<std::size_t const> items) const = 0;
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
  /// Null if the model has none or its folder lacks the files. Valid from construction on, lives as long as the model.
  virtual tokenizer const* text_tokenizer() const { return nullptr; }
  /// A forward pass. Throws plugin_error for a hook that it was asked for and did not reach, and data_error, naming them, if
  /// tensors that it needs are missing from the checkpoint.
  virtual activations run(batch const&, run_request const&) const = 0;
  /// Runs as `run` does and caches keys and values, so that the run can be continued; `captured`, unless null, receives what
  /// was asked for. Throws usage_error if the model has no such thing (encoders).
  virtual std::unique_ptr<continued_run> begin(batch const&, run_request const&, activations* captured) const;
  /// A weight in the convention y = x W: a view with named dimensions. Throws data_error if the checkpoint lacks it, and
  /// usage_error, with near names, if the architecture has no such weight.
  virtual tensor weight(std::string_view name) const = 0;
  /// What stands between the last residual state and the unembedding (the final norm; of an encoder-decoder: the decoder's).
  /// x: [row, d_model], float32 or float64; the result has its type. Throws usage_error if the model has none.
  virtual tensor final_norm(tensor const& x) const;
  /// Logits of states that final_norm has been through, [row, d_model] -> [row, vocabulary], in the type of x.
  virtual tensor unembed(tensor const& x) const;
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

WAYFARER_ENUM_LAYOUT(model_family, decoder, encoder, encoder_decoder);
WAYFARER_ENUM_LAYOUT(norm_kind, none, layer, rms);
WAYFARER_LAYOUT(model_info, architecture, family, layers, decoder_layers, heads, d_model, d_head, d_mlp, vocabulary, longest,
                norm, norm_epsilon, attention_scale, hooks, weights, activation, facts, attention_scales, kv_heads);
WAYFARER_LAYOUT(batch, tokens, decoder_tokens, token_types, embeddings, encoder_states, first_position, uncut);
WAYFARER_LAYOUT(edit_site, item, first_position);
WAYFARER_LAYOUT(hook_edit, hook, change);
WAYFARER_LAYOUT(run_request, capture, edits, precision, last_logits_only);
WAYFARER_LAYOUT(activations, all_);
WAYFARER_LAYOUT(encode_options, max_tokens);
WAYFARER_INTERFACE_LAYOUT(continued_run, items, length, extend, branch);
WAYFARER_INTERFACE_LAYOUT(model, info, load, encode, token_text, text_tokenizer, run, begin, weight, final_norm, unembed);
WAYFARER_LAYOUT(snapshot, step, state);
WAYFARER_LAYOUT(training, data, held_out, out, report, keep);
WAYFARER_INTERFACE_LAYOUT(trainable_model, train);

}  // namespace wayfarer
