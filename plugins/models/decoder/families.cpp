#include "families.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>

namespace wayfarer::decoder {
namespace {

using limits = model_limits;

// ---- names of the tensors ----------------------------------------------------------------------------------------------------

constexpr std::string_view llama_names =
    "embed=embed_tokens block=layers.{}. ln1=input_layernorm q=self_attn.q_proj k=self_attn.k_proj v=self_attn.v_proj "
    "o=self_attn.o_proj ln2=post_attention_layernorm gate=mlp.gate_proj up=mlp.up_proj down=mlp.down_proj final=norm "
    "head=lm_head";
constexpr std::string_view qwen3_names =
    "embed=embed_tokens block=layers.{}. ln1=input_layernorm q=self_attn.q_proj k=self_attn.k_proj v=self_attn.v_proj "
    "q_norm=self_attn.q_norm k_norm=self_attn.k_norm o=self_attn.o_proj ln2=post_attention_layernorm gate=mlp.gate_proj "
    "up=mlp.up_proj down=mlp.down_proj final=norm head=lm_head";
constexpr std::string_view gemma2_names =
    "embed=embed_tokens block=layers.{}. ln1=input_layernorm q=self_attn.q_proj k=self_attn.k_proj v=self_attn.v_proj "
    "q_norm=self_attn.q_norm k_norm=self_attn.k_norm o=self_attn.o_proj ln1_post=post_attention_layernorm "
    "ln2=pre_feedforward_layernorm gate=mlp.gate_proj up=mlp.up_proj down=mlp.down_proj ln2_post=post_feedforward_layernorm "
    "final=norm head=lm_head";
constexpr std::string_view olmo2_names =
    "embed=embed_tokens block=layers.{}. q=self_attn.q_proj k=self_attn.k_proj v=self_attn.v_proj q_norm=self_attn.q_norm "
    "k_norm=self_attn.k_norm o=self_attn.o_proj ln1_post=post_attention_layernorm gate=mlp.gate_proj up=mlp.up_proj "
    "down=mlp.down_proj ln2_post=post_feedforward_layernorm final=norm head=lm_head";
constexpr std::string_view phi3_names =
    "embed=embed_tokens block=layers.{}. ln1=input_layernorm qkv=self_attn.qkv_proj o=self_attn.o_proj "
    "ln2=post_attention_layernorm gate_up=mlp.gate_up_proj down=mlp.down_proj final=norm head=lm_head";
constexpr std::string_view glm4_names =
    "embed=embed_tokens block=layers.{}. ln1=input_layernorm q=self_attn.q_proj k=self_attn.k_proj v=self_attn.v_proj "
    "o=self_attn.o_proj ln1_post=post_self_attn_layernorm ln2=post_attention_layernorm gate_up=mlp.gate_up_proj "
    "down=mlp.down_proj ln2_post=post_mlp_layernorm final=norm head=lm_head";
constexpr std::string_view internlm2_names =
    "embed=tok_embeddings block=layers.{}. ln1=attention_norm qkv=attention.wqkv o=attention.wo ln2=ffn_norm "
    "gate=feed_forward.w1 "
    "up=feed_forward.w3 down=feed_forward.w2 final=norm head=output";
constexpr std::string_view phi_names =
    "embed=embed_tokens block=layers.{}. ln1=input_layernorm q=self_attn.q_proj k=self_attn.k_proj v=self_attn.v_proj "
    "q_norm=self_attn.q_layernorm k_norm=self_attn.k_layernorm o=self_attn.dense up=mlp.fc1 down=mlp.fc2 final=final_layernorm "
    "head=lm_head";
constexpr std::string_view starcoder2_names =
    "embed=embed_tokens block=layers.{}. ln1=input_layernorm q=self_attn.q_proj k=self_attn.k_proj v=self_attn.v_proj "
    "o=self_attn.o_proj ln2=post_attention_layernorm up=mlp.c_fc down=mlp.c_proj final=norm head=lm_head";
constexpr std::string_view neox_names =
    "embed=embed_in block=layers.{}. ln1=input_layernorm qkv=attention.query_key_value o=attention.dense "
    "ln2=post_attention_layernorm up=mlp.dense_h_to_4h down=mlp.dense_4h_to_h final=final_layer_norm head=embed_out";
constexpr std::string_view falcon_names =
    "embed=word_embeddings block=h.{}. ln1=input_layernorm qkv=self_attention.query_key_value o=self_attention.dense "
    "ln2=post_attention_layernorm up=mlp.dense_h_to_4h down=mlp.dense_4h_to_h final=ln_f head=lm_head";
constexpr std::string_view bloom_names =
    "embed=word_embeddings embed_ln=word_embeddings_layernorm block=h.{}. ln1=input_layernorm qkv=self_attention.query_key_value "
    "o=self_attention.dense ln2=post_attention_layernorm up=mlp.dense_h_to_4h down=mlp.dense_4h_to_h final=ln_f head=lm_head";
constexpr std::string_view gptj_names =
    "embed=wte block=h.{}. ln1=ln_1 q=attn.q_proj k=attn.k_proj v=attn.v_proj o=attn.out_proj up=mlp.fc_in down=mlp.fc_out "
    "final=ln_f head=lm_head";
constexpr std::string_view gpt_neo_names =
    "embed=wte pos=wpe block=h.{}. ln1=ln_1 q=attn.attention.q_proj k=attn.attention.k_proj v=attn.attention.v_proj "
    "o=attn.attention.out_proj ln2=ln_2 up=mlp.c_fc down=mlp.c_proj final=ln_f head=lm_head";
constexpr std::string_view gpt2_names =
    "embed=wte pos=wpe block=h.{}. ln1=ln_1 qkv=attn.c_attn o=attn.c_proj ln2=ln_2 up=mlp.c_fc down=mlp.c_proj final=ln_f "
    "head=lm_head";
constexpr std::string_view opt_names =
    "embed=decoder.embed_tokens pos=decoder.embed_positions project_in=decoder.project_in project_out=decoder.project_out "
    "block=decoder.layers.{}. ln1=self_attn_layer_norm q=self_attn.q_proj k=self_attn.k_proj v=self_attn.v_proj "
    "o=self_attn.out_proj ln2=final_layer_norm up=fc1 down=fc2 final=decoder.final_layer_norm head=lm_head";

constexpr std::string_view own_names =
    "embed=embed_tokens pos=embed_positions block=layers.{}. ln1=input_layernorm q=self_attn.q_proj k=self_attn.k_proj "
    "v=self_attn.v_proj distance=self_attn.distance o=self_attn.o_proj ln2=post_attention_layernorm gate=mlp.gate_proj "
    "up=mlp.up_proj down=mlp.down_proj final=norm head=lm_head";

// ---- what families do otherwise ----------------------------------------------------------------------------------------------

void layer_norms(decoder_spec& s) {
  s.rms = s.head_norms_rms = false, s.norm_bias = true;
}

void set_scale(decoder_spec& s, double scale) {
  for (auto& layer : s.each) layer.scale = scale;
}

void drop(decoder_spec& s, std::string_view part) {
  s.names.erase(s.names.find(part));
}

/// A key that has one value in every released model, because the family's code reads no other.
void require_flag(hf_config const& c, std::string_view key, bool value) {
  if (c.flag(key, value) != value)
    c.json().at(key).fail(std::string("is ") + (value ? "false" : "true") + "; only a checkpoint with " +
                          (value ? "true" : "false") + " is read");
}

void attention_and_mlp_biases(hf_config const& c, decoder_spec& s) {
  if (c.flag("attention_bias", false)) s.biases += "q k v o ";
  if (c.flag("mlp_bias", false)) s.biases += "gate up down ";
}

void read_llama(hf_config const& c, decoder_spec& s) {
  attention_and_mlp_biases(c, s);
  read_rotary(c, s, {});
}

void read_mistral(hf_config const& c, decoder_spec& s) {
  read_rotary(c, s, {});
  set_windows(c, s, read_window(c, 4096), [](std::size_t) { return true; });
}

/// Qwen's windows: a number in sliding_window counts only where use_sliding_window is true.
void read_qwen_windows(hf_config const& c, decoder_spec& s) {
  auto const from = static_cast<std::size_t>(c.number("max_window_layers", 0, 1e6, 28));
  std::size_t const window = read_window(c, 4096);
  bool const used = c.flag("use_sliding_window", false);
  set_windows(c, s, used ? window : 0, [&](std::size_t i) { return i >= from; });
}

void read_qwen2(hf_config const& c, decoder_spec& s) {
  read_rotary(c, s, {});
  read_qwen_windows(c, s);
}

void read_qwen3(hf_config const& c, decoder_spec& s) {
  if (c.flag("attention_bias", false)) s.biases += "q k v o ";
  s.head_norms = true;
  read_rotary(c, s, {});
  read_qwen_windows(c, s);
}

void read_gemma(hf_config const& c, decoder_spec& s) {
  c.find("hidden_act");  // says gelu in old files, and means its tanh form
  s.norm_plus_one = true;
  s.embed_scale = std::sqrt(static_cast<double>(s.d_model));
  if (c.flag("attention_bias", false)) s.biases += "q k v o ";
  read_rotary(c, s, {});
}

/// A soft cap: absent means `otherwise`, null none.
double read_cap(hf_config const& c, std::string_view key, double otherwise) {
  if (!c.json().find(key)) return otherwise;
  auto const given = c.find(key);
  return given ? given->as_number(1e-3, 1e9) : 0;
}

void read_gemma2(hf_config const& c, decoder_spec& s) {
  read_gemma(c, s);
  drop(s, "q_norm"), drop(s, "k_norm");
  set_scale(s, 1 / std::sqrt(c.number("query_pre_attn_scalar", 1e-3, 1e9, 256)));
  s.score_cap = read_cap(c, "attn_logit_softcapping", 50), s.logit_cap = read_cap(c, "final_logit_softcapping", 30);
  set_windows(c, s, read_window(c, 4096), [](std::size_t i) { return i % 2 == 0; });
}

void read_gemma3(hf_config const& c, decoder_spec& s) {
  // Full layers and sliding ones turn by thetas of their own; transformers 5 writes a dictionary for each.
  auto const both = c.find("rope_parameters");
  bool const apart = both && both->find_set("full_attention");
  require_flag(c, "use_bidirectional_attention", false);
  c.find("hidden_act"), s.norm_plus_one = true, s.head_norms = true;
  s.embed_scale = std::sqrt(static_cast<double>(s.d_model));
  if (c.flag("attention_bias", false)) s.biases += "q k v o ";
  set_scale(s, 1 / std::sqrt(c.number("query_pre_attn_scalar", 1e-3, 1e9, 256)));
  s.score_cap = read_cap(c, "attn_logit_softcapping", 0), s.logit_cap = read_cap(c, "final_logit_softcapping", 0);
  std::size_t const every =
      c.size(c.find("_sliding_window_pattern") ? "_sliding_window_pattern" : "sliding_window_pattern", limits::layers, 6);
  set_windows(c, s, read_window(c, 4096), [every](std::size_t i) { return (i + 1) % every != 0; });
  if (apart) {
    read_rotary(c, s, {1e6}, *both->find_set("full_attention"));
    auto const full = s.rotations.front();
    if (auto const near = both->find_set("sliding_attention"))
      read_rotary(c, s, {1e4}, *near);
    else
      both->fail("has full_attention, but not sliding_attention");
    s.rotations = {full, s.rotations.front()};
  } else {
    read_rotary(c, s, {1e6});
    rotary near;
    near.turned = s.rotations.front().turned, near.positions = s.rotations.front().positions;
    near.theta = c.number("rope_local_base_freq", 1.001, 1e15, 1e4);
    s.rotations.push_back(near);
  }
  for (auto& layer : s.each) layer.rotation = layer.window ? 1 : 0;
}

void read_phi(hf_config const& c, decoder_spec& s) {
  layer_norms(s);
  s.form = residual_form::parallel;
  s.head_norms = s.head_norms_bias = c.flag("qk_layernorm", false);
  if (!s.head_norms) drop(s, "q_norm"), drop(s, "k_norm");
  read_rotary(c, s, {.part = 0.5});
}

void read_phi3(hf_config const& c, decoder_spec& s) {
  s.fused = fused_rows::plain;
  c.find("original_max_position_embeddings");
  read_rotary(c, s, {});
  set_windows(c, s, read_window(c, 0), [](std::size_t) { return true; });
}

void read_olmo2(hf_config const& c, decoder_spec& s) {
  s.head_norms = s.head_norms_whole = true;
  if (c.flag("attention_bias", false)) s.biases += "q k v o ";
  read_rotary(c, s, {});
}

void read_starcoder2(hf_config const& c, decoder_spec& s) {
  layer_norms(s);
  for (auto const& [key, value] : {std::pair{"norm_type", "layer_norm"}, std::pair{"mlp_type", "default"}})
    if (c.text(key, value) != value) c.json().at(key).fail("expected " + std::string(value));
  c.find("activation_function"), c.find("layer_norm_epsilon");  // left from its training; hidden_act and norm_epsilon count
  require_flag(c, "scale_attn_weights", true);
  if (c.flag("use_bias", true)) s.biases = " q k v o up down ";
  read_rotary(c, s, {});
  set_windows(c, s, read_window(c, 0), [](std::size_t) { return true; });
}

void read_stablelm(hf_config const& c, decoder_spec& s) {
  layer_norms(s);
  if (c.flag("use_qkv_bias", false)) s.biases = " q k v ";
  if (c.flag("use_parallel_residual", false)) s.form = residual_form::parallel, drop(s, "ln2");
  require_flag(c, "qk_layernorm", false);
  if (auto const old = c.find("rope_pct"); old && !c.find("partial_rotary_factor"))
    return read_rotary(c, s, {.part = old->as_number(0, 1)});
  read_rotary(c, s, {.part = 0.25});
}

void read_granite(hf_config const& c, decoder_spec& s) {
  attention_and_mlp_biases(c, s);
  s.embed_scale = c.number("embedding_multiplier", -1e6, 1e6, 1);
  s.residual_scale = c.number("residual_multiplier", -1e6, 1e6, 1);
  s.logit_scale = 1 / c.number("logits_scaling", 1e-6, 1e6, 1);
  set_scale(s, c.number("attention_multiplier", 1e-9, 1e6, 1));
  read_rotary(c, s, {});
}

void read_cohere(hf_config const& c, decoder_spec& s) {
  s.rms = s.head_norms_rms = false, s.norm_bias = false;
  s.form = residual_form::parallel, drop(s, "ln2");
  if (c.flag("attention_bias", false)) s.biases += "q k v o ";
  s.head_norms = s.head_norms_own = c.flag("use_qk_norm", false);
  if (!s.head_norms) drop(s, "q_norm"), drop(s, "k_norm");
  s.logit_scale = c.number("logit_scale", -1e6, 1e6, 0.0625);
  read_rotary(c, s, {.theta = 5e5, .pairs = true});
}

void read_glm4(hf_config const& c, decoder_spec& s) {
  if (c.flag("attention_bias", true)) s.biases += "q k v ";
  read_rotary(c, s, {.part = 0.5, .pairs = true});
}

void read_internlm2(hf_config const& c, decoder_spec& s) {
  s.fused = fused_rows::per_group;
  if (c.flag("bias", true)) s.biases += "qkv o ";
  read_rotary(c, s, {});
}

void read_smollm3(hf_config const& c, decoder_spec& s) {
  attention_and_mlp_biases(c, s);
  read_rotary(c, s, {.theta = 2e6});
  c.find("max_window_layers");
  std::size_t const every = c.size("no_rope_layer_interval", limits::layers, 4);
  auto const list = c.find("no_rope_layers");
  if (list && list->size() < s.layers)
    list->fail("has " + std::to_string(list->size()) + " entries for " + std::to_string(s.layers) + " layers");
  for (std::size_t i = 0; i < s.layers; ++i)  // a 1 says that the layer does turn
    s.each[i].turns = list && list->size() ? list->at(i).as_integer(0, 1) == 1 : (i + 1) % every != 0;
  std::size_t const window = read_window(c, 0);
  set_windows(c, s, c.flag("use_sliding_window", false) ? window : 0, [&](std::size_t i) { return !s.each[i].turns; });
}

void read_neox(hf_config const& c, decoder_spec& s) {
  layer_norms(s);
  s.fused = fused_rows::per_head;
  if (c.flag("attention_bias", true)) s.biases = " qkv o up down ";
  if (c.flag("use_parallel_residual", true)) s.form = residual_form::parallel;
  read_rotary(c, s, {.theta = c.number("rotary_emb_base", 1.001, 1e15, 1e4), .part = c.number("rotary_pct", 0, 1, 0.25)});
}

void read_falcon(hf_config const& c, decoder_spec& s) {
  layer_norms(s);
  bool const grouped = c.flag("new_decoder_architecture", false), single = c.flag("multi_query", true);
  if (!grouped) s.kv_heads = single ? 1 : s.heads;
  s.fused = grouped || single ? fused_rows::per_group : fused_rows::per_head;
  s.form = c.flag("parallel_attn", true) || grouped ? residual_form::parallel : residual_form::sequential;
  std::size_t const norms = c.size("num_ln_in_parallel_attn", 2, grouped ? 2 : 1);
  if (grouped && norms == 2)
    s.names["ln1"] = "ln_attn", s.names["ln2"] = "ln_mlp";
  else if (s.form == residual_form::parallel)
    drop(s, "ln2");
  if (c.flag("bias", false)) s.biases = " qkv o up down ";
  if (!c.flag("alibi", false)) return read_rotary(c, s, {});
  c.find("rope_theta");
  s.position = positions_kind::alibi, s.alibi_bf16 = true;
}

void read_bloom(hf_config const&, decoder_spec& s) {
  layer_norms(s);
  s.fused = fused_rows::per_head;
  s.position = positions_kind::alibi;
}

void read_gptj(hf_config const& c, decoder_spec& s) {
  layer_norms(s);
  s.form = residual_form::parallel;
  require_flag(c, "rotary", true), require_flag(c, "scale_attn_weights", true);
  rotary r;
  r.turned = c.size("rotary_dim", s.d_head, std::min<std::size_t>(64, s.d_head));
  if (r.turned % 2 != 0) c.json().at("rotary_dim").fail("an even number of each head can turn");
  r.pairs = true, r.positions = s.positions;
  s.rotations = {r};
  for (auto& layer : s.each) layer.turns = true;
}

void read_gpt_neo(hf_config const& c, decoder_spec& s) {
  layer_norms(s);
  s.position = positions_kind::table;
  set_scale(s, 1);
  std::size_t const window = c.size("window_size", limits::positions, 256);
  // attention_layers is the list; attention_types the same as [[pattern, times], ...].
  std::vector<std::string> kinds;
  auto const read = [&](json_value const& list) {
    for (json_value const v : list.elements()) {
      if (v.as_string() != "global" && v.as_string() != "local")
        v.fail("expected global or local, got " + in_quotes(v.as_string()));
      if (kinds.size() == s.layers)
        list.fail("with what stands before it names more than the " + std::to_string(s.layers) + " layers");
      kinds.push_back(v.as_string());
    }
  };
  auto const types = c.find("attention_types");
  if (auto const list = c.find("attention_layers"))
    read(*list);
  else if (types)
    for (json_value const part : types->elements())
      for (auto n = part.at(std::size_t{1}).as_integer(0, limits::layers); n > 0; --n) read(part.at(std::size_t{0}));
  else
    for (std::size_t i = 0; i < s.layers; ++i) kinds.emplace_back(i % 2 ? "local" : "global");
  if (kinds.size() != s.layers)
    c.json().fail("attention_types or attention_layers gives " + std::to_string(kinds.size()) + " kinds for " +
                  std::to_string(s.layers) + " layers");
  for (std::size_t i = 0; i < s.layers; ++i) s.each[i].window = kinds[i] == "local" ? window : 0;
}

void read_gpt_bigcode(hf_config const& c, decoder_spec& s) {
  layer_norms(s);
  s.position = positions_kind::table;
  bool const single = c.flag("multi_query", true);
  s.kv_heads = single ? 1 : s.heads, s.fused = single ? fused_rows::plain : fused_rows::per_head;
  if (!c.flag("scale_attn_weights", true)) set_scale(s, 1);
}

void read_gpt2(hf_config const& c, decoder_spec& s) {
  layer_norms(s);
  s.position = positions_kind::table;
  s.conv1d = true, s.fused = fused_rows::plain;
  if (!c.flag("scale_attn_weights", true)) set_scale(s, 1);
  if (c.flag("scale_attn_by_inverse_layer_idx", false))
    for (std::size_t i = 0; i < s.layers; ++i) s.each[i].scale /= static_cast<double>(i + 1);
}

void read_opt(hf_config const& c, decoder_spec& s) {
  layer_norms(s);
  s.position = positions_kind::table, s.position_offset = 2;
  s.norm_affine = c.flag("layer_norm_elementwise_affine", true);
  if (!c.flag("enable_bias", true)) s.biases = " ";
  bool const before = c.flag("do_layer_norm_before", true);
  if (!before) s.form = residual_form::post_norm;
  bool const ends_bare = c.flag("_remove_final_layer_norm", false);
  if (!before || ends_bare) drop(s, "final");
  std::size_t const embed = c.size("word_embed_proj_dim", limits::width, s.d_model);
  if (embed == s.d_model)
    drop(s, "project_in"), drop(s, "project_out");
  else
    s.d_embed = embed;
}

// Our own family: docs/decoder.md has its keys and tensors.

/// One of these words, which the configuration must say.
template <class Kind>
Kind read_choice(hf_config const& c, std::string_view key, std::initializer_list<std::pair<std::string_view, Kind>> choices) {
  std::string const word = c.text(key, "");
  std::string known;
  for (auto const& [name, kind] : choices) {
    if (name == word) return kind;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  c.json().at(key).fail("expected one of " + known + ", got " + in_quotes(word));
}

void read_own_positions(hf_config const& c, decoder_spec& s) {
  std::string const word = c.text("position", "");
  if (word == "relative")
    c.json().at("position").fail("is \"relative\", which this build does not read yet; it reads learned, rotary, alibi and none");
  s.position = read_choice<positions_kind>(c, "position",
                                           {{"learned", positions_kind::table},
                                            {"rotary", positions_kind::rotary},
                                            {"alibi", positions_kind::alibi},
                                            {"none", positions_kind::none}});
  if (s.mixer != mixer_kind::attention && (s.position == positions_kind::rotary || s.position == positions_kind::alibi))
    c.json()
        .at("position")
        .fail("is " + in_quotes(word) + ", which changes the scores of queries and keys, and mixer " +
              in_quotes(c.text("mixer", "")) + " has none; use learned or none");
  if (s.position == positions_kind::rotary) read_rotary(c, s, {});
}

void read_own_mixer(hf_config const& c, decoder_spec& s) {
  s.mixer = read_choice<mixer_kind>(c, "mixer",
                                    {{"attention", mixer_kind::attention},
                                     {"mean", mixer_kind::mean},
                                     {"window", mixer_kind::window},
                                     {"conv", mixer_kind::conv},
                                     {"position", mixer_kind::position}});
  bool const local = s.mixer == mixer_kind::window || s.mixer == mixer_kind::conv;
  if (local) {
    std::size_t const window = c.size("window", limits::positions);
    for (auto& layer : s.each) layer.window = window;
    s.distances = window;
  } else if (auto const given = c.find("window")) {
    given->fail("is given, and mixer " + in_quotes(c.text("mixer", "")) + " has no window; windows belong to window and conv");
  }
  if (s.mixer == mixer_kind::position) s.distances = s.positions;
  if (s.mixer != mixer_kind::attention) drop(s, "q"), drop(s, "k");
  if (s.mixer != mixer_kind::conv && s.mixer != mixer_kind::position) drop(s, "distance");
}

void read_own(hf_config const& c, decoder_spec& s) {
  for (auto const key : {"max_position_embeddings", "activation"}) c.json().at(key);
  s.rms = read_choice<bool>(c, "norm", {{"layer", false}, {"rms", true}});
  s.gated = c.flag("gated", false);
  if (!s.gated) drop(s, "gate");
  bool const biases = c.flag("biases", !s.rms);
  if (biases) s.biases = " q k v o gate up down ";
  s.norm_bias = biases && !s.rms;
  read_own_mixer(c, s);
  read_own_positions(c, s);
  if (s.position != positions_kind::table) drop(s, "pos");
}

// ---- the table ---------------------------------------------------------------------------------------------------------------

// clang-format off
constexpr family table[] = {
    {.type = "llama", .names = llama_names, .more = read_llama},
    {.type = "mistral", .names = llama_names, .kv_heads = 8, .more = read_mistral},
    {.type = "qwen2", .names = llama_names, .biases = " q k v ", .more = read_qwen2},
    {.type = "qwen3", .names = qwen3_names, .d_head = 128, .more = read_qwen3},
    {.type = "gemma", .names = llama_names, .act_key = "hidden_activation", .act = "gelu_pytorch_tanh", .tied = true, .d_head = 256,
     .more = read_gemma},
    {.type = "gemma2", .names = gemma2_names, .act_key = "hidden_activation", .act = "gelu_pytorch_tanh", .tied = true, .d_head = 256,
     .more = read_gemma2},
    {.type = "gemma3_text", .names = gemma2_names, .act_key = "hidden_activation", .act = "gelu_pytorch_tanh", .tied = true, .d_head = 256,
     .more = read_gemma3},
    {.type = "phi", .names = phi_names, .rms = false, .act = "gelu_new", .epsilon_key = "layer_norm_eps", .epsilon = 1e-5,
     .gated = false, .biases = " q k v o up down head ", .more = read_phi},
    {.type = "phi3", .names = phi3_names, .epsilon = 1e-5, .more = read_phi3},
    {.type = "olmo2", .names = olmo2_names, .epsilon = 1e-5, .more = read_olmo2},
    {.type = "starcoder2", .names = starcoder2_names, .rms = false, .act = "gelu_pytorch_tanh", .epsilon_key = "norm_epsilon",
     .epsilon = 1e-5, .tied = true, .gated = false, .kv_heads = 2, .more = read_starcoder2},
    {.type = "stablelm", .names = llama_names, .rms = false, .epsilon_key = "layer_norm_eps", .epsilon = 1e-5, .more = read_stablelm},
    {.type = "granite", .names = llama_names, .more = read_granite},
    {.type = "cohere", .names = qwen3_names, .rms = false, .epsilon_key = "layer_norm_eps", .epsilon = 1e-5, .tied = true, .more = read_cohere},
    {.type = "glm4", .names = glm4_names, .epsilon = 1.5625e-7, .kv_heads = 2, .d_head = 128, .more = read_glm4},
    {.type = "internlm2", .names = internlm2_names, .more = read_internlm2},
    {.type = "smollm3", .names = llama_names, .tied = true, .kv_heads = 4, .more = read_smollm3},
    {.type = "gpt_neox", .names = neox_names, .rms = false, .act = "gelu", .epsilon_key = "layer_norm_eps", .epsilon = 1e-5,
     .gated = false, .biases = " up down ", .four_times = true, .more = read_neox},
    {.type = "falcon", .names = falcon_names, .rms = false, .act_key = "activation", .act = "gelu", .epsilon_key = "layer_norm_epsilon",
     .epsilon = 1e-5, .tied = true, .gated = false, .four_times = true, .more = read_falcon},
    {.type = "bloom", .names = bloom_names, .rms = false, .act_key = "", .act = "gelu_new", .epsilon_key = "layer_norm_epsilon",
     .epsilon = 1e-5, .tied = true, .gated = false, .biases = " qkv o up down ", .four_times = true, .more = read_bloom},
    {.type = "gptj", .names = gptj_names, .rms = false, .act_key = "activation_function", .act = "gelu_new",
     .epsilon_key = "layer_norm_epsilon", .epsilon = 1e-5, .gated = false, .biases = " up down head ", .four_times = true, .more = read_gptj},
    {.type = "gpt_neo", .names = gpt_neo_names, .rms = false, .act_key = "activation_function", .act = "gelu_new",
     .epsilon_key = "layer_norm_epsilon", .epsilon = 1e-5, .tied = true, .gated = false, .biases = " o up down ", .four_times = true,
     .more = read_gpt_neo},
    {.type = "gpt_bigcode", .names = gpt2_names, .rms = false, .act_key = "activation_function", .act = "gelu_pytorch_tanh",
     .epsilon_key = "layer_norm_epsilon", .epsilon = 1e-5, .tied = true, .gated = false, .biases = " qkv o up down ", .four_times = true,
     .more = read_gpt_bigcode},
    {.type = "gpt2", .names = gpt2_names, .rms = false, .act_key = "activation_function", .act = "gelu_new",
     .epsilon_key = "layer_norm_epsilon", .epsilon = 1e-5, .tied = true, .gated = false, .biases = " qkv o up down ", .four_times = true,
     .more = read_gpt2},
    {.type = "opt", .names = opt_names, .rms = false, .act_key = "activation_function", .act = "relu", .epsilon_key = "", .epsilon = 1e-5,
     .tied = true, .gated = false, .biases = " q k v o up down ", .more = read_opt},
    {.type = "wayfarer_decoder", .names = own_names, .act_key = "activation", .epsilon_key = "norm_eps", .epsilon = 1e-5,
     .gated = false, .more = read_own},
};
// clang-format on

/// Families under the names that they had before transformers took them in.
constexpr std::pair<std::string_view, std::string_view> old_names[] = {
    {"RefinedWebModel", "falcon"}, {"RefinedWeb", "falcon"}, {"stablelm_epoch", "stablelm"}};

family const& find(std::string_view type) {
  for (auto const& [old, now] : old_names)
    if (old == type) type = now;
  auto const at = std::find_if(std::begin(table), std::end(table), [&](family const& f) { return f.type == type; });
  return *at;
}

}  // namespace

std::span<std::string_view const> model_types() {
  static std::vector<std::string_view> const all = [] {
    std::vector<std::string_view> names;
    for (auto const& f : table) names.push_back(f.type);
    for (auto const& [old, now] : old_names) names.push_back(old);
    return names;
  }();
  return all;
}

decoder_spec describe(hf_config const& c) {
  return describe(c, find(c.model_type()));
}

}  // namespace wayfarer::decoder
