#include "shape.hpp"

#include <string>
#include <utility>

#include <wayfarer/error.hpp>

#include "models/common/recurrent_model.hpp"

namespace wayfarer::aft {

using limits = model_limits;

shape describe(hf_config const& c) {
  shape s;
  std::string const kind = c.text("aft_variant", "full");
  if (kind == "simple")
    s.of = variant::simple;
  else if (kind == "local")
    s.of = variant::local;
  else if (kind == "conv")
    s.of = variant::conv;
  else if (kind != "full")
    c.json().at("aft_variant").fail("is " + in_quotes(kind) + "; read are \"full\", \"simple\", \"local\" and \"conv\"");
  s.layers = c.size("num_hidden_layers", limits::layers), s.d_model = c.size("hidden_size", limits::width);
  s.vocabulary = c.size("vocab_size", limits::vocabulary);
  s.d_mlp = c.size("intermediate_size", limits::mlp, 4 * s.d_model);
  s.positions = c.size("max_position_embeddings", limits::positions, 2048);
  s.position_table = c.flag("position_embeddings", true);
  s.epsilon = c.number("layer_norm_eps", 0, 1, 1e-5);
  s.tied = c.flag("tie_word_embeddings", false);
  if (s.of == variant::local || s.of == variant::conv)
    s.window = c.size("local_window", limits::positions);
  else
    c.find("local_window");
  s.rank = c.find("position_bias_rank") && s.by_pair() ? c.size("position_bias_rank", limits::width) : 0;
  if (s.of == variant::conv) s.heads = c.size("num_heads", limits::heads, 1);
  if (s.d_model % s.heads != 0)
    c.json().at("num_heads").fail(std::to_string(s.heads) + " heads do not divide hidden_size " + std::to_string(s.d_model));
  s.act_name = c.text("hidden_act", "gelu_new");
  try {
    s.act = activation_of(s.act_name);
  } catch (usage_error const& e) {
    c.json().at("hidden_act").fail(e.what());
  }
  c.find("num_attention_heads");  // written by some who make such folders; the mixer has none
  c.refuse_unread();
  return s;
}

// ---- hooks -------------------------------------------------------------------------------------------------------------------

std::vector<hook_info> list_hooks(shape const& s) {
  recurrent_hooks h;
  h.state = {{"d_model", s.d_model}};
  dims const row{{"head", s.heads}, {"d_head", s.d_model / s.heads}}, pair{{"head", s.heads}};
  h.add("hook_embed", h.state, "row of the token embedding");
  if (s.position_table) h.add("hook_pos_embed", h.state, "row of the position embedding");
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const b = "blocks." + std::to_string(i) + ".", a = b + "attn.", m = b + "mlp.";
    h.add(b + "hook_resid_pre", h.state, "residual stream before the block");
    h.norm(b + "ln1.", "hook_resid_pre", false);
    h.add(a + "hook_q", row, "queries of ln1.hook_out");
    h.add(a + "hook_k", row, "keys of ln1.hook_out");
    h.add(a + "hook_v", row, "values of ln1.hook_out");
    h.add(a + "hook_gate", row, "sigmoid of the queries");
    if (s.of != variant::simple)
      h.add(a + "hook_position_bias", pair, "what is added to each key, by its place and the query's; not masked", true);
    if (s.of != variant::full)
      h.add(a + "hook_state", {{"part", 3}, {"channel", s.d_model}},
            std::string(s.window ? "of the positions behind the window" : "behind each token") +
                ": the weighted sum of values and that of ones, both over e^scale, and that scale");
    h.add(a + "hook_pattern", pair,
          "what the values are weighted by, mean over a head's channels; each channel's weights sum to 1", true);
    h.add(a + "hook_wkv", row, "values weighted by each channel's own weights");
    h.add(a + "hook_z", row, "hook_gate times hook_wkv, before W_O");
    h.add(b + "hook_attn_out", h.state, "what mixing adds to the residual stream");
    h.add(b + "hook_resid_mid", h.state, "hook_resid_pre plus hook_attn_out");
    h.norm(b + "ln2.", "hook_resid_mid", false);
    h.add(m + "hook_pre", {{"d_mlp", s.d_mlp}}, "before the activation function, bias included");
    h.add(m + "hook_post", {{"d_mlp", s.d_mlp}}, "after the activation function");
    h.add(b + "hook_mlp_out", h.state, "what the MLP adds to the residual stream, bias included");
    h.add(b + "hook_resid_post", h.state, "hook_resid_mid plus hook_mlp_out");
  }
  h.norm("ln_final.", "the last hook_resid_post", false);
  h.add("logits", {{"token", s.vocabulary}}, "unnormalised log probabilities of the next token");
  return std::move(h.all);
}

// ---- weights -----------------------------------------------------------------------------------------------------------------

weight_table list_weights(shape const& s) {
  weight_table w;
  dim const wide{"d_model", s.d_model}, hidden{"d_mlp", s.d_mlp}, token{"token", s.vocabulary}, place{"pos", s.positions};
  auto const plain = [&](std::string const& stored, std::string const& common, dims const& shape) {
    w.store(stored, shape), w.name(common, stored);
  };
  plain("embed_tokens.weight", "embed.W_E", {token, wide});
  if (s.position_table) plain("embed_positions.weight", "pos_embed.W_pos", {place, wide});
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const p = "layers." + std::to_string(i) + ".", b = "blocks." + std::to_string(i) + ".", a = p + "attn.";
    store_norm(w, p + "input_layernorm", b + "ln1", wide, true);
    for (auto const& [stored, letter] : {std::pair{"q_proj", "gate"}, std::pair{"k_proj", "K"}, std::pair{"v_proj", "V"}})
      store_matrix(w, a + stored, b + "attn.W_" + letter, wide, {"channel", s.d_model});
    store_matrix(w, a + "o_proj", b + "attn.W_O", {"channel", s.d_model}, wide);
    if (s.by_pair() && s.rank) {
      plain(a + "position_bias_u", b + "attn.position_bias_u", {place, {"rank", s.rank}});
      plain(a + "position_bias_v", b + "attn.position_bias_v", {place, {"rank", s.rank}});
    } else if (s.by_pair()) {
      plain(a + "position_bias", b + "attn.position_bias", {{"query", s.positions}, {"key", s.positions}});
    } else if (s.of == variant::conv) {
      plain(a + "position_bias", b + "attn.position_bias", {{"head", s.heads}, {"distance", s.window}});
    }
    store_norm(w, p + "post_attention_layernorm", b + "ln2", wide, true);
    store_matrix(w, p + "mlp.c_fc", b + "mlp.W_in", wide, hidden);
    plain(p + "mlp.c_fc.bias", b + "mlp.b_in", {hidden});
    store_matrix(w, p + "mlp.c_proj", b + "mlp.W_out", hidden, wide);
    plain(p + "mlp.c_proj.bias", b + "mlp.b_out", {wide});
  }
  store_norm(w, "norm", "ln_final", wide, true);
  w.store("lm_head.weight", {token, wide});
  if (s.tied) w.otherwise("lm_head.weight", "embed_tokens.weight");
  w.name("unembed.W_U", "lm_head.weight", [](tensor const& t) { return t.transposed(); });
  w.zeros("unembed.b_U", {token});
  return w;
}

}  // namespace wayfarer::aft
