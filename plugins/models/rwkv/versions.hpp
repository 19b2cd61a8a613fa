// What one RWKV is, as numbers and names: its version, its sizes, and where its tensors lie. Peng et al. 2023 (4), 2024 (5, 6),
// 2025 (7).
//
// The plugin's constructor makes it of a configuration or of a file's header; hooks, weights and the forward pass follow from it.
// Plain values and free functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/hf_config.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/tensor.hpp>
#include <wayfarer/weights.hpp>

namespace wayfarer::rwkv {

enum class version { v4, v5_1, v5_2, v6, v7 };
std::string_view name_of(version) noexcept;  ///< "4", "5.1", ...

/// How a stored decay or bonus becomes the number that the recurrence uses.
enum class stored_as {
  log_log,   ///< decay e^-e^x; bonus x, in 5.1 e^x
  negative,  ///< rwkv.cpp's RWKV-4: -e^x is stored, the logarithm of the decay
  value,     ///< rwkv.cpp's RWKV-5: the number itself
};

struct spec {
  version of = version::v4;
  std::size_t layers = 0, d_model = 0, d_attn = 0, d_mlp = 0, vocabulary = 0;
  std::size_t heads = 1, d_head = 0;  ///< RWKV-4: one head of all channels
  /// Ranks: of the mixtures (6), decay (6, 7), and of rate, values and gate (7).
  std::size_t rank_mix = 0, rank_decay = 0, rank_rate = 0, rank_value = 0, rank_gate = 0;
  double epsilon = 1e-5, group_epsilon = 1e-5;
  bool tied = false;
  stored_as decay = stored_as::log_log, bonus = stored_as::log_log;

  bool heads_of_keys() const noexcept { return of != version::v4; }
  bool gated() const noexcept { return of != version::v4 && of != version::v5_1; }
};

/// Every model_type that is read.
std::vector<std::string_view> model_types();
/// Throws data_error for a key out of range, or one that changes numbers and is not followed.
spec describe(hf_config const&);

/// One tensor of a layer (or, with `layer` npos, of the whole model) under a short name.
struct part {
  std::string_view name;  ///< "mix_k"
  std::string stored;     ///< "blocks.#.attention.time_mix_key", # for the layer
  dims shape;             ///< as Hugging Face's folders hold it
  bool of_layer = true;
  std::size_t from_layer = 0;  ///< RWKV-7: the first layer takes no earlier values
};
std::vector<part> parts_of(spec const&);
std::string stored_name(part const&, std::size_t layer);

/// The hooks in the order in which a forward pass reaches them.
std::vector<hook_info> list_hooks(spec const&);
/// Where every weight lies. Tensors of an rwkv.cpp file are brought into the same names and shapes.
weight_table list_weights(spec const&);

/// Logarithm of each channel's decay, float64, [d_attn]; of a stored decay that does not depend on the token.
tensor log_decay(spec const&, tensor const& stored);
/// What the present token's value counts by: [d_attn], float64.
tensor bonus(spec const&, tensor const& stored);

}  // namespace wayfarer::rwkv
