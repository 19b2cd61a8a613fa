#include "layout.hpp"

#include <cmath>

#include <wayfarer/error.hpp>

namespace wayfarer::t5 {

layout::layout(hf_config const& c) {
  using limit = model_limits;
  info.architecture = "t5";
  info.family = model_family::encoder_decoder;
  info.layers = c.size({"num_layers", "num_hidden_layers"}, limit::layers);
  info.decoder_layers = c.size("num_decoder_layers", limit::layers, info.layers);
  info.heads = c.size({"num_heads", "num_attention_heads"}, limit::heads);
  info.d_model = c.size({"d_model", "hidden_size"}, limit::width);
  info.d_head = c.size({"d_kv", "head_dim"}, limit::width);
  info.d_mlp = c.size("d_ff", limit::mlp);
  info.vocabulary = c.size("vocab_size", limit::vocabulary);
  info.norm = norm_kind::rms;
  info.norm_epsilon = c.number("layer_norm_epsilon", 0, 1, 1e-6);
  info.attention_scale = 1;

  read_mlp(c);
  // transformers 5 sets tie_word_embeddings to true in every configuration and keeps what it used to say, whether the decoder's
  // final state is scaled, in scale_decoder_outputs. mT5's flag is false where it is not given.
  tied = c.flag("tie_word_embeddings", c.model_type() != "mt5");
  scale_said = c.find("scale_decoder_outputs").has_value();
  if (c.flag("scale_decoder_outputs", tied)) head_scale = 1 / std::sqrt(static_cast<double>(info.d_model));

  bucket_rule rule;
  rule.buckets = c.size("relative_attention_num_buckets", 65'536, 32);
  rule.max_distance = c.size("relative_attention_max_distance", limit::positions, 128);
  if (rule.buckets < 4) c.json().at("relative_attention_num_buckets").fail("expected at least 4 buckets, for two directions");
  if (rule.max_distance <= rule.buckets / 2)
    c.json().fail(
        "relative_attention_max_distance must be above half of relative_attention_num_buckets, or nothing is left for "
        "the far buckets");
  encoder_buckets = decoder_buckets = rule;
  decoder_buckets.bidirectional = false;

  c.find("n_positions");  // T5 has no position table
  hooks();
  places();
}

/// "gated-gelu" names an activation and whether a gate carries it. A configuration may say both once more, in dense_act_fn and
/// is_gated_act; as in transformers these win. "gated-gelu" alone means GELU's tanh form, as the published checkpoints have it.
void layout::read_mlp(hf_config const& c) {
  std::string const mlp = c.text("feed_forward_proj", "relu");
  auto const refuse = [&](char const* key, std::string const& got) {
    c.json().at(key).fail(
        "expected relu, gelu, gelu_new, silu or one of their like" +
        std::string(std::string_view(key) == "feed_forward_proj" ? ", with or without \"gated-\" in front" : "") + ", got " +
        in_quotes(got));
  };
  gated = mlp.starts_with("gated-");
  std::string name = gated ? mlp.substr(6) : mlp;
  if (mlp == "gated-gelu") name = "gelu_new";
  char const* key = "feed_forward_proj";
  if (auto const given = c.find("dense_act_fn")) name = given->as_string(), key = "dense_act_fn";
  gated = c.flag("is_gated_act", gated);
  try {
    act = activation_of(name);
  } catch (usage_error const&) {
    refuse(key, key == std::string_view("dense_act_fn") ? name : mlp);
  }
  if (act == activation::tanh || act == activation::identity) refuse(key, key == std::string_view("dense_act_fn") ? name : mlp);
  info.activation = name;
}

void layout::hooks() {
  dims const wide{{"d_model", info.d_model}}, one{{"one", 1}}, heads{{"head", info.heads}, {"d_head", info.d_head}},
      mlp{{"d_mlp", info.d_mlp}}, pairs{{"head", info.heads}};
  auto along = positions::tokens;
  auto const add = [&](std::string name, dims const& row, std::string about) {
    info.hooks.push_back({std::move(name), row, false, std::move(about), along, along});
  };
  auto const norm = [&](std::string const& at, std::string const& of) {
    add(at + "hook_scale", one, "root of the mean square of " + of + ", epsilon included");
    add(at + "hook_normalized", wide, of + " over that");
    add(at + "hook_out", wide, "the same times the norm's weights");
  };
  auto const attention = [&](std::string const& at, positions keys, bool biased) {
    add(at + "hook_q", heads, "queries");
    for (auto const& [name, what] : {std::pair("hook_k", "keys"), std::pair("hook_v", "values")})
      info.hooks.push_back({at + name, heads, false, what, keys, keys});
    auto const pair = [&](std::string const& name, std::string about) {
      info.hooks.push_back({at + name, pairs, true, std::move(about), along, keys});
    };
    if (biased) pair("hook_qk", "inner products of queries and keys, before the position bias and the mask");
    pair("hook_attn_scores", biased ? "the same plus the position bias, masked: before the softmax"
                                    : "inner products of queries and keys: before the softmax");
    pair("hook_pattern", "weights: rows sum to 1");
    add(at + "hook_z", heads, "mean of the values under the weights, a head");
  };

  for (std::string const stack : {"encoder", "decoder"}) {
    bool const encoder = stack == "encoder";
    along = encoder ? positions::tokens : positions::decoder;
    add(encoder ? "hook_embed" : "decoder.hook_embed", wide, "token embeddings: what enters the stack");
    info.hooks.push_back({stack + ".0.attn.hook_position_bias", pairs, true,
                          "bias of the relative position, shared by all blocks of the stack; without the causal mask", along,
                          along});
    for (std::size_t i = 0; i < (encoder ? info.layers : info.decoder_layers); ++i) {
      std::string const at = stack + "." + std::to_string(i) + ".";
      add(at + "hook_resid_pre", wide, "residual state before the block");
      norm(at + "ln1.", "hook_resid_pre");
      attention(at + "attn.", along, true);
      add(at + "hook_attn_out", wide, "what self-attention adds");
      add(at + "hook_resid_mid", wide, "residual state after self-attention");
      norm(at + "ln2.", "hook_resid_mid");
      if (!encoder) {
        attention(at + "cross_attn.", positions::tokens, false);
        add(at + "hook_cross_attn_out", wide, "what attention to the encoder adds");
        add(at + "hook_resid_mid_cross", wide, "residual state after attention to the encoder");
        norm(at + "ln3.", "hook_resid_mid_cross");
      }
      add(at + "mlp.hook_pre", mlp, gated ? "gate before its activation" : "hidden units before the activation");
      if (gated) add(at + "mlp.hook_pre_linear", mlp, "what the gate multiplies");
      add(at + "mlp.hook_post", mlp, gated ? "activated gate times hook_pre_linear" : "hidden units after the activation");
      add(at + "hook_mlp_out", wide, "what the feed-forward part adds");
      add(at + "hook_resid_post", wide, "residual state after the block");
    }
    norm(stack + "_final_ln.", "the last residual state");
  }
  add("logits", {{"token", info.vocabulary}}, "scores of the next token");
}

void layout::place_mlp(std::string const& from, std::string const& to) {
  auto const matrix = [&](std::string const& stored, std::string const& w, dim const& in, dim const& out) {
    weights.store(from + stored, {out, in});
    weights.name(to + w, from + stored, [](tensor const& t) { return t.transposed(); });
  };
  dim const wide{"d_model", info.d_model}, hidden{"d_mlp", info.d_mlp};
  if (gated) matrix("wi_0.weight", "W_gate", wide, hidden);
  matrix(gated ? "wi_1.weight" : "wi.weight", "W_in", wide, hidden);
  matrix("wo.weight", "W_out", hidden, wide);
  if (gated) weights.zeros(to + "b_gate", {hidden});
  weights.zeros(to + "b_in", {hidden});
  weights.zeros(to + "b_out", {wide});
}

void layout::places() {
  std::size_t const d = info.d_model, h = info.heads, e = info.d_head, v = info.vocabulary;
  weights.store("shared.weight", {{"token", v}, {"d_model", d}});
  weights.also("shared.weight", "encoder.embed_tokens.weight");
  weights.also("shared.weight", "decoder.embed_tokens.weight");
  weights.name("embed.W_E", "shared.weight");

  for (std::string const stack : {"encoder", "decoder"}) {
    bool const encoder = stack == "encoder";
    for (std::size_t i = 0; i < (encoder ? info.layers : info.decoder_layers); ++i) {
      std::string const to = stack + "." + std::to_string(i) + ".", from = stack + ".block." + std::to_string(i) + ".layer.";
      std::size_t part = 0;
      auto const norm = [&] {
        std::string const stored = from + std::to_string(part) + ".layer_norm.weight";
        weights.store(stored, {{"d_model", d}});
        weights.name(to + "ln" + std::to_string(part + 1) + ".w", stored);
      };
      auto const attention = [&](std::string const& kind, std::string const& name) {
        norm();
        std::string const at = from + std::to_string(part++) + "." + kind + ".";
        for (auto const& [letter, w] : {std::pair("q", "W_Q"), std::pair("k", "W_K"), std::pair("v", "W_V")}) {
          weights.store(at + letter + ".weight", {{"head_d_head", h * e}, {"d_model", d}});
          weights.name(to + name + w, at + letter + ".weight",
                       [h, e](tensor const& t) { return split_heads(t, 0, h, e, false); });
        }
        weights.store(at + "o.weight", {{"d_model", d}, {"head_d_head", h * e}});
        weights.name(to + name + "W_O", at + "o.weight", [h](tensor const& t) { return join_heads(t, h, false); });
        for (char const* b : {"b_Q", "b_K", "b_V"}) weights.zeros(to + name + b, {{"head", h}, {"d_head", e}});
        weights.zeros(to + name + "b_O", {{"d_model", d}});
        if (i == 0 && name == "attn.") {
          weights.store(at + "relative_attention_bias.weight", {{"bucket", encoder_buckets.buckets}, {"head", h}});
          weights.name(to + "attn.position_bias", at + "relative_attention_bias.weight");
        }
      };
      attention("SelfAttention", "attn.");
      if (!encoder) attention("EncDecAttention", "cross_attn.");
      norm();
      place_mlp(from + std::to_string(part) + ".DenseReluDense.", to + "mlp.");
    }
    weights.store(stack + ".final_layer_norm.weight", {{"d_model", d}});
    weights.name(stack + "_final_ln.w", stack + ".final_layer_norm.weight");
  }
  weights.store("lm_head.weight", {{"token", v}, {"d_model", d}});
  weights.otherwise("lm_head.weight", "shared.weight");
  if (tied) weights.otherwise("shared.weight", "lm_head.weight");
  weights.name("unembed.W_U", "lm_head.weight", [](tensor const& t) { return t.transposed(); });
  weights.zeros("unembed.b_U", {{"token", v}});
  info.weights = weights.names();
}

}  // namespace wayfarer::t5
