// What a BART checkpoint's config.json says of the model, and where its weights lie: everything that is known before they are
// read.
//
// Made once by the plugin's constructor. The file decides whether the head is its own or the embedding.
#pragma once

#include <string>

#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/weights.hpp>

namespace wayfarer::bart {

struct layout {
  explicit layout(hf_config const&);

  model_info info;
  weight_table weights;  ///< not loaded
  bool tied = true;
  double embed_scale = 1;
  activation act = activation::gelu_erf;
  /// Rows of a position table before that of position 0: they were meant for padding.
  static constexpr std::size_t position_offset = 2;

 private:
  void read(hf_config const&);
  void hooks();
  void places();
};

/// "ln1" and so on: a decoder's block has one more, behind attention to the encoder.
inline std::string last_norm(bool encoder) {
  return encoder ? "ln2" : "ln3";
}

}  // namespace wayfarer::bart
