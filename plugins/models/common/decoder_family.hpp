// One family of decoders as a table entry, and the model plugin that reads a Hugging Face folder by it.
//
// The bundled plugin `decoder` has a table of them. A plugin of your own has one entry of its own: link
// `wayfarer::decoder_family`, which brings this header, and derive from family_model (docs/decoder.md shows it whole). Plain
// values; the model is constructed by one thread and immutable once loaded.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/pretrained.hpp>

#include "decoder_model.hpp"
#include "decoder_positions.hpp"
#include "decoder_spec.hpp"

namespace wayfarer::decoder {

/// One family. Defaults are Llama's.
struct family {
  std::string_view type;   ///< model_type
  std::string_view names;  ///< "embed=embed_tokens block=layers.{}. ...": see decoder_spec::names
  bool rms = true;
  std::string_view act_key = "hidden_act", act = "silu";
  std::string_view epsilon_key = "rms_norm_eps";
  double epsilon = 1e-6;
  bool tied = false;
  bool gated = true;
  std::string_view biases = " ";
  std::size_t kv_heads = 0;  ///< where the configuration does not say: 0: as many as heads
  std::size_t d_head = 0;    ///< the same; 0: hidden_size over heads
  bool four_times = false;   ///< the MLP is 4 times as wide where the configuration does not say
  /// What the configuration decides beyond sizes, and what the family does otherwise than Llama. Positions are read here;
  /// without it they are Llama's.
  void (*more)(hf_config const&, decoder_spec&) = nullptr;
};

/// The model that a configuration of this family describes. Throws data_error for a key out of range, and for one that changes
/// numbers and is not followed.
decoder_spec describe(hf_config const&, family const&);

/// A decoder of a Hugging Face folder.
struct family_model : decoder_model, pretrained {
  /// `describe` makes a model of a configuration with one of these model_types.
  family_model(std::string const& path, std::span<std::string_view const> model_types,
               std::function<decoder_spec(hf_config const&)> const& describe);
  /// The same of a single family; "path" is the plugin's parameter.
  family_model(config const& c, family const& f)
      : family_model(c["path"].text(), {&f.type, 1}, [&f](hf_config const& h) { return decoder::describe(h, f); }) {}

  void load() override { take(path_); }
  void look(hook_set const& needed) override { look_at(path_, needed); }
  generation_tokens const& generation() const override { return generation_; }
  std::vector<std::string> remarks() const override;

 private:
  family_model(std::string const& path, hf_config const&, std::function<decoder_spec(hf_config const&)> const& describe);
  std::string path_;
  hf_config config_;
  generation_tokens generation_;
  late_tokenizer tokenizer_;
};

}  // namespace wayfarer::decoder
