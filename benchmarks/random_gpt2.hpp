// A GPT-2 of any shape with random weights, in Hugging Face's layout: what benchmarks of speed need.
//
// Used by the benchmarks' main thread. The weights depend on the names alone.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/file.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/safetensors.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::bench {

struct gpt2_shape {
  std::size_t layers = 12, width = 768, vocabulary = 50257, positions = 1024;
};

/// Writes config.json and model.safetensors into a folder that is there. Heads are 64 wide.
inline void write_random_gpt2(std::filesystem::path const& to, gpt2_shape const& s) {
  write_file_atomically((to / "config.json").string(),
                        R"({"model_type": "gpt2", "n_layer": )" + std::to_string(s.layers) + R"(, "n_head": )" +
                            std::to_string(s.width / 64) + R"(, "n_embd": )" + std::to_string(s.width) + R"(, "n_positions": )" +
                            std::to_string(s.positions) + R"(, "vocab_size": )" + std::to_string(s.vocabulary) +
                            R"(, "activation_function": "gelu_new"})");
  std::vector<std::pair<std::string, tensor>> all;
  auto const add = [&](std::string const& name, dims const& shape, float mean, float spread) {
    tensor const t(dtype::f32, shape);
    auto const v = t.values<float>();
    constexpr std::size_t piece = 1 << 16;
    parallel_for((v.size() + piece - 1) / piece, [&](std::size_t p) {
      random_stream draw(0, name, p);
      for (std::size_t i = p * piece; i < std::min(v.size(), (p + 1) * piece); ++i)
        v[i] = mean + spread * (2 * draw.uniform_float() - 1);
    });
    all.emplace_back(name, t);
  };
  add("wte.weight", {{"token", s.vocabulary}, {"d_model", s.width}}, 0, 0.035f);
  add("wpe.weight", {{"pos", s.positions}, {"d_model", s.width}}, 0, 0.02f);
  auto const norm = [&](std::string const& name) {
    add(name + ".weight", {{"d_model", s.width}}, 1, 0.1f), add(name + ".bias", {{"d_model", s.width}}, 0, 0.05f);
  };
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const p = "h." + std::to_string(i) + ".";
    auto const linear = [&](char const* name, std::size_t in, std::size_t out) {
      add(p + name + ".weight", {{"in", in}, {"out", out}}, 0, 0.035f), add(p + name + ".bias", {{"out", out}}, 0, 0.02f);
    };
    norm(p + "ln_1"), norm(p + "ln_2");
    linear("attn.c_attn", s.width, 3 * s.width), linear("attn.c_proj", s.width, s.width);
    linear("mlp.c_fc", s.width, 4 * s.width), linear("mlp.c_proj", 4 * s.width, s.width);
  }
  norm("ln_f");
  write_safetensors((to / "model.safetensors").string(), all);
}

}  // namespace wayfarer::bench
