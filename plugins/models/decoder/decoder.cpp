// Any decoder-only model from a Hugging Face folder as it is, recognised by model_type in config.json: Llama, Mistral, Qwen,
// Gemma, Phi, GPT-NeoX, GPT-J, GPT-Neo, OPT, BLOOM, Falcon and others. `families.cpp` has the table.
//
//     model: {model: decoder, path: folder}
#include <string>
#include <vector>

#include <wayfarer/hf_config.hpp>
#include <wayfarer/pretrained.hpp>

#include "families.hpp"
#include "models/common/decoder_model.hpp"

namespace wf = wayfarer;

namespace {

struct decoder final : wf::decoder_model, wf::pretrained {
  explicit decoder(wf::config const& c)
      : decoder(c["path"].text(), wf::hf_config::open_family(c["path"].text(), wf::decoder::model_types())) {}
  void load() override { take(path_); }
  void look(wf::hook_set const& needed) override { look_at(path_, needed); }
  wf::generation_tokens const& generation() const override { return generation_; }
  std::vector<std::string> remarks() const override {
    auto all = config_.remarks();
    for (auto const& more : {generation_.remarks, remarks_on_files()}) all.insert(all.end(), more.begin(), more.end());
    return all;
  }

 private:
  decoder(std::string const& path, wf::hf_config const& c)
      : wf::decoder_model(wf::decoder::describe(c), [this] { return tokenizer_.get(); }),
        path_(path),
        config_(c),
        generation_(wf::read_generation_tokens(c, info().vocabulary)),
        tokenizer_(c.folder()) {}

  std::string path_;
  wf::hf_config config_;
  wf::generation_tokens generation_;
  wf::late_tokenizer tokenizer_;
};

}  // namespace

WAYFARER_MODEL(
    decoder, "1.0.0",
    "Any decoder-only model from a Hugging Face checkpoint folder: Llama, Mistral, Qwen, Gemma, Phi, Pythia and others",
    wf::param::file("path", "",
                    "folder with config.json, model.safetensors and the tokenizer's files, or a name in Hugging Face's cache")
        .required());
