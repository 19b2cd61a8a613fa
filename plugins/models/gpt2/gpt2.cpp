// GPT-2 from a Hugging Face checkpoint folder as it is: GPT-2 of any size, distilgpt2, Cerebras-GPT, nanoGPT exports.
// Radford et al. 2019.
//
//     model: {model: gpt2, path: folder}
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/pretrained.hpp>

#include "models/common/gpt2_model.hpp"

namespace wf = wayfarer;

namespace {

wf::activation choose_gelu(std::string const& wish, wf::hf_config const& c) {
  c.find("activation_function");  // read, or set aside on purpose
  if (wish == "tanh") return wf::activation::gelu_tanh;
  if (wish == "erf") return wf::activation::gelu_erf;
  try {
    return wf::activation_of(c.text("activation_function", "gelu_new"));
  } catch (wf::usage_error const& e) {
    c.json().at("activation_function").fail(e.what());
  }
}

std::string name_of_gelu(std::string const& wish, wf::hf_config const& c) {
  if (wish == "tanh") return "gelu_new";
  if (wish == "erf") return "gelu";
  return c.text("activation_function", "gelu_new");
}

struct gpt2 final : wf::gpt2_model, wf::pretrained {
  explicit gpt2(wf::config const& c) : gpt2(c["path"].text(), c["gelu"].text()) {}
  void load() override { take(path_); }
  void look(wf::hook_set const& needed) override { look_at(path_, needed); }
  wf::generation_tokens const& generation() const override { return generation_; }
  std::vector<std::string> remarks() const override {
    auto all = config_.remarks();
    if (auto const n = config_.find("n_ctx"); n && n->as_integer() != static_cast<std::int64_t>(info().longest))
      all.push_back(config_.path() + ": n_ctx is " + wf::to_json(*n) + " and n_positions " + std::to_string(info().longest) +
                    "; n_positions is followed");
    for (auto const& more : {generation_.remarks, remarks_on_files(config_)}) all.insert(all.end(), more.begin(), more.end());
    return all;
  }

 private:
  gpt2(std::string const& path, std::string const& gelu) : gpt2(path, gelu, wf::hf_config::open(path, {"gpt2"})) {}
  gpt2(std::string const& path, std::string const& gelu, wf::hf_config const& c)
      : wf::gpt2_model(wf::gpt2_shape::read(c), choose_gelu(gelu, c), name_of_gelu(gelu, c), [this] { return tokenizer_.get(); }),
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
    gpt2, "1.0.0", "GPT-2 from a Hugging Face checkpoint folder",
    wf::param::file("path", "",
                    "folder with config.json, model.safetensors and the tokenizer's files, or a name in Hugging Face's cache")
        .required(),
    wf::param("gelu", "auto", "auto: what config.json's activation_function says; or its tanh or erf form")
        .one_of("auto|tanh|erf"));
