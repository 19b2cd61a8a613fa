// Tiny random checkpoints of every family that `decoder` reads, in the family's own layout, with the plain model that they mean.
// Configurations and names are written here anew, not taken from the plugin's table.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <wayfarer/random.hpp>

#include "golden_models.hpp"
#include "plain_decoder.hpp"

namespace wayfarer::test {

/// One checkpoint: config.json's members, and where each part of the plain model lies.
struct decoder_case {
  std::string name{}, config{}, prefix{}, head = "lm_head", layer = "layers.#.";
  std::map<std::string, std::string> names{};  // part -> name behind prefix and layer
  std::string fused = "none";                  // how q, k and v lie in "qkv": none, plain, head, group
  std::string biases{};                        // " q k v o "
  bool conv1d = false, gate_up = false;
  plain_decoder plain{};
};

/// What every config.json here has, in the words of most families.
inline std::string const sizes =
    R"("vocab_size": 29, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 20, "head_dim": 6,
       "intermediate_size": 14, "max_position_embeddings": 24)";
/// The same for those whose heads are hidden_size over heads: 4 of 6.
inline std::string const square =
    R"("vocab_size": 29, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 24, "intermediate_size": 14, "max_position_embeddings": 24)";
inline std::string const gpt_sizes =
    R"("vocab_size": 29, "n_layer": 2, "n_head": 4, "n_embd": 24, "n_inner": 14, "n_positions": 24)";

inline std::map<std::string, std::string> llama_parts() {
  return {{"embed", "embed_tokens"},           {"ln1", "input_layernorm"}, {"q", "self_attn.q_proj"},
          {"k", "self_attn.k_proj"},           {"v", "self_attn.v_proj"},  {"o", "self_attn.o_proj"},
          {"ln2", "post_attention_layernorm"}, {"gate", "mlp.gate_proj"},  {"up", "mlp.up_proj"},
          {"down", "mlp.down_proj"},           {"final", "norm"}};
}
inline std::map<std::string, std::string> with(std::map<std::string, std::string> parts,
                                               std::map<std::string, std::string> const& more,
                                               std::vector<std::string> const& without = {}) {
  for (auto const& p : without) parts.erase(p);
  for (auto const& [part, name] : more) parts[part] = name;
  return parts;
}

/// Random weights of the plain model for the parts that the case names, as float32 holds them.
inline void fill(decoder_case& c, std::uint64_t seed) {
  plain_decoder& p = c.plain;
  random_stream draw(seed, "decoder " + c.name);
  auto const noise = [&](std::size_t n, double sd, double mean = 0) {
    plain_decoder::numbers v(n);
    for (auto& x : v) x = static_cast<float>(mean + sd * draw.normal());
    return v;
  };
  auto const has_bias = [&](std::string const& part) { return c.biases.find(" " + part + " ") != std::string::npos; };
  std::size_t const wide = p.E ? p.E : p.D;
  std::map<std::string, std::pair<std::size_t, std::size_t>> const matrices{
      {"q", {p.H * p.d, p.D}}, {"k", {p.K * p.d, p.D}}, {"v", {p.K * p.d, p.D}}, {"o", {p.D, p.H * p.d}},
      {"gate", {p.F, p.D}},    {"up", {p.F, p.D}},      {"down", {p.D, p.F}}};
  auto const norm = [&](std::string const& at, std::size_t n, bool bias) {
    if (!p.affine) return;
    p.w[at] = noise(n, 0.2, p.plus_one ? 0 : 1);
    if (bias) p.w[at + ".bias"] = noise(n, 0.2);
  };
  for (std::size_t i = 0; i < p.L; ++i) {
    std::string const at = std::to_string(i) + ".";
    for (auto const& [part, shape] : matrices) {
      if ((part == "gate" && !p.gated) || ((part == "q" || part == "k") && p.mixer != "attention")) continue;
      p.w[at + part] = noise(shape.first * shape.second, 1.5 / std::sqrt(static_cast<double>(shape.second)));
      bool const in_qkv = c.fused != "none" && (part == "q" || part == "k" || part == "v");
      if (has_bias(in_qkv ? "qkv" : part)) p.w[at + part + ".bias"] = noise(shape.first, 0.3);
    }
    if (c.names.contains("distance")) p.w[at + "distance"] = noise(p.H * (p.windows.empty() ? p.P : p.windows[i]), 1);
    for (std::string const part : {"ln1", "ln2", "ln1_post", "ln2_post"})
      if (c.names.contains(part)) norm(at + part, p.D, p.norm_bias);
    if (!p.head_norms) continue;
    bool const own = c.names.contains("own_head_norms");
    norm(at + "q_norm", p.head_norms_whole || own ? p.H * p.d : p.d, !p.head_norms_rms && !own);
    norm(at + "k_norm", p.head_norms_whole || own ? p.K * p.d : p.d, !p.head_norms_rms && !own);
  }
  p.w["embed"] = noise(p.V * wide, 1 / p.embed_scale);
  if (p.position == "table") p.w["pos"] = noise((p.P + p.offset) * p.D, 0.7);
  if (c.names.contains("embed_ln")) norm("embed_ln", p.D, p.norm_bias);
  if (c.names.contains("in")) p.w["in"] = noise(p.D * wide, 0.3), p.w["out"] = noise(wide * p.D, 0.3);
  if (c.names.contains("final")) norm("final", p.D, p.norm_bias);
  if (c.head != "tied") p.w["head"] = noise(p.V * wide, 1 / std::sqrt(static_cast<double>(wide)));
  if (has_bias("head")) p.w["head.bias"] = noise(p.V, 0.5);
}

/// The checkpoint's tensors: fused and turned as the family keeps them.
inline weights laid_out(decoder_case const& c) {
  plain_decoder const& p = c.plain;
  weights all;
  auto const floats = [](plain_decoder::numbers const& v) { return std::vector<float>(v.begin(), v.end()); };
  auto const put = [&](std::string const& name, plain_decoder::numbers const& v, std::size_t columns) {
    std::size_t const rows = v.size() / columns;
    if (!c.conv1d || name.find("wte") != std::string::npos || name.find("wpe") != std::string::npos ||
        name.find("lm_head") != std::string::npos) {
      all[name] = {{rows, columns}, floats(v)};
      return;
    }
    std::vector<float> turned(v.size());
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t k = 0; k < columns; ++k) turned[k * rows + r] = static_cast<float>(v[r * columns + k]);
    all[name] = {{columns, rows}, turned};
  };
  auto const put_vector = [&](std::string const& name, plain_decoder::numbers const& v) { all[name] = {{v.size()}, floats(v)}; };
  auto const part = [&](std::string const& in_plain, std::string const& stored, std::size_t columns) {
    if (!p.has(in_plain)) return;
    if (columns)
      put(stored + ".weight", p.w.at(in_plain), columns);
    else
      put_vector(stored + ".weight", p.w.at(in_plain));
    if (p.has(in_plain + ".bias")) put_vector(stored + ".bias", p.w.at(in_plain + ".bias"));
  };
  std::size_t const wide = p.E ? p.E : p.D;
  for (auto const& [name, columns] : std::map<std::string, std::size_t>{
           {"embed", wide}, {"pos", p.D}, {"in", wide}, {"out", p.D}, {"embed_ln", 0}, {"final", 0}})
    if (c.names.contains(name)) part(name, c.prefix + c.names.at(name), columns);
  if (p.has("head")) part("head", c.head, wide);
  for (std::size_t i = 0; i < p.L; ++i) {
    std::string at = c.layer, n = std::to_string(i) + ".";
    at.replace(at.find('#'), 1, std::to_string(i));
    at = c.prefix + at;
    std::map<std::string, std::size_t> const columns{
        {"q", p.D}, {"k", p.D}, {"v", p.D},      {"o", p.H * p.d}, {"gate", p.D}, {"up", p.D},  {"down", p.F},
        {"ln1", 0}, {"ln2", 0}, {"ln1_post", 0}, {"ln2_post", 0},  {"q_norm", 0}, {"k_norm", 0}};
    for (auto const& [name, width] : columns)
      if (c.names.contains(name)) part(n + name, at + c.names.at(name), width);
    if (c.names.contains("distance")) {
      auto const& table = p.w.at(n + "distance");
      all[at + c.names.at("distance")] = {{p.H, table.size() / p.H}, floats(table)};
    }
    if (c.names.contains("own_head_norms"))
      for (std::string const name : {"q_norm", "k_norm"})
        all.at(at + c.names.at(name) + ".weight").shape = {p.w.at(n + name).size() / p.d, p.d};
    if (c.gate_up) {
      auto both = p.w.at(n + "gate");
      both.insert(both.end(), p.w.at(n + "up").begin(), p.w.at(n + "up").end());
      put(at + c.names.at("gate_up") + ".weight", both, p.D);
    }
    if (c.fused == "none") continue;
    auto const join = [&](std::string const& suffix, std::size_t columns_of) {
      plain_decoder::numbers out;
      std::size_t const block = p.d * columns_of, g = p.H / p.K;
      auto const take = [&](char const* of, std::size_t head) {
        auto const& v = p.w.at(n + of + suffix);
        out.insert(out.end(), v.begin() + static_cast<std::ptrdiff_t>(head * block),
                   v.begin() + static_cast<std::ptrdiff_t>((head + 1) * block));
      };
      if (c.fused == "plain") {
        for (std::size_t h = 0; h < p.H; ++h) take("q", h);
        for (std::size_t h = 0; h < p.K; ++h) take("k", h);
        for (std::size_t h = 0; h < p.K; ++h) take("v", h);
      } else {
        for (std::size_t h = 0; h < p.K; ++h) {
          for (std::size_t j = 0; j < g; ++j) take("q", h * g + j);
          take("k", h), take("v", h);
        }
      }
      return out;
    };
    put(at + c.names.at("qkv") + ".weight", join("", p.D), p.D);
    if (p.has(n + "q.bias")) put_vector(at + c.names.at("qkv") + ".bias", join(".bias", 1));
  }
  return all;
}

/// All families, and the forms in which some come.
inline std::vector<decoder_case> decoder_cases() {
  std::vector<decoder_case> all;
  auto const add = [&](decoder_case c, std::function<void(plain_decoder&)> const& choose) {
    choose(c.plain);
    fill(c, all.size() + 1);
    c.config = "{" + c.config + "}";
    all.push_back(std::move(c));
  };
  auto const even = [](plain_decoder& p) { p.D = 24, p.K = 4; };
  auto const gpt = [even](plain_decoder& p) {
    even(p), p.rms = p.gated = p.head_norms_rms = false, p.norm_bias = true, p.epsilon = 1e-5, p.act = "gelu_new";
  };
  auto const gemma = [](plain_decoder& p) { p.plus_one = true, p.act = "gelu_new", p.embed_scale = std::sqrt(20.0); };
  std::map<std::string, std::string> const llama = llama_parts(),
                                           qk = with(llama, {{"q_norm", "self_attn.q_norm"}, {"k_norm", "self_attn.k_norm"}}),
                                           gemma2 = with(llama, {{"ln1_post", "post_attention_layernorm"},
                                                                 {"ln2", "pre_feedforward_layernorm"},
                                                                 {"ln2_post", "post_feedforward_layernorm"}}),
                                           ungated = with(llama, {{"up", "mlp.c_fc"}, {"down", "mlp.c_proj"}}, {"gate"});

  add({.name = "llama", .config = R"("model_type": "llama", )" + sizes, .prefix = "model.", .names = llama},
      [](plain_decoder&) {});
  add({.name = "llama3",
       .config =
           R"("model_type": "llama", "attention_bias": true, "mlp_bias": true, "rope_theta": 500000.0, "rms_norm_eps": 1e-3, "tie_word_embeddings": true, "rope_scaling": {"type": "linear", "factor": 2.5}, )" +
           sizes,
       .prefix = "model.",
       .head = "tied",
       .names = llama,
       .biases = " q k v o gate up down "},
      [](plain_decoder& p) {
        p.epsilon = 1e-3, p.thetas = {5e5, 5e5}, p.stretch = 2.5;
      });
  add({.name = "mistral", .config = R"("model_type": "mistral", "sliding_window": 5, )" + sizes, .names = llama},
      [](plain_decoder& p) {
        p.windows = {5, 5};
      });
  add({.name = "qwen2",
       .config = R"("model_type": "qwen2", "sliding_window": 4, "use_sliding_window": true, "max_window_layers": 1, )" + sizes,
       .prefix = "model.",
       .names = llama,
       .biases = " q k v "},
      [](plain_decoder& p) {
        p.windows = {0, 4};
      });
  add({.name = "qwen2_idle_window",
       .config = R"("model_type": "qwen2", "sliding_window": 4, "use_sliding_window": false, "max_window_layers": 0, )" + sizes,
       .prefix = "model.",
       .names = llama,
       .biases = " q k v "},
      [](plain_decoder&) {});
  add({.name = "qwen3", .config = R"("model_type": "qwen3", "rope_theta": 1000000.0, )" + sizes, .prefix = "model.", .names = qk},
      [](plain_decoder& p) {
        p.head_norms = true, p.thetas = {1e6, 1e6};
      });
  add({.name = "gemma",
       .config = R"("model_type": "gemma", "hidden_act": "gelu", )" + sizes,
       .prefix = "model.",
       .head = "tied",
       .names = llama},
      gemma);
  add({.name = "gemma2",
       .config =
           R"("model_type": "gemma2", "query_pre_attn_scalar": 9, "sliding_window": 3, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0, )" +
           sizes,
       .prefix = "model.",
       .head = "tied",
       .names = gemma2},
      [gemma](plain_decoder& p) {
        gemma(p), p.scale = 1.0 / 3, p.score_cap = 1.5, p.logit_cap = 2, p.windows = {3, 0};
      });
  add({.name = "gemma3_text",
       .config =
           R"("model_type": "gemma3_text", "query_pre_attn_scalar": 4, "sliding_window": 4, "sliding_window_pattern": 2, "rope_theta": 100000.0, "rope_local_base_freq": 300.0, )" +
           sizes,
       .prefix = "model.",
       .head = "tied",
       .names = with(gemma2, {{"q_norm", "self_attn.q_norm"}, {"k_norm", "self_attn.k_norm"}})},
      [gemma](plain_decoder& p) {
        gemma(p), p.scale = 0.5, p.head_norms = true, p.windows = {4, 0}, p.thetas = {300, 1e5};
      });
  add({.name = "phi",
       .config = R"("model_type": "phi", "partial_rotary_factor": 0.7, )" + square,
       .prefix = "model.",
       .names = with(llama, {{"o", "self_attn.dense"}, {"up", "mlp.fc1"}, {"down", "mlp.fc2"}, {"final", "final_layernorm"}},
                     {"ln2", "gate"}),
       .biases = " q k v o up down head "},
      [gpt](plain_decoder& p) { gpt(p), p.parallel = true, p.turned = 4; });
  add({.name = "phi_qk",
       .config = R"("model_type": "phi", "qk_layernorm": true, "partial_rotary_factor": 1.0, )" + square,
       .prefix = "model.",
       .names = with(llama,
                     {{"o", "self_attn.dense"},
                      {"up", "mlp.fc1"},
                      {"down", "mlp.fc2"},
                      {"final", "final_layernorm"},
                      {"q_norm", "self_attn.q_layernorm"},
                      {"k_norm", "self_attn.k_layernorm"}},
                     {"ln2", "gate"}),
       .biases = " q k v o up down head "},
      [gpt](plain_decoder& p) { gpt(p), p.parallel = p.head_norms = true; });
  add({.name = "phi3",
       .config = R"("model_type": "phi3", "sliding_window": 7, )" + sizes,
       .prefix = "model.",
       .names = with(llama, {{"qkv", "self_attn.qkv_proj"}, {"gate_up", "mlp.gate_up_proj"}}, {"q", "k", "v", "gate", "up"}),
       .fused = "plain",
       .gate_up = true},
      [](plain_decoder& p) {
        p.epsilon = 1e-5, p.windows = {7, 7};
      });
  add({.name = "olmo2",
       .config = R"("model_type": "olmo2", )" + sizes,
       .prefix = "model.",
       .names = with(qk, {{"ln1_post", "post_attention_layernorm"}, {"ln2_post", "post_feedforward_layernorm"}}, {"ln1", "ln2"})},
      [](plain_decoder& p) { p.epsilon = 1e-5, p.head_norms = p.head_norms_whole = true; });
  add({.name = "starcoder2",
       .config = R"("model_type": "starcoder2", "sliding_window": 6, "norm_epsilon": 1e-4, )" + sizes,
       .prefix = "model.",
       .head = "tied",
       .names = ungated,
       .biases = " q k v o up down "},
      [](plain_decoder& p) {
        p.rms = p.gated = false, p.norm_bias = true, p.epsilon = 1e-4, p.act = "gelu_new", p.windows = {6, 6};
      });
  add({.name = "stablelm",
       .config = R"("model_type": "stablelm", "use_qkv_bias": true, "partial_rotary_factor": 0.34, "num_key_value_heads": 2, )" +
                 square,
       .prefix = "model.",
       .names = llama,
       .biases = " q k v "},
      [](plain_decoder& p) { p.D = 24, p.rms = false, p.norm_bias = true, p.epsilon = 1e-5, p.turned = 2; });
  add({.name = "stablelm_parallel",
       .config =
           R"("model_type": "stablelm", "use_parallel_residual": true, "partial_rotary_factor": 0.34, "num_key_value_heads": 2, )" +
           square,
       .prefix = "model.",
       .names = with(llama, {}, {"ln2"})},
      [](plain_decoder& p) { p.D = 24, p.rms = false, p.norm_bias = p.parallel = true, p.epsilon = 1e-5, p.turned = 2; });
  add({.name = "granite",
       .config =
           R"("model_type": "granite", "embedding_multiplier": 3.5, "residual_multiplier": 0.4, "attention_multiplier": 0.7, "logits_scaling": 2.5, "tie_word_embeddings": true, )" +
           sizes,
       .prefix = "model.",
       .head = "tied",
       .names = llama},
      [](plain_decoder& p) { p.embed_scale = 3.5, p.residual_scale = 0.4, p.scale = 0.7, p.logit_scale = 0.4; });
  add({.name = "cohere",
       .config = R"("model_type": "cohere", "use_qk_norm": true, "logit_scale": 0.3, "rope_theta": 2000.0, )" + sizes,
       .prefix = "model.",
       .head = "tied",
       .names = with(qk, {{"own_head_norms", ""}}, {"ln2"})},
      [](plain_decoder& p) {
        p.rms = p.head_norms_rms = false, p.parallel = p.head_norms = p.pairs = true, p.epsilon = 1e-5, p.logit_scale = 0.3,
        p.thetas = {2000, 2000};
      });
  add({.name = "glm4",
       .config = R"("model_type": "glm4", "partial_rotary_factor": 0.7, )" + sizes,
       .prefix = "model.",
       .names = with(
           llama, {{"ln1_post", "post_self_attn_layernorm"}, {"ln2_post", "post_mlp_layernorm"}, {"gate_up", "mlp.gate_up_proj"}},
           {"gate", "up"}),
       .biases = " q k v ",
       .gate_up = true},
      [](plain_decoder& p) { p.epsilon = 1.5625e-7, p.turned = 4, p.pairs = true; });
  add({.name = "internlm2",
       .config = R"("model_type": "internlm2", "bias": false, )" + sizes,
       .prefix = "model.",
       .head = "output",
       .names = {{"embed", "tok_embeddings"},
                 {"ln1", "attention_norm"},
                 {"qkv", "attention.wqkv"},
                 {"o", "attention.wo"},
                 {"ln2", "ffn_norm"},
                 {"gate", "feed_forward.w1"},
                 {"up", "feed_forward.w3"},
                 {"down", "feed_forward.w2"},
                 {"final", "norm"}},
       .fused = "group"},
      [](plain_decoder&) {});
  add({.name = "smollm3",
       .config = R"("model_type": "smollm3", "no_rope_layer_interval": 2, )" + sizes,
       .prefix = "model.",
       .head = "tied",
       .names = llama},
      [](plain_decoder& p) {
        p.turns = {true, false}, p.thetas = {2e6, 2e6};
      });
  std::map<std::string, std::string> const neox{
      {"embed", "embed_in"},         {"ln1", "input_layernorm"},          {"qkv", "attention.query_key_value"},
      {"o", "attention.dense"},      {"ln2", "post_attention_layernorm"}, {"up", "mlp.dense_h_to_4h"},
      {"down", "mlp.dense_4h_to_h"}, {"final", "final_layer_norm"}};
  add({.name = "gpt_neox",
       .config = R"("model_type": "gpt_neox", "rotary_pct": 0.7, "rotary_emb_base": 500, )" + square,
       .prefix = "gpt_neox.",
       .head = "embed_out",
       .names = neox,
       .fused = "head",
       .biases = " qkv o up down "},
      [gpt](plain_decoder& p) {
        gpt(p), p.act = "gelu", p.parallel = true, p.turned = 4, p.thetas = {500, 500};
      });
  add({.name = "gpt_neox_sequential",
       .config = R"("model_type": "gpt_neox", "rotary_pct": 1.0, "use_parallel_residual": false, )" + square,
       .prefix = "gpt_neox.",
       .head = "embed_out",
       .names = neox,
       .fused = "head",
       .biases = " qkv o up down "},
      [gpt](plain_decoder& p) { gpt(p), p.act = "gelu"; });
  std::map<std::string, std::string> const falcon{{"embed", "word_embeddings"},
                                                  {"ln1", "input_layernorm"},
                                                  {"qkv", "self_attention.query_key_value"},
                                                  {"o", "self_attention.dense"},
                                                  {"ln2", "post_attention_layernorm"},
                                                  {"up", "mlp.dense_h_to_4h"},
                                                  {"down", "mlp.dense_4h_to_h"},
                                                  {"final", "ln_f"}};
  std::string const falcon_sizes =
      R"("vocab_size": 29, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 24, "ffn_hidden_size": 14, "max_position_embeddings": 24)";
  add({.name = "falcon_7b",
       .config = R"("model_type": "RefinedWebModel", )" + falcon_sizes,
       .prefix = "transformer.",
       .head = "tied",
       .layer = "h.#.",
       .names = with(falcon, {}, {"ln2"}),
       .fused = "group"},
      [gpt](plain_decoder& p) { gpt(p), p.K = 1, p.act = "gelu", p.parallel = true; });
  add({.name = "falcon_40b",
       .config = R"("model_type": "falcon", "new_decoder_architecture": true, "num_kv_heads": 2, )" + falcon_sizes,
       .prefix = "transformer.",
       .head = "tied",
       .layer = "h.#.",
       .names = with(falcon, {{"ln1", "ln_attn"}, {"ln2", "ln_mlp"}}),
       .fused = "group"},
      [gpt](plain_decoder& p) { gpt(p), p.K = 2, p.act = "gelu", p.parallel = true; });
  add({.name = "falcon_rw",
       .config = R"("model_type": "falcon", "multi_query": false, "parallel_attn": false, "alibi": true, "bias": true, )" +
                 falcon_sizes,
       .prefix = "transformer.",
       .head = "tied",
       .layer = "h.#.",
       .names = falcon,
       .fused = "head",
       .biases = " qkv o up down "},
      [gpt](plain_decoder& p) { gpt(p), p.act = "gelu", p.position = "alibi", p.alibi_scaled = true; });
  add({.name = "bloom",
       .config = R"("model_type": "bloom", "vocab_size": 29, "n_layer": 2, "n_head": 4, "hidden_size": 24, "seq_length": 24)",
       .prefix = "transformer.",
       .head = "tied",
       .layer = "h.#.",
       .names = with(falcon, {{"embed_ln", "word_embeddings_layernorm"}}),
       .fused = "head",
       .biases = " qkv o up down "},
      [gpt](plain_decoder& p) { gpt(p), p.F = 96, p.position = "alibi"; });
  std::map<std::string, std::string> const gptj{{"embed", "wte"},     {"ln1", "ln_1"},        {"q", "attn.q_proj"},
                                                {"k", "attn.k_proj"}, {"v", "attn.v_proj"},   {"o", "attn.out_proj"},
                                                {"up", "mlp.fc_in"},  {"down", "mlp.fc_out"}, {"final", "ln_f"}};
  add({.name = "gptj",
       .config = R"("model_type": "gptj", "rotary_dim": 4, )" + gpt_sizes,
       .prefix = "transformer.",
       .layer = "h.#.",
       .names = gptj,
       .biases = " up down head "},
      [gpt](plain_decoder& p) { gpt(p), p.parallel = p.pairs = true, p.turned = 4; });
  add({.name = "gpt_neo",
       .config =
           R"("model_type": "gpt_neo", "vocab_size": 29, "num_layers": 2, "num_heads": 4, "hidden_size": 24, "intermediate_size": 14, "max_position_embeddings": 24, "window_size": 5, "attention_types": [[["global", "local"], 1]])",
       .prefix = "transformer.",
       .head = "tied",
       .layer = "h.#.",
       .names = {{"embed", "wte"},
                 {"pos", "wpe"},
                 {"ln1", "ln_1"},
                 {"q", "attn.attention.q_proj"},
                 {"k", "attn.attention.k_proj"},
                 {"v", "attn.attention.v_proj"},
                 {"o", "attn.attention.out_proj"},
                 {"ln2", "ln_2"},
                 {"up", "mlp.c_fc"},
                 {"down", "mlp.c_proj"},
                 {"final", "ln_f"}},
       .biases = " o up down "},
      [gpt](plain_decoder& p) {
        gpt(p), p.position = "table", p.scale = 1, p.windows = {0, 5};
      });
  std::map<std::string, std::string> const gpt2{{"embed", "wte"},       {"pos", "wpe"},         {"ln1", "ln_1"},
                                                {"qkv", "attn.c_attn"}, {"o", "attn.c_proj"},   {"ln2", "ln_2"},
                                                {"up", "mlp.c_fc"},     {"down", "mlp.c_proj"}, {"final", "ln_f"}};
  add({.name = "gpt_bigcode",
       .config = R"("model_type": "gpt_bigcode", )" + gpt_sizes,
       .prefix = "transformer.",
       .head = "tied",
       .layer = "h.#.",
       .names = gpt2,
       .fused = "plain",
       .biases = " qkv o up down "},
      [gpt](plain_decoder& p) { gpt(p), p.K = 1, p.position = "table"; });
  add({.name = "gpt_bigcode_all_heads",
       .config = R"("model_type": "gpt_bigcode", "multi_query": false, )" + gpt_sizes,
       .prefix = "transformer.",
       .head = "tied",
       .layer = "h.#.",
       .names = gpt2,
       .fused = "head",
       .biases = " qkv o up down "},
      [gpt](plain_decoder& p) { gpt(p), p.position = "table"; });
  add({.name = "gpt2",
       .config = R"("model_type": "gpt2", )" + gpt_sizes,
       .head = "tied",
       .layer = "h.#.",
       .names = gpt2,
       .fused = "plain",
       .biases = " qkv o up down ",
       .conv1d = true},
      [gpt](plain_decoder& p) { gpt(p), p.position = "table"; });
  std::map<std::string, std::string> const opt{{"embed", "embed_tokens"},
                                               {"pos", "embed_positions"},
                                               {"ln1", "self_attn_layer_norm"},
                                               {"q", "self_attn.q_proj"},
                                               {"k", "self_attn.k_proj"},
                                               {"v", "self_attn.v_proj"},
                                               {"o", "self_attn.out_proj"},
                                               {"ln2", "final_layer_norm"},
                                               {"up", "fc1"},
                                               {"down", "fc2"},
                                               {"final", "final_layer_norm"}};
  std::string const opt_sizes =
      R"("model_type": "opt", "vocab_size": 29, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 24, "ffn_dim": 14, "max_position_embeddings": 24)";
  add({.name = "opt",
       .config = opt_sizes,
       .prefix = "model.decoder.",
       .head = "tied",
       .names = opt,
       .biases = " q k v o up down "},
      [gpt](plain_decoder& p) { gpt(p), p.act = "relu", p.position = "table", p.offset = 2; });
  add({.name = "opt_350m",
       .config = opt_sizes + R"(, "do_layer_norm_before": false, "word_embed_proj_dim": 9)",
       .prefix = "model.decoder.",
       .head = "tied",
       .names = with(opt, {{"in", "project_in"}, {"out", "project_out"}}, {"final"}),
       .biases = " q k v o up down "},
      [gpt](plain_decoder& p) { gpt(p), p.act = "relu", p.position = "table", p.offset = 2, p.E = 9, p.post_norm = true; });
  add({.name = "opt_bare",
       .config = opt_sizes + R"(, "enable_bias": false, "layer_norm_elementwise_affine": false)",
       .prefix = "decoder.",
       .head = "tied",
       .names = opt},
      [gpt](plain_decoder& p) { gpt(p), p.act = "relu", p.position = "table", p.offset = 2, p.affine = false; });
  // Our own family: every rule of positions, and every mixer.
  auto const own = [&](std::string const& name, std::string const& keys, std::map<std::string, std::string> const& parts,
                       std::string const& biases, std::function<void(plain_decoder&)> const& choose) {
    add({.name = "own_" + name,
         .config = R"("model_type": "wayfarer_decoder", )" + keys + ", " + sizes,
         .prefix = "model.",
         .names = parts,
         .biases = biases},
        [choose](plain_decoder& p) { p.epsilon = 1e-5, choose(p); });
  };
  auto const layer = [](plain_decoder& p) { p.rms = p.gated = false, p.norm_bias = true, p.act = "gelu_new"; };
  auto const plain = with(llama, {}, {"gate"}), mixed = with(plain, {}, {"q", "k"}),
             table = with(mixed, {{"distance", "self_attn.distance"}});
  std::map<std::string, std::string> const pos{{"pos", "embed_positions"}};
  std::string const all_biased = " q k v o up down ", layered = R"("norm": "layer", "activation": "gelu_new", "position": )";
  own("learned", layered + R"("learned", "mixer": "attention")", with(plain, pos), all_biased,
      [layer](plain_decoder& p) { layer(p), p.position = "table"; });
  own("rotary",
      R"("norm": "rms", "norm_eps": 1e-4, "gated": true, "activation": "silu", "position": "rotary", "rope_theta": 700.0, "mixer": "attention")",
      llama, "", [](plain_decoder& p) {
        p.epsilon = 1e-4, p.thetas = {700, 700};
      });
  own("alibi", layered + R"("alibi", "mixer": "attention", "biases": false)", plain, "",
      [layer](plain_decoder& p) { layer(p), p.norm_bias = false, p.position = "alibi"; });
  own("none", R"("norm": "rms", "biases": true, "activation": "relu", "position": "none", "mixer": "attention")", plain,
      all_biased, [](plain_decoder& p) { p.gated = false, p.act = "relu", p.position = "none"; });
  own("mean", layered + R"("learned", "mixer": "mean")", with(mixed, pos), all_biased,
      [layer](plain_decoder& p) { layer(p), p.position = "table", p.mixer = "mean"; });
  own("window", layered + R"("none", "mixer": "window", "window": 5)", mixed, all_biased, [layer](plain_decoder& p) {
    layer(p), p.position = "none", p.mixer = "window", p.windows = {5, 5};
  });
  own("conv", R"("norm": "rms", "gated": true, "activation": "gelu", "position": "none", "mixer": "conv", "window": 4)",
      with(llama, {{"distance", "self_attn.distance"}}, {"q", "k"}), "", [](plain_decoder& p) {
        p.act = "gelu", p.position = "none", p.mixer = "conv", p.windows = {4, 4};
      });
  own("position", layered + R"("learned", "mixer": "position")", with(table, pos), all_biased,
      [layer](plain_decoder& p) { layer(p), p.position = "table", p.mixer = "position"; });
  return all;
}

/// The checkpoint in a folder of its own, opened.
struct decoder_folder {
  explicit decoder_folder(decoder_case const& c) { write_folder(folder, c.config, laid_out(c), "F32"); }
  std::unique_ptr<model> open() const { return open_model("decoder", folder.path()); }
  scratch_folder folder;
};

}  // namespace wayfarer::test
