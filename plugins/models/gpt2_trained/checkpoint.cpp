#include "checkpoint.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/safetensors.hpp>

namespace wayfarer::gpt2_training {
namespace {

/// UTF-8 of a code point below 2,048.
std::string utf8(unsigned c) {
  if (c < 128) return {static_cast<char>(c)};
  return {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
}

/// vocab.json of the bytes alone, each under GPT-2's printable stand-in.
std::string byte_vocabulary() {
  auto vocabulary = json_value::object();
  unsigned stand_in = 256;
  for (unsigned b = 0; b < 256; ++b) {
    bool const printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    vocabulary.set(utf8(printable ? b : stand_in++), b);
  }
  return to_json(vocabulary) + "\n";
}

}  // namespace

void write_checkpoint(std::string const& folder, net_shape const& s, std::vector<std::pair<std::string, tensor>> const& weights,
                      tokenizer const* words, dtype type) {
  std::filesystem::path const to(folder);
  std::error_code failed;
  std::filesystem::create_directories(to, failed);
  if (failed) throw resource_error(folder + ": " + failed.message() + "; name another folder in train.save");
  remove_litter(folder, [&](std::string_view name) {
    auto const copied = [&](std::string const& file) { return std::filesystem::path(file).filename().string() == name; };
    return name == "config.json" || name == "model.safetensors" || name == "vocab.json" || name == "merges.txt" ||
           (words && std::any_of(words->files().begin(), words->files().end(), copied));
  });
  if (words && words->files().empty()) {
    write_file_atomically((to / "vocab.json").string(), byte_vocabulary());
    write_file_atomically((to / "merges.txt").string(), "#version: 0.2\n");
  } else if (words) {
    for (auto const& file : words->files()) {
      auto const copy = to / std::filesystem::path(file).filename();
      if (std::filesystem::exists(copy) && std::filesystem::equivalent(copy, file)) continue;
      write_file_atomically(copy.string(), read_text(file, tokenizer_limits.bytes));
    }
  }
  std::vector<std::pair<std::string, tensor>> stored;
  for (auto const& [name, t] : weights) {
    if (type == dtype::f16) {
      tensor const wide = t.to(dtype::f64);
      for (double const x : wide.values<double const>())
        if (!(std::abs(x) < 65'520))
          throw usage_error("gpt2_trained: " + name + " holds " + std::to_string(x) +
                            ", beyond float16; set train.save_as to f32");
    }
    stored.emplace_back((name == "lm_head.weight" ? "" : "transformer.") + name, t.to(type));
  }
  write_safetensors((to / "model.safetensors").string(), stored, {{"format", "pt"}});
  auto config = json_value::object({{"architectures", json_value::array({"GPT2LMHeadModel"})},
                                    {"model_type", "gpt2"},
                                    {"n_layer", s.layers},
                                    {"n_head", s.heads},
                                    {"n_embd", s.d_model},
                                    {"n_inner", s.d_mlp},
                                    {"n_positions", s.positions},
                                    {"n_ctx", s.positions},
                                    {"vocab_size", s.vocabulary},
                                    {"activation_function", s.act == activation::gelu_erf ? "gelu" : "gelu_new"},
                                    {"layer_norm_epsilon", s.epsilon},
                                    {"initializer_range", 0.02},
                                    {"attn_pdrop", 0.0},
                                    {"embd_pdrop", 0.0},
                                    {"resid_pdrop", 0.0},
                                    {"tie_word_embeddings", s.tied},
                                    {"torch_dtype", type == dtype::f16 ? "float16" : "float32"}});
  if (words && words->special().eos) config.set("bos_token_id", *words->special().eos).set("eos_token_id", *words->special().eos);
  write_file_atomically((to / "config.json").string(), to_json(config, 1) + "\n");
}

}  // namespace wayfarer::gpt2_training
