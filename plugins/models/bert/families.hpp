// The table of encoder families: what config.json of each model_type comes down to, and how its checkpoints call the tensors.
//
// The plugin's constructor asks once. To add a family, write an entry in families.cpp: its model_type, its names of the tensors
// and of the keys, and what differs from BERT. Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>

namespace wayfarer::encoder {

/// One encoder: what its configuration says.
struct encoder_spec {
  std::string architecture;
  std::string_view prefix;  ///< in front of its tensors: "roberta"
  std::size_t layers = 0, heads = 0, d_model = 0, d_head = 0, d_mlp = 0, vocabulary = 0, positions = 0;
  std::size_t types = 0;    ///< of tokens; 0: this family has none
  std::size_t d_embed = 0;  ///< of the three tables, the norm behind them and the head
  bool projected = false;   ///< a matrix [d_embed, d_model] stands behind that norm
  /// RoBERTa numbers its positions from the padding token's number on, and by the tokens that are no padding.
  std::size_t first_position = 0;
  std::int32_t pad = -1;  ///< the padding token, if positions do not count it
  double epsilon = 0;
  bool tied = true;
  activation act = activation::gelu_erf, head_act = activation::gelu_erf;
  std::string act_name;
  /// Layers that share one set of weights, as ALBERT's do: the layers stand in so many groups, each of `inner` sets that follow
  /// each other. 0: every layer has weights of its own.
  std::size_t groups = 0, inner = 1;

  /// Checkpoint's names of the parts, without the wrappers in front: project, block, q, k, v, o, ln1, up, down, ln2, head_dense,
  /// head_ln, unembed, head_bias.
  std::map<std::string, std::string, std::less<>> names;
  std::string const& stored(std::string_view part) const { return names.find(part)->second; }
  /// "encoder.layer.3.attention.self.query".
  std::string stored(std::string_view part, std::size_t layer) const;
  bool in_head(std::string_view stored_name) const;
  dim embed_dim() const { return {d_embed == d_model ? "d_model" : "d_embed", d_embed}; }
};

/// Every model_type that is read.
std::initializer_list<std::string_view> model_types();
/// What stands in front of the tensors of the families: "bert", "roberta", ...
bool is_prefix(std::string_view name);
/// The model that this configuration describes. Throws data_error for a key out of range.
encoder_spec describe(hf_config const&);

}  // namespace wayfarer::encoder
