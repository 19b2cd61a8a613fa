// What a T5 checkpoint's config.json says of the model, and where its weights lie: everything that is known before they are read.
//
// Made once by the plugin's constructor. T5 v1.0 (ReLU, head tied to the embedding), v1.1, Flan-T5 and mT5 (gated GELU, head of
// its own) differ in nothing else.
#pragma once

#include <string>

#include <wayfarer/hf_config.hpp>
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
  double head_scale = 1;         ///< of the final state before the head: d_model^-0.5 where tied
  std::int32_t start_token = 0;  ///< the decoder's first

 private:
  void hooks();
  void places();
};

}  // namespace wayfarer::t5
