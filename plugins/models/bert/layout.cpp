#include "layout.hpp"

#include <set>
#include <string>
#include <utility>

namespace wayfarer::encoder {
namespace {

struct places {
  encoder_spec const& s;
  weight_table w{};
  std::set<std::string> known{};
  dim const wide{"d_model", s.d_model}, hidden{"d_mlp", s.d_mlp}, token{"token", s.vocabulary}, embed = s.embed_dim();

  /// A tensor that several layers share is one tensor.
  bool is_new(std::string const& stored) { return known.insert(stored).second; }

  void affine(std::string const& stored, dim const& in, dim const& out) {
    if (!is_new(stored)) return;
    w.store(stored + ".weight", {out, in});
    w.store(stored + ".bias", {out});
  }
  void dense(std::string const& stored, std::string const& matrix, std::string const& bias, dim const& in, dim const& out) {
    affine(stored, in, out);
    w.name(matrix, stored + ".weight", [](tensor const& t) { return t.transposed(); });
    w.name(bias, stored + ".bias");
  }
  void norm(std::string const& stored, std::string const& common, dim const& row) {
    if (is_new(stored)) {
      w.store(stored + ".weight", {row});
      w.store(stored + ".bias", {row});
      w.also(stored + ".weight", stored + ".gamma");  // as the first published checkpoints call them
      w.also(stored + ".bias", stored + ".beta");
    }
    w.name(common + ".w", stored + ".weight");
    w.name(common + ".b", stored + ".bias");
  }
  void table(std::string const& common, std::string const& stored, dim const& rows) {
    w.store("embeddings." + stored + ".weight", {rows, embed});
    w.name(common, "embeddings." + stored + ".weight");
  }

  void block(std::size_t i) {
    std::string const b = "blocks." + std::to_string(i) + ".";
    auto const split = [h = s.heads, e = s.d_head](tensor const& t) { return split_heads(t, 0, h, e, false); };
    for (auto const& [part, letter] : {std::pair{"q", "Q"}, std::pair{"k", "K"}, std::pair{"v", "V"}}) {
      std::string const at = s.stored(part, i);
      affine(at, wide, {"head_d_head", s.d_model});
      w.name(b + "attn.W_" + letter, at + ".weight", split);
      w.name(b + "attn.b_" + letter, at + ".bias", split);
    }
    std::string const o = s.stored("o", i);
    affine(o, {"head_d_head", s.d_model}, wide);
    w.name(b + "attn.W_O", o + ".weight", [h = s.heads](tensor const& t) { return join_heads(t, h, false); });
    w.name(b + "attn.b_O", o + ".bias");
    norm(s.stored("ln1", i), b + "ln1", wide);
    dense(s.stored("up", i), b + "mlp.W_in", b + "mlp.b_in", wide, hidden);
    dense(s.stored("down", i), b + "mlp.W_out", b + "mlp.b_out", hidden, wide);
    norm(s.stored("ln2", i), b + "ln2", wide);
  }

  void head() {
    dense(s.stored("head_dense"), "mlm_head.W", "mlm_head.b", wide, {"hidden", s.d_embed});
    norm(s.stored("head_ln"), "mlm_head.ln", embed);
    // The checkpoint's own matrix, where it has one, whatever the configuration says of tying.
    std::string const matrix = s.stored("unembed") + ".weight", bias = s.stored("head_bias");
    w.store(matrix, {token, embed});
    if (s.tied) w.otherwise(matrix, "embeddings.word_embeddings.weight");
    w.store(bias, {token});
    if (std::string const other = s.stored("unembed") + ".bias"; other != bias) w.also(bias, other);
    w.name("unembed.W_U", matrix, [](tensor const& t) { return t.transposed(); });
    w.name("unembed.b_U", bias);
  }
};

}  // namespace

weight_table list_weights(encoder_spec const& s) {
  places p{s};
  p.table("embed.W_E", "word_embeddings", p.token);
  p.table("pos_embed.W_pos", "position_embeddings", {"pos", s.positions});
  if (s.types) p.table("token_type_embed.W_T", "token_type_embeddings", {"type", s.types});
  p.norm("embeddings.LayerNorm", "embed_ln", p.embed);
  if (s.projected) p.dense(s.stored("project"), "embed_project.W", "embed_project.b", p.embed, p.wide);
  for (std::size_t i = 0; i < s.layers; ++i) p.block(i);
  p.head();
  if (s.architecture == "electra") p.w.store(std::string(discriminators_own), {{"one", 1}, p.wide}, true);
  return std::move(p.w);
}

std::vector<hook_info> list_hooks(encoder_spec const& s) {
  std::vector<hook_info> hooks;
  dims const state{{"d_model", s.d_model}}, embed{s.embed_dim()}, per_head{{"head", s.heads}, {"d_head", s.d_head}},
      hidden{{"d_mlp", s.d_mlp}}, pairs{{"head", s.heads}};
  auto const add = [&](std::string name, dims row, std::string about, bool per_pair = false) {
    hooks.push_back({std::move(name), std::move(row), per_pair, std::move(about)});
  };
  auto const norm = [&](std::string const& at, std::string const& of, dims const& row) {
    add(at + "hook_scale", {{"one", 1}}, "square root of the variance of " + of + " plus epsilon");
    add(at + "hook_normalized", row, of + " less its mean, over hook_scale");
    add(at + "hook_out", row, "hook_normalized times weight plus bias");
  };
  add("hook_embed", embed, "row of the token embedding");
  add("hook_pos_embed", embed, "row of the position embedding");
  if (s.types) add("hook_token_type_embed", embed, "row of the token type embedding");
  norm("embed_ln.", s.types ? "the sum of the three embeddings" : "the sum of the two embeddings", embed);
  if (s.projected) add("hook_embed_projected", state, "embed_ln.hook_out brought to the width of the layers, bias included");
  for (std::size_t i = 0; i < s.layers; ++i) {
    auto const b = "blocks." + std::to_string(i) + ".";
    add(b + "hook_resid_pre", state, "state before the block: a norm's output");
    if (i == 0 && s.projected) hooks.back().about = "state before the block: hook_embed_projected";
    add(b + "attn.hook_q", per_head, "queries, bias included");
    add(b + "attn.hook_k", per_head, "keys, bias included");
    add(b + "attn.hook_v", per_head, "values, bias included");
    add(b + "attn.hook_attn_scores", pairs, "scaled q.k", true);
    add(b + "attn.hook_pattern", pairs, "softmax of the scores over keys", true);
    add(b + "attn.hook_z", per_head, "values weighted by the pattern, before W_O");
    add(b + "hook_attn_out", state, "what attention adds, bias included");
    add(b + "hook_resid_mid", state, "hook_resid_pre plus hook_attn_out");
    norm(b + "ln1.", "hook_resid_mid", state);
    add(b + "mlp.hook_pre", hidden, "before the activation function, bias included");
    add(b + "mlp.hook_post", hidden, "after the activation function");
    add(b + "hook_mlp_out", state, "what the MLP adds, bias included");
    add(b + "hook_resid_post", state, "ln1.hook_out plus hook_mlp_out");
    norm(b + "ln2.", "hook_resid_post", state);
  }
  add("mlm_head.hook_pre", embed, "the head's hidden state before its activation function");
  add("mlm_head.hook_post", embed, "the same after it");
  norm("mlm_head.ln.", "mlm_head.hook_post", embed);
  add("logits", {{"token", s.vocabulary}}, "unnormalised log probabilities of the token that stands at the position");
  return hooks;
}

}  // namespace wayfarer::encoder
