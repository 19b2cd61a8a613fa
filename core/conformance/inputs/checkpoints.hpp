// Small checkpoints of two layers with random weights, in Hugging Face's layout: one description for each family, one writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/json.hpp>

namespace wayfarer::host::conformance {

struct drawn_weight {
  std::string name;
  std::vector<std::size_t> sizes;
  double mean, deviation;
};

struct checkpoint {
  std::string folder;
  std::vector<drawn_weight> weights;  ///< in the order in which they are drawn
  json_value config;
  std::vector<std::pair<std::string, std::string>> texts = {};  ///< names and contents of the tokenizer's files
};

checkpoint gpt2_checkpoint();
checkpoint llama_checkpoint();
checkpoint neox_checkpoint();
checkpoint gemma2_checkpoint();
checkpoint t5_checkpoint();
checkpoint bert_checkpoint();

/// Returns its folder within `in`. Writes nothing if it is there.
std::filesystem::path write_checkpoint(std::filesystem::path const& in, checkpoint const&, std::uint64_t seed);

}  // namespace wayfarer::host::conformance
