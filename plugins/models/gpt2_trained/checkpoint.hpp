// A trained model as a Hugging Face checkpoint's folder: config.json, model.safetensors, and the tokenizer's files.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <wayfarer/tensor.hpp>
#include <wayfarer/tokenizer.hpp>

#include "net.hpp"

namespace wayfarer::gpt2_training {

/// Makes the folder and writes into it; each file appears whole, config.json last. `words`: null if the model reads no texts.
/// `type`: of the stored weights, f16 or f32. Throws resource_error, and usage_error for weights beyond float16's range.
void write_checkpoint(std::string const& folder, net_shape const&, std::vector<std::pair<std::string, tensor>> const& weights,
                      tokenizer const* words, dtype type);

}  // namespace wayfarer::gpt2_training
