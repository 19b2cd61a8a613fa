// Shared by models of two stacks: an encoder reads the text, a decoder continues its start token and attends to the encoder's
// final states. Requests, batches, the checkpoint and continued runs are here; the two stacks themselves are the model's.
//
// A model plugin derives from it (t5, bart). Constructed before any weight is read; immutable once loaded, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/vocabulary.hpp>
#include <wayfarer/weights.hpp>

namespace wayfarer {

/// What the decoder has read so far: keys and values of each layer.
struct decoder_memory {
  std::vector<key_values> self, cross;
};

/// Rows of each item.
std::vector<std::size_t> lengths(row_packing const&);

struct two_stack_model : model, pretrained, unembeds_tokens {
  two_stack_model(std::string path, hf_config config)
      : path_(std::move(path)), config_(std::move(config)), tokenizer_(config_.folder()) {}

  tensor weight(std::string_view name) const override { return table().weight(name); }
  tokenizer const* text_tokenizer() const override { return tokenizer_.get(); }
  std::string token_text(std::int32_t token) const override { return tokenizer_.text(token); }
  void look(hook_set const& needed) override;
  /// What the configuration, the generation tokens and the files tell.
  std::vector<std::string> remarks() const override;

  batch encode(item_block const&, encode_options const&) const override;
  activations run(batch const&, run_request const&) const override;
  std::unique_ptr<continued_run> begin(batch const&, run_request const&, activations* captured) const override;
  tensor unembed(tensor const& x) const override;

  // ---- the stacks ----
  virtual weight_table const& table() const = 0;
  /// Token embeddings, as they enter a stack.
  virtual rows embed(ragged<std::int32_t> const&, std::shared_ptr<row_packing const> const&, dtype precision) const = 0;
  /// x: [token, d_model], the embeddings of all items, packed end to end. Unless the `whole` is needed for what follows, it stops
  /// when all that was asked for is captured.
  virtual rows encoder(rows x, taps&, bool whole) const = 0;
  /// `memory`: the encoder's final states, of which keys and values are made once: none of them where `past` has them already.
  virtual void decoder(rows x, rows const& memory, run_request const&, taps&, decoder_memory* past) const = 0;

 protected:
  std::string const& path() const noexcept { return path_; }
  hf_config const& config() const noexcept { return config_; }
  /// Throws data_error if the file has no matrix for logits: a head of its own, or the table that serves as one.
  void require_head() const;

 private:
  virtual weight_table& table_to_look() = 0;
  void check(batch const&, run_request const&, bool decodes) const;
  rows encoder_states(batch const&, run_request const&, taps&, bool whole) const;
  std::vector<std::int32_t> const& start_tokens() const;

  std::string path_;
  hf_config config_;
  late_tokenizer tokenizer_;
  mutable std::once_flag start_once_;
  mutable std::vector<std::int32_t> start_;  ///< what the decoder begins with where the items do not say
};

}  // namespace wayfarer
