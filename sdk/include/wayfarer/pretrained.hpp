// What the plugins of pretrained models share beside the layers: tokens in, token texts out, a layer on a bare tensor.
//
// Free functions; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <wayfarer/export.hpp>
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

 private:
  std::string folder_;
  mutable std::once_flag once_;
  mutable std::shared_ptr<tokenizer const> opened_;
};

/// The items' own tokens, or their texts through the tokenizer, each cut to `options.max_tokens` and to what the model can read.
/// A text that is cut keeps its last token if that stands for its end ("</s>", "[SEP]"). Throws usage_error if the items have
/// neither, or texts and the model has no tokenizer, and data_error for a token outside the vocabulary.
WAYFARER_API ragged<std::int32_t> encode_items(item_block const&, encode_options const&, model_info const&, tokenizer const*);
/// The tokenizer's text of a token; "<17>" if it has none, as an embedding may have more rows than the tokenizer has tokens.
WAYFARER_API std::string text_of_token(tokenizer const*, std::int32_t token);

/// What `layer` makes of x: [row, width], float32 or float64, as one item: [row, ...] of the same type, its second dimension
/// named `out`. Throws usage_error if x is of another shape.
WAYFARER_API tensor on_rows(tensor const& x, std::size_t width, std::string const& out,
                            std::function<rows(rows const&)> const& layer);

}  // namespace wayfarer
