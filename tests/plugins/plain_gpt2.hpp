// GPT-2 written out in float64 with plain loops, straight from the checkpoint's tensors: what the probes of language models are
// checked against. It shares nothing with the model plugin but the file reader.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <wayfarer/json.hpp>
#include <wayfarer/safetensors.hpp>

namespace wayfarer::test {

struct plain_gpt2 {
  using numbers = std::vector<double>;
  using hooks = std::map<std::string, numbers>;
  /// May change an activation on its way.
  using change = std::function<void(std::string const& hook, numbers& x)>;

  explicit plain_gpt2(std::string const& folder) : stored_(open_checkpoint(folder)) {
    auto const c = read_json(folder + "/config.json");
    auto const size = [&](char const* key) { return static_cast<std::size_t>(c.at(key).as_integer()); };
    layers = size("n_layer"), heads = size("n_head"), d = size("n_embd"), vocabulary = size("vocab_size");
    positions = size("n_positions"), epsilon = c.at("layer_norm_epsilon").as_number();
  }

  numbers const& w(std::string const& name) const {
    auto& kept = weights_[name];
    if (kept.empty()) {
      auto const t = stored_.tensor(name).to(dtype::f64);
      auto const v = t.values<double const>();
      kept.assign(v.begin(), v.end());
    }
    return kept;
  }

  /// x: [row, in] times a stored [in, out] matrix, plus its bias.
  numbers linear(numbers const& x, std::string const& name, std::size_t in, std::size_t out) const {
    auto const &m = w(name + ".weight"), &b = w(name + ".bias");
    numbers y(x.size() / in * out);
    for (std::size_t r = 0; r < x.size() / in; ++r)
      for (std::size_t o = 0; o < out; ++o) {
        double s = b[o];
        for (std::size_t i = 0; i < in; ++i) s += x[r * in + i] * m[i * out + o];
        y[r * out + o] = s;
      }
    return y;
  }

  numbers norm(numbers const& x, std::string const& name, numbers* scales = nullptr) const {
    numbers y(x.size());
    auto const &weight = w(name + ".weight"), &bias = w(name + ".bias");
    for (std::size_t r = 0; r < x.size() / d; ++r) {
      double mean = 0, square = 0;
      for (std::size_t j = 0; j < d; ++j) mean += x[r * d + j] / static_cast<double>(d);
      for (std::size_t j = 0; j < d; ++j) square += std::pow(x[r * d + j] - mean, 2) / static_cast<double>(d);
      double const scale = std::sqrt(square + epsilon);
      if (scales != nullptr) scales->push_back(scale);
      for (std::size_t j = 0; j < d; ++j) y[r * d + j] = (x[r * d + j] - mean) / scale * weight[j] + bias[j];
    }
    return y;
  }

  /// Logits of normed states, [row, vocabulary].
  numbers unembed(numbers const& x) const {
    numbers y(x.size() / d * vocabulary);
    auto const& table = w("wte.weight");
    for (std::size_t r = 0; r < x.size() / d; ++r)
      for (std::size_t t = 0; t < vocabulary; ++t)
        for (std::size_t j = 0; j < d; ++j) y[r * vocabulary + t] += x[r * d + j] * table[t * d + j];
    return y;
  }
  /// The logit lens.
  numbers lens(numbers const& states) const { return unembed(norm(states, "ln_f")); }

  hooks run(std::vector<std::int32_t> const& tokens, change const& edit = {}) const {
    hooks all;
    std::size_t const n = tokens.size(), width = d / heads;
    auto const at = [&](std::string const& name, numbers x) {
      if (edit) edit(name, x);
      return all[name] = x;
    };
    auto const sum = [](numbers x, numbers const& y) {
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
      return x;
    };
    numbers embed(n * d), pos(n * d);
    for (std::size_t p = 0; p < n; ++p)
      for (std::size_t j = 0; j < d; ++j) {
        embed[p * d + j] = w("wte.weight")[static_cast<std::size_t>(tokens[p]) * d + j];
        pos[p * d + j] = w("wpe.weight")[p * d + j];
      }
    numbers x = sum(at("hook_embed", embed), at("hook_pos_embed", pos));
    for (std::size_t l = 0; l < layers; ++l) {
      std::string const b = "blocks." + std::to_string(l) + ".", h = "h." + std::to_string(l) + ".";
      x = at(b + "hook_resid_pre", x);
      numbers const qkv = linear(norm(x, h + "ln_1"), h + "attn.c_attn", d, 3 * d);
      numbers pattern(heads * n * n), z(n * d);
      for (std::size_t a = 0; a < heads; ++a)
        for (std::size_t q = 0; q < n; ++q) {
          numbers score(q + 1);
          double total = 0;
          for (std::size_t k = 0; k <= q; ++k) {
            for (std::size_t j = 0; j < width; ++j)
              score[k] += qkv[q * 3 * d + a * width + j] * qkv[k * 3 * d + d + a * width + j];
            total += score[k] = std::exp(score[k] / std::sqrt(static_cast<double>(width)));
          }
          for (std::size_t k = 0; k <= q; ++k) {
            pattern[(a * n + q) * n + k] = score[k] / total;
            for (std::size_t j = 0; j < width; ++j)
              z[q * d + a * width + j] += score[k] / total * qkv[k * 3 * d + 2 * d + a * width + j];
          }
        }
      at(b + "attn.hook_pattern", pattern);
      z = at(b + "attn.hook_z", z);
      x = at(b + "hook_resid_mid", sum(x, at(b + "hook_attn_out", linear(z, h + "attn.c_proj", d, d))));
      numbers m = linear(norm(x, h + "ln_2"), h + "mlp.c_fc", d, 4 * d);
      for (double& v : m) v = 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
      x = at(b + "hook_resid_post", sum(x, at(b + "hook_mlp_out", linear(m, h + "mlp.c_proj", 4 * d, d))));
    }
    numbers scales;
    numbers const last = norm(x, "ln_f", &scales);
    all["ln_final.hook_scale"] = scales;
    all["ln_final.hook_out"] = last;
    all["logits"] = unembed(last);
    return all;
  }

  /// log softmax of row r of logits.
  numbers log_probabilities(numbers const& logits, std::size_t r) const {
    numbers p(logits.begin() + static_cast<std::ptrdiff_t>(r * vocabulary),
              logits.begin() + static_cast<std::ptrdiff_t>((r + 1) * vocabulary));
    double highest = -std::numeric_limits<double>::infinity(), total = 0;
    for (double const v : p) highest = std::max(highest, v);
    for (double const v : p) total += std::exp(v - highest);
    for (double& v : p) v -= highest + std::log(total);
    return p;
  }

  std::size_t layers, heads, d, vocabulary, positions;
  double epsilon;

 private:
  checkpoint stored_;
  mutable std::map<std::string, numbers> weights_;
};

}  // namespace wayfarer::test
