// A T5 model's description from config.json, and the places of its weights: everything that is known before they are read.
//
// Made once by the plugin's constructor. T5 v1.0 (ReLU, head tied to the embedding), v1.1, Flan-T5, mT5 (gated GELU, head of its
// own) and UL2 (gated SiLU) differ in nothing else. Which head there is, the checkpoint decides: its own where it has one, else
// the embedding.
#pragma once

#include <string>

#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/weights.hpp>

#include "buckets.hpp"

namespace wayfarer::t5 {

struct layout {
  explicit layout(hf_config const&);

  model_info info;
  weight_table weights;  ///< not loaded
  bucket_rule encoder_buckets, decoder_buckets;
  bool gated = false, tied = true;
  bool scale_said = false;  ///< by scale_decoder_outputs itself
  activation act = activation::relu;
  double head_scale = 1;  ///< of the final state before the head: d_model^-0.5 where it is scaled

 private:
  void read_mlp(hf_config const&);
  void hooks();
  void places();
  /// The places of one MLP: `from` in the file, `to` in the common names.
  void place_mlp(std::string const& from, std::string const& to);
};

}  // namespace wayfarer::t5
