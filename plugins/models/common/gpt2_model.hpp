// GPT-2's forward pass, weights and hooks, shared by the plugins gpt2 (a checkpoint's folder) and gpt2_trained (a model that is
// trained). Radford et al. 2019.
//
// Constructed from a shape, before any weight is read; `take` brings the weights in, once. From then on immutable, for any number
// of threads.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/differentiable.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/weights.hpp>

#include "one_stack.hpp"
#include "prefix_states.hpp"

namespace wayfarer {

/// What config.json says.
struct gpt2_shape {
  std::size_t layers = 0, heads = 0, d_model = 0, d_head = 0, d_mlp = 0, vocabulary = 0, positions = 0;
  double epsilon = 0;
  bool scaled = true, scaled_by_layer = false, tied = true;

  static gpt2_shape read(hf_config const&);
  double attention_scale(std::size_t layer) const;
};

struct gpt2_model : one_stack_model, differentiable_model {
  /// `activation_name` is Hugging Face's.
  gpt2_model(gpt2_shape const&, activation, std::string activation_name, std::function<tokenizer const*()> find_tokenizer);

  /// The weights of a checkpoint's folder or file, mapped, or tensors in memory under their names in one.
  void take(std::string const& path);
  void take(std::string const& what, std::map<std::string, tensor> const& tensors);
  /// The same of tensors whose numbers change between passes, as they do in training: nothing of them is kept.
  void watch(std::string const& what, std::map<std::string, tensor> const& tensors);

  /// What a user should know of the checkpoint, one sentence each.
  std::vector<std::string> remarks_on_files(hf_config const&) const;

  gpt2_shape const& shape() const noexcept { return shape_; }
  activations run(batch const&, run_request const&) const override;
  std::unique_ptr<continued_run> begin(batch const&, run_request const&, activations* captured) const override;
  tensor final_norm(tensor const& x) const override;
  rows unembed_tokens(rows const& x, std::size_t first, std::size_t last) const override;
  gradients differentiate(batch const&, gradient_request const&) const override;

  /// One pass; `past`, unless null, has a layer's keys and values each and receives the new ones.
  pass_end forward(batch const&, run_request const&, taps& at, std::vector<key_values>* past) const;

 private:
  struct block {
    norm_weights ln1;
    attention_weights attn;
    double scale;
    norm_weights ln2;
    mlp_weights mlp;
  };
  void find_parts();
  void keep_parts();
  linear_weights linear(std::string const& stored) const;
  norm_weights norm(std::string const& stored) const;

  gpt2_shape shape_;
  activation gelu_;
  tensor token_table_, position_table_;
  std::vector<block> blocks_;
  norm_weights ln_final_;
  linear_weights unembed_;
  std::vector<std::shared_ptr<void const>> kept_{};  ///< while it lives, passes share packed weights
  std::unique_ptr<prefix_states> prefix_{};          ///< of these weights
};

}  // namespace wayfarer
