// Shared by models of one stack of blocks with a head over tokens: what each of them is, beside its forward pass.
//
// A model derives from it (gpt2_model, decoder_model, recurrent_model). Constructed before any weight is read; immutable once
// loaded, any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <wayfarer/model.hpp>
#include <wayfarer/vocabulary.hpp>
#include <wayfarer/weights.hpp>

namespace wayfarer {

struct one_stack_model : model, unembeds_tokens {
  /// `find_tokenizer` is asked each time and may give null.
  one_stack_model(weight_table weights, std::function<tokenizer const*()> find_tokenizer)
      : weights_(std::move(weights)), find_tokenizer_(std::move(find_tokenizer)) {}

  model_info const& info() const override { return info_; }
  tokenizer const* text_tokenizer() const override { return find_tokenizer_(); }
  tensor weight(std::string_view name) const override { return weights_.weight(name); }
  batch encode(item_block const&, encode_options const&) const override;
  std::string token_text(std::int32_t token) const override;
  /// Of `info().d_model` numbers a row, to logits of `info().vocabulary` tokens.
  tensor unembed(tensor const& x) const override;

  /// The headers of a checkpoint alone: throws what loading it, and a pass where hooks are needed, would.
  void look_at(std::string const& path, hook_set const& needed);

 protected:
  weight_table weights_;
  model_info info_;

 private:
  std::function<tokenizer const*()> find_tokenizer_;
};

}  // namespace wayfarer
