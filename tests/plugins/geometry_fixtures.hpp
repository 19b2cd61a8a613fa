// What the tests of the geometry probes share: toy GPT-2 checkpoints, random or with structure planted in them, and the weights
// as plain numbers.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <wayfarer/random.hpp>

#include "golden_models.hpp"

namespace wayfarer::test {

/// Sizes of a toy GPT-2.
struct toy_sizes {
  std::size_t layers = 2, d = 16, heads = 2, vocabulary = 50, positions = 12;
  bool scaled_by_layer = false;
  std::size_t width() const { return d / heads; }
};

/// Random weights in Hugging Face's names, with weights and biases that matter everywhere.
inline weights random_toy(toy_sizes const& s, std::uint64_t seed = 0) {
  weights all;
  auto const add = [&](std::string const& name, std::vector<std::size_t> shape, double mean, double sd) {
    std::size_t n = 1;
    for (auto const x : shape) n *= x;
    random_stream draw(seed, name);
    stored t{std::move(shape), std::vector<float>(n)};
    for (auto& x : t.values) x = static_cast<float>(mean + sd * draw.normal());
    all[name] = std::move(t);
  };
  add("wte.weight", {s.vocabulary, s.d}, 0.05, 0.3);
  add("wpe.weight", {s.positions, s.d}, 0, 0.1);
  for (std::size_t i = 0; i < s.layers; ++i) {
    auto const p = "h." + std::to_string(i) + ".";
    for (char const* norm : {"ln_1", "ln_2"}) add(p + norm + ".weight", {s.d}, 1, 0.3), add(p + norm + ".bias", {s.d}, 0, 0.3);
    for (auto const& [name, in, out] : {std::tuple{"attn.c_attn", s.d, 3 * s.d}, std::tuple{"attn.c_proj", s.d, s.d},
                                        std::tuple{"mlp.c_fc", s.d, 4 * s.d}, std::tuple{"mlp.c_proj", 4 * s.d, s.d}}) {
      add(p + name + ".weight", {in, out}, 0, 0.25);
      add(p + name + ".bias", {out}, 0, 0.3);
    }
  }
  add("ln_f.weight", {s.d}, 1, 0.3), add("ln_f.bias", {s.d}, 0, 0.3);
  return all;
}

inline std::string toy_config(toy_sizes const& s) {
  return to_json(json_value::object({{"model_type", "gpt2"},
                                     {"n_layer", s.layers},
                                     {"n_head", s.heads},
                                     {"n_embd", s.d},
                                     {"n_positions", s.positions},
                                     {"vocab_size", s.vocabulary},
                                     {"layer_norm_epsilon", 1e-5},
                                     {"scale_attn_by_inverse_layer_idx", s.scaled_by_layer},
                                     {"activation_function", "gelu_new"}}),
                 1);
}

/// A toy model on the disk and loaded; it has no tokenizer. `change` alters its random weights first.
struct toy {
  explicit toy(toy_sizes s = {}, std::function<void(weights&)> const& change = {}, std::uint64_t seed = 0) : sizes(s) {
    all = random_toy(s, seed);
    if (change) change(all);
    write_folder(folder, toy_config(s), all, "F32");
    m = open_model("gpt2", folder.path());
  }
  std::vector<double> w(std::string const& name) const { return {all.at(name).values.begin(), all.at(name).values.end()}; }

  toy_sizes sizes;
  weights all;
  scratch_folder folder;
  std::unique_ptr<model> m;
};

using vec = std::vector<double>;

/// LN(x) with its weight and bias; empty: 1 and 0.
inline vec layer_norm(vec const& x, vec const& weight = {}, vec const& bias = {}, double epsilon = 1e-5) {
  double mean = 0, square = 0;
  auto const d = static_cast<double>(x.size());
  for (double const v : x) mean += v / d;
  for (double const v : x) square += (v - mean) * (v - mean) / d;
  vec y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    y[i] = (x[i] - mean) / std::sqrt(square + epsilon);
    if (!weight.empty()) y[i] *= weight[i];
    if (!bias.empty()) y[i] += bias[i];
  }
  return y;
}
inline double inner(vec const& a, vec const& b) {
  double s = 0;
  for (std::size_t i = 0; i < a.size(); ++i) s += a[i] * b[i];
  return s;
}
inline double length(vec const& a) {
  return std::sqrt(inner(a, a));
}
inline vec row_of(vec const& m, std::size_t i, std::size_t width) {
  auto const at = m.begin() + static_cast<std::ptrdiff_t>(i * width);
  return {at, at + static_cast<std::ptrdiff_t>(width)};
}

/// What a probe of weights says of a model.
inline results finish_only(probe const& p, model const& m) {
  probe_context const at(&m, nullptr, {0, 0}, 0);
  results out;
  p.finish(accumulator(), out, at);
  return out;
}
inline results finish_only(std::string const& id, values given, model const& m) {
  return finish_only(*make_probe(id, std::move(given)), m);
}

inline double at(results const& r, std::string const& name, std::initializer_list<std::size_t> index) {
  return r.at(name).values().get(index);
}

}  // namespace wayfarer::test
