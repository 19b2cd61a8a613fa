// What the plugins of pretrained models share beside the layers: tokens in, token texts out, the tokens that begin and end what a
// model generates, a layer on a bare tensor; and what such a model tells the program of the files that it was read from.
//
// Free functions; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/source.hpp>
#include <wayfarer/tensor.hpp>
#include <wayfarer/tokenizer.hpp>

namespace wayfarer {

/// The tokenizer of a checkpoint's folder, opened when it is first asked for: reading GPT-2's takes longer than mapping its
/// weights, which is all that a probe of weights needs. Any thread.
class WAYFARER_API late_tokenizer {
 public:
  explicit late_tokenizer(std::string folder) : folder_(std::move(folder)) {}
  /// Null if the folder has none; data_error if it has one that can't be read.
  tokenizer const* get() const;
  /// The text of a token, `text_of_token`. A tokenizer of a kind that this build does not read counts as none here, so that a
  /// model can still be given token ids.
  std::string text(std::int32_t token) const;

 private:
  template <class>
  friend struct layout_of;
  void open() const;
  std::string folder_;
  mutable std::once_flag once_;
  mutable std::shared_ptr<tokenizer const> opened_;
  mutable std::string unread_;
};

/// The tokens that begin and end what a model generates.
struct generation_tokens {
  std::vector<std::int32_t> start;  ///< an encoder-decoder's decoder begins with these; empty: not said, or no such model
  std::vector<std::int32_t> stop;   ///< each of them ends a text
  std::optional<std::int32_t> bos, pad;
  std::vector<std::string> forced;   ///< keys that ask for tokens to be forced or forbidden, each with its file
  std::vector<std::string> remarks;  ///< what is passed over, one sentence each
};
/// What the files beside a checkpoint say: generation_config.json first, then config.json, key by key. Throws data_error for a
/// start outside the vocabulary; other tokens outside it never occur, and `remarks` reports them.
WAYFARER_API generation_tokens read_generation_tokens(hf_config const&, std::size_t vocabulary);

/// A model that was read from others' files tells of them. A model plugin may implement this beside `model`; it is found by
/// dynamic_cast.
struct WAYFARER_API pretrained {
  virtual ~pretrained();
  /// Reads the headers of its files and no weights, and throws what `load`, and a forward pass up to these hooks, would throw of
  /// them. `check` calls it; by one thread, before `load`.
  virtual void look(hook_set const& needed) = 0;
  /// What a user should know, one sentence each: where the files contradict each other, what of them nothing reads. Complete
  /// after `load`; after `look` as far as headers tell, before it what the configuration tells.
  virtual std::vector<std::string> remarks() const = 0;
  /// As `read_generation_tokens` found them.
  virtual generation_tokens const& generation() const = 0;
};

/// The one place that `generate`, runs and probes ask: what the model's files say, and where they say nothing its tokenizer. A
/// decoder without decoder_start_token_id begins with the files' bos_token_id, else with the padding token, else with 0.
WAYFARER_API generation_tokens generation_tokens_of(model const&);
/// Throws usage_error, naming them, if the model's files ask for tokens to be forced or forbidden, which nothing here does.
WAYFARER_API void refuse_forced_tokens(model const&);

/// A batch of the items' own tokens and types, or of their texts through the tokenizer, each cut to `options.max_tokens` and to
/// what the model can read; `uncut` has the lengths before. A text that is cut keeps its last token if that stands for its end
/// ("</s>", "[SEP]"); of a pair the longer text is cut first. Throws usage_error if the items have neither, or texts and the
/// model has no tokenizer, or pairs and the tokenizer reads none; data_error for a token outside the vocabulary, and for a text
/// that is not UTF-8.
WAYFARER_API batch encode_items(item_block const&, encode_options const&, model_info const&, tokenizer const*);
/// Throws usage_error if the items have token types: for models that look none up.
WAYFARER_API void refuse_token_types(item_block const&, model_info const&);
/// Throws usage_error, with what to do, if there is no tokenizer for texts to go through.
WAYFARER_API void require_tokenizer(model_info const&, tokenizer const*);
/// Whether an id is a token's: a vocabulary may have gaps, and an embedding more rows than the tokenizer has tokens.
WAYFARER_API bool has_token(tokenizer const&, std::int32_t id) noexcept;
/// The tokenizer's text of a token; "<17>" if it has none.
WAYFARER_API std::string text_of_token(tokenizer const*, std::int32_t token);

/// What `layer` makes of x: [row, width], float32 or float64, as one item: [row, ...] of the same type, its second dimension
/// named `out`. Throws usage_error if x is of another shape.
WAYFARER_API tensor on_rows(tensor const& x, std::size_t width, std::string const& out,
                            std::function<rows(rows const&)> const& layer);

WAYFARER_LAYOUT(late_tokenizer, folder_, once_, opened_, unread_);
WAYFARER_LAYOUT(generation_tokens, start, stop, bos, pad, forced, remarks);
WAYFARER_INTERFACE_LAYOUT(pretrained, look, remarks, generation);

}  // namespace wayfarer
