#include "gpt2_model.hpp"

#include <cmath>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/packing.hpp>
#include <wayfarer/pretrained.hpp>

#include "cached_run.hpp"
#include "tied_head.hpp"

namespace wayfarer {

gpt2_shape gpt2_shape::read(hf_config const& c) {
  using limits = model_limits;
  gpt2_shape s;
  s.layers = c.size({"n_layer", "num_hidden_layers"}, limits::layers);
  s.heads = c.size({"n_head", "num_attention_heads"}, limits::heads);
  s.d_model = c.size({"n_embd", "hidden_size"}, limits::width);
  if (s.d_model % s.heads != 0)
    c.json().at("n_head").fail(std::to_string(s.heads) + " heads do not divide n_embd " + std::to_string(s.d_model));
  s.d_head = s.d_model / s.heads;
  s.d_mlp = c.size("n_inner", limits::mlp, 4 * s.d_model);
  s.vocabulary = c.size("vocab_size", limits::vocabulary);
  bool const named = c.find("n_positions") || c.find("max_position_embeddings");
  s.positions =
      named ? c.size({"n_positions", "max_position_embeddings"}, limits::positions) : c.size("n_ctx", limits::positions);
  s.epsilon = c.number("layer_norm_epsilon", 0, 1, 1e-5);
  s.scaled = c.flag("scale_attn_weights", true);
  s.scaled_by_layer = c.flag("scale_attn_by_inverse_layer_idx", false);
  s.tied = c.flag("tie_word_embeddings", true);
  if (c.flag("add_cross_attention", false))
    c.json().at("add_cross_attention").fail("a GPT-2 that attends to an encoder can't be read; use a decoder-only one");
  return s;
}

double gpt2_shape::attention_scale(std::size_t layer) const {
  double const s = scaled ? 1 / std::sqrt(static_cast<double>(d_head)) : 1;
  return scaled_by_layer ? s / static_cast<double>(layer + 1) : s;
}
namespace {

/// Where every weight of the common names lies. Conv1D matrices are [in, out]; c_attn holds queries, keys and values side by
/// side.
weight_table list_weights(gpt2_shape const& s) {
  weight_table w;
  std::size_t const d = s.d_model;
  w.store("wte.weight", {{"token", s.vocabulary}, {"d_model", d}});
  w.store("wpe.weight", {{"pos", s.positions}, {"d_model", d}});
  w.name("embed.W_E", "wte.weight");
  w.name("pos_embed.W_pos", "wpe.weight");
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const p = "h." + std::to_string(i) + ".", b = "blocks." + std::to_string(i) + ".";
    auto const norm = [&](std::string const& stored, std::string const& common) {
      w.store(p + stored + ".weight", {{"d_model", d}});
      w.store(p + stored + ".bias", {{"d_model", d}});
      w.name(b + common + ".w", p + stored + ".weight");
      w.name(b + common + ".b", p + stored + ".bias");
    };
    auto const linear = [&](std::string const& stored, dim in, dim out) {
      w.store(p + stored + ".weight", {in, out});
      w.store(p + stored + ".bias", {out});
    };
    norm("ln_1", "ln1");
    linear("attn.c_attn", {"d_model", d}, {"qkv", 3 * d});
    linear("attn.c_proj", {"head_d_head", d}, {"d_model", d});
    char const* const names[] = {"Q", "K", "V"};
    for (auto const& [suffix, stored] : {std::pair{"attn.W_", "attn.c_attn.weight"}, std::pair{"attn.b_", "attn.c_attn.bias"}})
      for (std::size_t j = 0; j < 3; ++j)
        w.name(b + suffix + names[j], p + stored, [=](tensor const& t) { return split_heads(t, j * d, s.heads, s.d_head); });
    w.name(b + "attn.W_O", p + "attn.c_proj.weight", [=](tensor const& t) { return join_heads(t, s.heads); });
    w.name(b + "attn.b_O", p + "attn.c_proj.bias");
    norm("ln_2", "ln2");
    linear("mlp.c_fc", {"d_model", d}, {"d_mlp", s.d_mlp});
    linear("mlp.c_proj", {"d_mlp", s.d_mlp}, {"d_model", d});
    w.name(b + "mlp.W_in", p + "mlp.c_fc.weight");
    w.name(b + "mlp.b_in", p + "mlp.c_fc.bias");
    w.name(b + "mlp.W_out", p + "mlp.c_proj.weight");
    w.name(b + "mlp.b_out", p + "mlp.c_proj.bias");
  }
  w.store("ln_f.weight", {{"d_model", d}});
  w.store("ln_f.bias", {{"d_model", d}});
  w.name("ln_final.w", "ln_f.weight");
  w.name("ln_final.b", "ln_f.bias");
  // The checkpoint's own head, where it has one, whatever the configuration says of tying.
  w.store("lm_head.weight", {{"token", s.vocabulary}, {"d_model", d}});
  if (s.tied) w.otherwise("lm_head.weight", "wte.weight");
  w.store("lm_head.bias", {{"token", s.vocabulary}}, true);
  w.name("unembed.W_U", "lm_head.weight", [](tensor const& t) { return t.transposed(); });
  w.name("unembed.b_U", "lm_head.bias");
  return w;
}

/// The hooks in the order in which a forward pass reaches them.
std::vector<hook_info> list_hooks(gpt2_shape const& s) {
  std::vector<hook_info> hooks;
  dims const state{{"d_model", s.d_model}}, per_head{{"head", s.heads}, {"d_head", s.d_head}}, hidden{{"d_mlp", s.d_mlp}},
      pairs{{"head", s.heads}};
  auto const add = [&](std::string name, dims row, std::string about, bool per_pair = false) {
    hooks.push_back({std::move(name), std::move(row), per_pair, std::move(about)});
  };
  auto const norm = [&](std::string const& at, std::string const& of) {
    add(at + "hook_scale", {{"one", 1}}, "square root of the variance of " + of + " plus epsilon");
    add(at + "hook_normalized", state, of + " less its mean, over hook_scale");
    add(at + "hook_out", state, "hook_normalized times weight plus bias");
  };
  add("hook_embed", state, "row of the token embedding");
  add("hook_pos_embed", state, "row of the position embedding");
  for (std::size_t i = 0; i < s.layers; ++i) {
    auto const b = "blocks." + std::to_string(i) + ".";
    add(b + "hook_resid_pre", state, "residual stream before the block");
    norm(b + "ln1.", "hook_resid_pre");
    add(b + "attn.hook_q", per_head, "queries, bias included");
    add(b + "attn.hook_k", per_head, "keys, bias included");
    add(b + "attn.hook_v", per_head, "values, bias included");
    add(b + "attn.hook_attn_scores", pairs, "scaled q.k, -infinity for keys after the query", true);
    add(b + "attn.hook_pattern", pairs, "softmax of the scores over keys", true);
    add(b + "attn.hook_z", per_head, "values weighted by the pattern, before W_O");
    add(b + "hook_attn_out", state, "what attention adds to the residual stream, bias included");
    add(b + "hook_resid_mid", state, "residual stream between attention and MLP");
    norm(b + "ln2.", "hook_resid_mid");
    add(b + "mlp.hook_pre", hidden, "before the activation function, bias included");
    add(b + "mlp.hook_post", hidden, "after the activation function");
    add(b + "hook_mlp_out", state, "what the MLP adds to the residual stream, bias included");
    add(b + "hook_resid_post", state, "residual stream after the block");
  }
  norm("ln_final.", "the last hook_resid_post");
  add("logits", {{"token", s.vocabulary}}, "unnormalised log probabilities of the next token");
  return hooks;
}

}  // namespace

gpt2_model::gpt2_model(gpt2_shape const& s, activation act, std::string activation_name,
                       std::function<tokenizer const*()> find_tokenizer)
    : one_stack_model(list_weights(s), std::move(find_tokenizer)), shape_(s), gelu_(act) {
  info_.architecture = "gpt2";
  info_.layers = s.layers, info_.heads = s.heads, info_.d_model = s.d_model, info_.d_head = s.d_head;
  info_.d_mlp = s.d_mlp, info_.vocabulary = s.vocabulary, info_.longest = s.positions;
  info_.norm = norm_kind::layer, info_.norm_epsilon = s.epsilon;
  info_.attention_scale = s.attention_scale(0);
  for (std::size_t layer = 0; s.scaled_by_layer && layer < s.layers; ++layer)
    info_.attention_scales.push_back(s.attention_scale(layer));
  info_.activation = std::move(activation_name);
  info_.hooks = list_hooks(s);
  info_.weights = weights_.names();
}

void gpt2_model::take(std::string const& path) {
  weights_.load(path);
  find_parts(), keep_parts();
}

std::vector<std::string> gpt2_model::remarks_on_files(hf_config const& c) const {
  if (!weights_.looked()) return {};
  auto all = weights_.remarks();
  if (auto const own = own_head(weights_, "lm_head.weight", "wte.weight", c, shape_.tied)) all.push_back(*own);
  return all;
}
void gpt2_model::take(std::string const& what, std::map<std::string, tensor> const& tensors) {
  watch(what, tensors);
  keep_parts();
}
void gpt2_model::watch(std::string const& what, std::map<std::string, tensor> const& tensors) {
  weights_.load(what, tensors);
  find_parts();
}

void gpt2_model::find_parts() {
  if (!weights_.missing().empty()) return;  // for weight probes alone
  token_table_ = weights_.stored("wte.weight"), position_table_ = weights_.stored("wpe.weight");
  for (std::size_t i = 0; i < shape_.layers; ++i) {
    auto const p = "h." + std::to_string(i) + ".";
    auto const qkv = linear(p + "attn.c_attn");
    auto const part = [&](std::size_t j) {
      std::size_t const d = shape_.d_model;
      return linear_weights{qkv.w.slice(1, j * d, (j + 1) * d), qkv.b.slice(0, j * d, (j + 1) * d)};
    };
    blocks_.push_back({norm(p + "ln_1"),
                       {part(0), part(1), part(2), linear(p + "attn.c_proj")},
                       shape_.attention_scale(i),
                       norm(p + "ln_2"),
                       {linear(p + "mlp.c_fc"), linear(p + "mlp.c_proj"), {}, gelu_}});
  }
  ln_final_ = norm("ln_f");
  unembed_ = {weights_.stored("lm_head.weight"), weights_.stored("lm_head.bias"), false};
}

void gpt2_model::keep_parts() {
  if (blocks_.empty()) return;
  for (auto const& b : blocks_)
    for (auto const* w : {&b.attn.q, &b.attn.k, &b.attn.v, &b.attn.o, &b.mlp.in, &b.mlp.out}) kept_.push_back(keep_packed(*w));
  kept_.push_back(keep_packed(unembed_));
  prefix_ = std::make_unique<prefix_states>();
}

linear_weights gpt2_model::linear(std::string const& stored) const {
  return {weights_.stored(stored + ".weight"), weights_.stored(stored + ".bias")};
}
norm_weights gpt2_model::norm(std::string const& stored) const {
  return {weights_.stored(stored + ".weight"), weights_.stored(stored + ".bias"), shape_.epsilon};
}

activations gpt2_model::run(batch const& items, run_request const& request) const {
  taps at(info_, request);
  forward(items, request, at, nullptr);
  return at.take();
}

tensor gpt2_model::final_norm(tensor const& x) const {
  weights_.require_all();
  return on_rows(x, shape_.d_model, "d_model", [&](rows const& r) { return layer_norm(r, ln_final_, {}); });
}
rows gpt2_model::unembed_tokens(rows const& x, std::size_t first, std::size_t last) const {
  weights_.require_all();
  return wayfarer::linear(x, outputs_of(unembed_, first, last));
}

// x: [token, d_model], the residual stream of the whole batch, items packed end to end.
pass_end gpt2_model::forward(batch const& items, run_request const& request, taps& at, std::vector<key_values>* past) const {
  weights_.require_all();
  check_precision(request.precision);
  auto const of = row_packing::of(items.tokens, items.first_position);
  // Passes without edits seldom come again, and a benchmark that repeats one must do all of its work.
  bool const alone = past || !prefix_ || request.edits.empty() || at.on_tape();
  auto prefix = alone ? prefix_states::pass() : prefix_->open(items, request.precision, untouched_blocks(at, blocks_.size()));
  auto x = prefix.take_state();
  if (prefix.begin() == 0) {
    x = at("hook_embed", items.embeddings.defined()
                             ? rows_from(items.embeddings, of, shape_.d_model, request.precision, "embeddings", at.on_tape())
                             : embed(items.tokens, of, token_table_, request.precision, 1, at.on_tape()));
    x += at("hook_pos_embed", embed_positions(of, position_table_, request.precision, 0, at.on_tape()));
  }
  for (std::size_t i = prefix.begin(); i < blocks_.size(); ++i) {
    if (at.done() && !past) return {};
    prefix.before(i, x);
    auto const& b = blocks_[i];
    auto const here = at.block("blocks", i);
    x = here("hook_resid_pre", std::move(x));
    auto const normed = layer_norm(x, b.ln1, here.in("ln1"));
    x += here("hook_attn_out",
              attention(normed, normed, b.attn, {shape_.heads, b.scale, true}, here.in("attn"), past ? &(*past)[i] : nullptr));
    x = here("hook_resid_mid", std::move(x));
    if (at.done() && (!past || i + 1 == blocks_.size())) return {};
    x += here("hook_mlp_out", mlp(layer_norm(x, b.ln2, here.in("ln2")), b.mlp, here.in("mlp")));
    x = here("hook_resid_post", std::move(x));
  }
  if (at.done()) return {};
  pass_end end{layer_norm(x, ln_final_, at.in("ln_final"))};
  if (at.wants("logits"))
    end.logits = at("logits", wayfarer::linear(request.last_logits_only ? end.state.last() : end.state, unembed_));
  return end;
}

gradients gpt2_model::differentiate(batch const& items, gradient_request const& request) const {
  auto const pass = [&](taps& at) { return forward(items, request.forward, at, nullptr); };
  return wayfarer::differentiate(info_, items, request, pass, {unembed_});
}

std::unique_ptr<continued_run> gpt2_model::begin(batch const& items, run_request const& request, activations* captured) const {
  auto const pass = [this](batch const& some, run_request const& wanted, taps& at, std::vector<key_values>* past) {
    forward(some, wanted, at, past);
  };
  return begin_cached(info_, pass, shape_.layers, shape_.d_model, items, request, captured);
}

}  // namespace wayfarer
