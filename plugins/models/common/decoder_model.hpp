// The one transformer of all decoders: hooks, weights, forward pass and continued runs of a model that decoder_spec describes.
//
// An attention layer is four parts: project (queries, keys, values), position (norms of the heads, rotation), cache, attend. A
// model without queries and keys has another mixer in that place (mixing.hpp). A
// difference between families is a choice in the description, never a branch on a name. Constructed before any weight is read;
// `take` brings the weights in, once. From then on immutable, for any number of threads.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/differentiable.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/mixing.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/rotary.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/weights.hpp>

#include "decoder_spec.hpp"
#include "one_stack.hpp"
#include "prefix_states.hpp"

namespace wayfarer {

struct decoder_model : one_stack_model, differentiable_model {
  decoder_model(decoder_spec, std::function<tokenizer const*()> find_tokenizer);

  /// The weights of a checkpoint's folder or file, mapped, or tensors in memory under their names in one.
  void take(std::string const& path);
  void take(std::string const& what, std::map<std::string, tensor> const& tensors);
  /// The same of tensors whose numbers change between passes, as they do in training: nothing of them is kept.
  void watch(std::string const& what, std::map<std::string, tensor> const& tensors);
  /// What a user should know of the checkpoint, one sentence each.
  std::vector<std::string> remarks_on_files(hf_config const&) const;

  decoder_spec const& spec() const noexcept { return spec_; }
  activations run(batch const&, run_request const&) const override;
  std::unique_ptr<continued_run> begin(batch const&, run_request const&, activations* captured) const override;
  tensor final_norm(tensor const& x) const override;
  rows unembed_tokens(rows const& x, std::size_t first, std::size_t last) const override;
  gradients differentiate(batch const&, gradient_request const&) const override;

 private:
  struct block {
    norm_weights ln1, ln2, ln1_post, ln2_post, q_norm, k_norm;
    linear_weights q, k, v, qkv, o;
    mixing_options mixing;
    mlp_weights mlp;
  };
  /// What all layers of one pass share.
  struct pass {
    run_request const& request;
    std::vector<rows> angles;  // of each rotation
    position_bias bias;
    std::vector<key_values>* past;
  };

  void tell_rotation();
  void find_parts();
  void keep_parts();
  /// Whether queries, keys and values come out of one product in turns, and must be taken apart.
  bool interleaved() const { return spec_.fused == fused_rows::per_head || spec_.fused == fused_rows::per_group; }
  void split(linear_weights const& all, block&) const;
  linear_weights linear(std::string_view part, std::string const& stored) const;
  norm_weights norm(std::string const& stored, bool bias) const;
  mixing_options mixing_of(std::size_t layer) const;
  rows norm(rows const& x, norm_weights const&, tap_scope const& at) const;
  void check_positions(row_packing const&, std::vector<key_values> const* past) const;

  pass_end forward(batch const&, run_request const&, taps& at, std::vector<key_values>* past) const;
  rows embedding(batch const&, std::shared_ptr<row_packing const> const&, run_request const&, taps& at) const;
  std::array<rows, 3> projected(block const&, rows const& x) const;
  rows attention(std::size_t layer, rows const& x, pass const&, tap_scope const& at) const;
  rows mixed(std::size_t layer, rows const& x, pass const&, tap_scope const& at) const;
  rows feed_forward(block const&, rows const& x, tap_scope const& at) const;
  /// What the head's matrix reads of a state.
  rows before_head(rows x) const { return spec_.has("project_in") ? wayfarer::linear(x, project_out_) : x; }
  /// Logits of tokens [first, last), of what `before_head` gives.
  rows head(rows x, std::size_t first, std::size_t last) const;
  rows added(rows x) const { return spec_.residual_scale == 1 ? std::move(x) : scaled(std::move(x), spec_.residual_scale); }

  decoder_spec spec_;
  tensor token_table_, position_table_;
  norm_weights embed_ln_, ln_final_;
  linear_weights project_in_, project_out_, unembed_;
  std::vector<std::shared_ptr<void const>> kept_{};             ///< while it lives, passes share packed weights
  std::unique_ptr<prefix_states> prefix_{};                     ///< of these weights
  std::vector<std::size_t> q_columns_, k_columns_, v_columns_;  // of a fused projection
  std::vector<block> blocks_;
};

}  // namespace wayfarer
