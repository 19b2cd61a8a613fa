// A family of decoders that Wayfarer does not know, as a plugin of one's own.
//
//     model: {model: own_decoder, path: folder}
#include <models/common/decoder_family.hpp>

namespace wf = wayfarer;

namespace {

constexpr wf::decoder::family parrot{
    .type = "parrot",
    .names =
        "embed=tokens block=perch.{}. ln1=calm qkv=listen.mix o=listen.back up=talk.open down=talk.close final=last head=say",
    .rms = false,
    .act_key = "voice",
    .act = "gelu",
    .epsilon_key = "calm_eps",
    .epsilon = 1e-5,
    .gated = false,
    .biases = " qkv up ",
    .more = [](wf::hf_config const& c, wf::decoder_spec& s) {
      s.norm_bias = true, s.form = wf::residual_form::parallel, s.fused = wf::fused_rows::per_group;
      s.logit_scale = c.number("loudness", 1e-6, 1e6, 1);
      wf::decoder::read_rotary(c, s, {.theta = 500, .part = 0.5, .pairs = true});
    }};

struct own_decoder final : wf::decoder::family_model {
  explicit own_decoder(wf::config const& c) : wf::decoder::family_model(c, parrot) {}
};

}  // namespace

WAYFARER_MODEL(own_decoder, "1.0.0", "Parrots, from a Hugging Face checkpoint folder",
               wf::param::file("path", "", "folder with config.json and model.safetensors").required());
