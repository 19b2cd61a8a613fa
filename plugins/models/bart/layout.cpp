#include "layout.hpp"

#include <cmath>
#include <utility>

#include <wayfarer/error.hpp>

namespace wayfarer::bart {
namespace {

std::string stack_of(bool encoder) {
  return encoder ? "encoder" : "decoder";
}

/// A size that has a key for each stack. Both stacks must have the same, as all published models have: hooks and weights of the
/// two go by the same dimensions.
std::size_t both(hf_config const& c, std::string const& key, std::size_t most) {
  std::size_t const encoder = c.size("encoder_" + key, most), decoder = c.size("decoder_" + key, most);
  if (encoder != decoder)
    c.json()
        .at("decoder_" + key)
        .fail("is " + std::to_string(decoder) + ", but encoder_" + key + " is " + std::to_string(encoder) +
              "; only models with the same in both stacks are read");
  return encoder;
}

/// Keys of old configurations that would make another model of it.
void refuse_other_forms(hf_config const& c) {
  for (auto const& [key, value] : {std::pair{"add_bias_logits", false},
                                   {"add_final_layer_norm", false},
                                   {"normalize_before", false},
                                   {"static_position_embeddings", false},
                                   {"normalize_embedding", true}})
    if (c.flag(key, value) != value)
      c.json().at(key).fail(std::string("is ") + (value ? "false" : "true") + "; only a checkpoint with " +
                            (value ? "true" : "false") + " is read");
  if (auto const offset = c.find("extra_pos_embeddings");
      offset && offset->as_integer() != static_cast<std::int64_t>(layout::position_offset))
    offset->fail("expected " + std::to_string(layout::position_offset));
}

}  // namespace

layout::layout(hf_config const& c) {
  read(c);
  hooks();
  places();
}

void layout::read(hf_config const& c) {
  using limit = model_limits;
  info.architecture = "bart";
  info.family = model_family::encoder_decoder;
  info.layers = c.size("encoder_layers", limit::layers);
  info.decoder_layers = c.size("decoder_layers", limit::layers);
  c.find("num_hidden_layers");  // the encoder's once more, in whichever version saved it
  info.d_model = c.size({"d_model", "hidden_size"}, limit::width);
  info.heads = both(c, "attention_heads", limit::heads);
  if (info.d_model % info.heads != 0)
    c.json()
        .at("encoder_attention_heads")
        .fail(std::to_string(info.heads) + " heads do not divide d_model " + std::to_string(info.d_model));
  info.d_head = info.d_model / info.heads;
  info.d_mlp = both(c, "ffn_dim", limit::mlp);
  info.vocabulary = c.size("vocab_size", limit::vocabulary);
  info.longest = c.size("max_position_embeddings", limit::positions);
  info.norm = norm_kind::layer;
  info.norm_epsilon = 1e-5;
  info.attention_scale = 1 / std::sqrt(static_cast<double>(info.d_head));
  info.activation = c.text("activation_function", "gelu");
  try {
    act = activation_of(info.activation);
  } catch (usage_error const& e) {
    c.json().at("activation_function").fail(e.what());
  }
  if (c.flag("scale_embedding", false)) embed_scale = std::sqrt(static_cast<double>(info.d_model));
  tied = c.flag("tie_word_embeddings", true);
  refuse_other_forms(c);
  c.refuse_unread();
}

void layout::hooks() {
  dims const wide{{"d_model", info.d_model}}, one{{"one", 1}}, heads{{"head", info.heads}, {"d_head", info.d_head}},
      mlp{{"d_mlp", info.d_mlp}}, pairs{{"head", info.heads}};
  auto along = positions::tokens;
  auto const add = [&](std::string name, dims const& row, std::string about) {
    info.hooks.push_back({std::move(name), row, false, std::move(about), along, along});
  };
  auto const norm = [&](std::string const& at, std::string const& of) {
    add(at + "hook_scale", one, "square root of the variance of " + of + " plus epsilon");
    add(at + "hook_normalized", wide, of + " less its mean, over hook_scale");
    add(at + "hook_out", wide, "hook_normalized times weight plus bias");
  };
  auto const attention = [&](std::string const& at, positions keys) {
    add(at + "hook_q", heads, "queries, bias included");
    for (auto const& [name, what] : {std::pair("hook_k", "keys, bias included"), std::pair("hook_v", "values, bias included")})
      info.hooks.push_back({at + name, heads, false, what, keys, keys});
    bool const causal = along == positions::decoder && keys == positions::decoder;
    info.hooks.push_back({at + "hook_attn_scores", pairs, true,
                          causal ? "scaled q.k, -infinity for keys after the query" : "scaled q.k", along, keys});
    info.hooks.push_back({at + "hook_pattern", pairs, true, "softmax of the scores over keys", along, keys});
    add(at + "hook_z", heads, "values weighted by the pattern, before W_O");
  };
  for (bool const encoder : {true, false}) {
    along = encoder ? positions::tokens : positions::decoder;
    std::string const front = encoder ? "" : "decoder.";
    add(front + "hook_embed", wide,
        embed_scale == 1 ? "row of the token embedding" : "row of the token embedding times the square root of d_model");
    add(front + "hook_pos_embed", wide, "row of the stack's position embedding");
    norm(front + "embed_ln.", "the sum of the two embeddings");
    for (std::size_t i = 0; i < (encoder ? info.layers : info.decoder_layers); ++i) {
      std::string const at = stack_of(encoder) + "." + std::to_string(i) + ".";
      add(at + "hook_resid_pre", wide, "state before the block: a norm's output");
      attention(at + "attn.", along);
      add(at + "hook_attn_out", wide, "what self-attention adds, bias included");
      add(at + "hook_resid_mid", wide, "hook_resid_pre plus hook_attn_out");
      norm(at + "ln1.", "hook_resid_mid");
      if (!encoder) {
        attention(at + "cross_attn.", positions::tokens);
        add(at + "hook_cross_attn_out", wide, "what attention to the encoder adds, bias included");
        add(at + "hook_resid_mid_cross", wide, "ln1.hook_out plus hook_cross_attn_out");
        norm(at + "ln2.", "hook_resid_mid_cross");
      }
      add(at + "mlp.hook_pre", mlp, "before the activation function, bias included");
      add(at + "mlp.hook_post", mlp, "after the activation function");
      add(at + "hook_mlp_out", wide, "what the MLP adds, bias included");
      add(at + "hook_resid_post", wide, std::string(encoder ? "ln1" : "ln2") + ".hook_out plus hook_mlp_out");
      norm(at + last_norm(encoder) + ".", "hook_resid_post");
    }
  }
  add("logits", {{"token", info.vocabulary}}, "scores of the next token");
}

namespace {

/// Weights of the common names and where the checkpoint holds them.
struct places_of {
  model_info const& info;
  weight_table& w;
  dim const wide{"d_model", info.d_model}, hidden{"d_mlp", info.d_mlp}, inner{"head_d_head", info.d_model};

  void affine(std::string const& stored, dim const& in, dim const& out) {
    w.store(stored + ".weight", {out, in});
    w.store(stored + ".bias", {out});
  }
  void norm(std::string const& stored, std::string const& common) {
    w.store(stored + ".weight", {wide});
    w.store(stored + ".bias", {wide});
    w.name(common + ".w", stored + ".weight");
    w.name(common + ".b", stored + ".bias");
  }
  void attention(std::string const& from, std::string const& to) {
    auto const split = [h = info.heads, e = info.d_head](tensor const& t) { return split_heads(t, 0, h, e, false); };
    for (auto const& [letter, name] : {std::pair("q", "Q"), std::pair("k", "K"), std::pair("v", "V")}) {
      affine(from + letter + "_proj", wide, inner);
      w.name(to + "W_" + name, from + letter + "_proj.weight", split);
      w.name(to + "b_" + name, from + letter + "_proj.bias", split);
    }
    affine(from + "out_proj", inner, wide);
    w.name(to + "W_O", from + "out_proj.weight", [h = info.heads](tensor const& t) { return join_heads(t, h, false); });
    w.name(to + "b_O", from + "out_proj.bias");
  }
  void dense(std::string const& from, std::string const& to, char const* part, dim const& in, dim const& out) {
    affine(from, in, out);
    w.name(to + "W_" + part, from + ".weight", [](tensor const& t) { return t.transposed(); });
    w.name(to + "b_" + part, from + ".bias");
  }
  void stack(bool encoder) {
    std::string const name = stack_of(encoder), front = encoder ? "" : "decoder.";
    w.store(name + ".embed_positions.weight", {{"pos", info.longest + layout::position_offset}, wide});
    w.name(front + "pos_embed.W_pos", name + ".embed_positions.weight",
           [](tensor const& t) { return t.slice(0, layout::position_offset, t.size(0)); });
    norm(name + ".layernorm_embedding", front + "embed_ln");
    for (std::size_t i = 0; i < (encoder ? info.layers : info.decoder_layers); ++i) {
      std::string const to = name + "." + std::to_string(i) + ".", from = name + ".layers." + std::to_string(i) + ".";
      attention(from + "self_attn.", to + "attn.");
      norm(from + "self_attn_layer_norm", to + "ln1");
      if (!encoder) {
        attention(from + "encoder_attn.", to + "cross_attn.");
        norm(from + "encoder_attn_layer_norm", to + "ln2");
      }
      dense(from + "fc1", to + "mlp.", "in", wide, hidden);
      dense(from + "fc2", to + "mlp.", "out", hidden, wide);
      norm(from + "final_layer_norm", to + last_norm(encoder));
    }
  }
};

}  // namespace

void layout::places() {
  dim const token{"token", info.vocabulary}, wide{"d_model", info.d_model};
  weights.store("shared.weight", {token, wide});
  weights.also("shared.weight", "encoder.embed_tokens.weight");
  weights.also("shared.weight", "decoder.embed_tokens.weight");
  weights.name("embed.W_E", "shared.weight");
  places_of p{info, weights};
  p.stack(true);
  p.stack(false);
  weights.store("lm_head.weight", {token, wide});
  weights.otherwise("lm_head.weight", "shared.weight");
  if (tied) weights.otherwise("shared.weight", "lm_head.weight");
  weights.store("final_logits_bias", {{"one", 1}, token}, true);
  weights.name("unembed.W_U", "lm_head.weight", [](tensor const& t) { return t.transposed(); });
  weights.name("unembed.b_U", "final_logits_bias", [](tensor const& t) { return t[0]; });
  info.weights = weights.names();
}

}  // namespace wayfarer::bart
