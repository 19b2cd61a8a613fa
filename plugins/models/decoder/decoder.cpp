// Any decoder-only model from a Hugging Face folder as it is, recognised by model_type in config.json: Llama, Mistral, Qwen,
// Gemma, Phi, GPT-NeoX, GPT-J, GPT-Neo, OPT, BLOOM, Falcon and others. `families.cpp` has the table.
//
//     model: {model: decoder, path: folder}
#include <wayfarer/hf_config.hpp>

#include "families.hpp"
#include "models/common/decoder_family.hpp"

namespace wf = wayfarer;

namespace {

struct decoder final : wf::decoder::family_model {
  explicit decoder(wf::config const& c)
      : wf::decoder::family_model(c["path"].text(), wf::decoder::model_types(),
                                  [](wf::hf_config const& h) { return wf::decoder::describe(h); }) {}
};

}  // namespace

WAYFARER_MODEL(
    decoder, "1.0.0",
    "Any decoder-only model from a Hugging Face checkpoint folder: Llama, Mistral, Qwen, Gemma, Phi, Pythia and others",
    wf::param::file("path", "",
                    "folder with config.json, model.safetensors and the tokenizer's files, or a name in Hugging Face's cache")
        .required());
