// The shape of a decoder that learns: what the plugin's parameters say, its description for the shared forward pass, its
// parameters, and its config.json.
//
// Used by the plugin, its tests and benchmarks, on one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/json.hpp>

#include "models/common/decoder_model.hpp"
#include "models/common/decoder_spec.hpp"
#include "models/common/training/net.hpp"
#include "models/common/training/trained_model.hpp"

namespace wayfarer::decoder_training {

/// Words are those of config.json.
struct shape {
  std::size_t layers = 2, heads = 2, kv_heads = 2, d_model = 32, d_mlp = 128, vocabulary = 256, context = 32;
  std::string position = "learned";  ///< learned, rotary, alibi, none
  double rope_theta = 10'000;
  std::string mixer = "attention";  ///< attention, mean, window, conv, position
  std::size_t window = 0;           ///< of window and conv; else 0
  std::string norm = "rms";         ///< rms, layer
  double epsilon = 1e-5;
  bool gated = true, tied = true;
  bool biases = false;  ///< of the blocks' matrices and of LayerNorm
  std::string activation = "silu";
};

/// Throws usage_error, naming the parameters, for sizes and kinds that do not go together.
void check(shape const&);

/// The model, as the family wayfarer_decoder of the plugin `decoder` describes it.
decoder_spec spec_of(shape const&);

/// In the order of the array, under the names of decoder_spec. Matrices and tables start N(0, 0.02^2), those that write to the
/// residual stream over sqrt(2 layers), norms 1, biases 0, the weights of `mixer: conv` N(1 / distances, 0.02^2).
std::vector<language_training::parameter> parameters_of(shape const&);

/// Of the start's random numbers.
inline constexpr char start_stream[] = "decoder start";

/// config.json, without what the saving of a checkpoint adds.
json_value config_of(shape const&);
/// The checkpoint's name of a parameter.
std::string stored_name(std::string const& parameter);

/// A model without weights; `words` may be null.
std::shared_ptr<language_training::state_of<decoder_model>> make_model(
    shape const&, std::shared_ptr<language_training::vocabulary const> words);

/// For tests and benchmarks: what learns, its parameters zeros.
template <class T>
language_training::net<T> net_of(shape const&);

extern template language_training::net<float> net_of(shape const&);
extern template language_training::net<double> net_of(shape const&);

}  // namespace wayfarer::decoder_training
