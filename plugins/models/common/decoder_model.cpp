#include "decoder_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/packing.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/safetensors.hpp>

#include "cached_run.hpp"
#include "decoder_parts.hpp"
#include "tied_head.hpp"

namespace wayfarer {

decoder_model::decoder_model(decoder_spec spec, std::function<tokenizer const*()> find_tokenizer)
    : one_stack_model(decoder_weights(spec), std::move(find_tokenizer)), spec_(std::move(spec)) {
  decoder_spec const& s = spec_;
  info_.architecture = s.architecture;
  info_.layers = s.layers, info_.heads = s.heads, info_.kv_heads = s.kv_heads, info_.d_model = s.d_model, info_.d_head = s.d_head;
  info_.d_mlp = s.d_mlp, info_.vocabulary = s.vocabulary, info_.longest = s.positions;
  info_.norm = s.rms ? norm_kind::rms : norm_kind::layer, info_.norm_epsilon = s.epsilon;
  info_.attention_scale = s.each.front().scale;
  bool const differ =
      std::any_of(s.each.begin(), s.each.end(), [&](decoder_layer const& l) { return l.scale != s.each[0].scale; });
  for (auto const& layer : s.each)
    if (differ) info_.attention_scales.push_back(layer.scale);
  info_.activation = s.activation_name;
  if (s.logit_cap > 0) info_.facts["logit_cap"] = param_value(s.logit_cap);
  if (s.logit_scale != 1) info_.facts["logit_scale"] = param_value(s.logit_scale);
  if (s.residual_scale != 1) info_.facts["residual_multiplier"] = param_value(s.residual_scale);
  tell_rotation();
  info_.hooks = decoder_hooks(s);
  info_.weights = weights_.names();
}

/// How queries and keys turn, for probes of weights: of texts no longer than those that the model was trained on.
void decoder_model::tell_rotation() {
  if (spec_.rotations.empty()) return;
  std::vector<std::int64_t> of;
  for (auto const& layer : spec_.each) of.push_back(layer.turns ? static_cast<std::int64_t>(layer.rotation) : -1);
  std::vector<double> radians;
  for (auto const& r : spec_.rotations)
    for (float const f : r.frequencies(1)) radians.push_back(double{f});
  info_.facts["rotation_of_block"] = param_value(of);
  info_.facts["rotary_frequencies"] = param_value(radians);
  info_.facts["rotary_turned"] = param_value(static_cast<std::int64_t>(spec_.rotations.front().turned));
  info_.facts["rotary_pairs"] = param_value(spec_.rotations.front().pairs);
  info_.facts["rotary_scale"] = param_value(double{spec_.rotations.front().scale()});
}

// ---- weights -----------------------------------------------------------------------------------------------------------------

void decoder_model::take(std::string const& path) {
  weights_.load(path);
  find_parts(), keep_parts();
}

void decoder_model::take(std::string const& what, std::map<std::string, tensor> const& tensors) {
  watch(what, tensors);
  keep_parts();
}

void decoder_model::watch(std::string const& what, std::map<std::string, tensor> const& tensors) {
  weights_.load(what, tensors);
  find_parts();
}

namespace {

/// Whether frequencies of a file are these, as far as half precision tells.
bool about_equal(std::span<float const> a, std::vector<float> const& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](float x, float y) { return std::abs(x - y) <= 0.01f * std::abs(y) + 1e-6f; });
}

/// Old files carry the frequencies of the rotation. A sentence on those that are others than config.json's; else "".
std::string other_frequencies(hf_config const& c, std::vector<rotary> const& rotations) {
  if (rotations.empty()) return {};
  auto const file = open_checkpoint(c.folder());
  std::vector<std::string> others;
  for (auto const& name : file.names()) {
    if (!matches("*rotary_emb.inv_freq", name)) continue;
    tensor const stored = file.tensor(name).to(dtype::f32);
    bool const known = std::any_of(rotations.begin(), rotations.end(), [&](rotary const& r) {
      rotary plain = r;
      plain.kind = rotary_scaling::none;
      auto const numbers = stored.values<float const>();
      return about_equal(numbers, plain.frequencies(1)) || about_equal(numbers, r.frequencies(1));
    });
    if (!known) others.push_back(name);
  }
  if (others.empty()) return {};
  return c.folder() + ": '" + others.front() + "'" +
         (others.size() > 1 ? " and " + std::to_string(others.size() - 1) + " more hold" : std::string(" holds")) +
         " other rotary frequencies than config.json gives (rope_theta, rope_scaling); those of config.json are used";
}

}  // namespace

std::vector<std::string> decoder_model::remarks_on_files(hf_config const& c) const {
  if (!weights_.looked()) return {};
  auto all = weights_.remarks();
  if (auto other = other_frequencies(c, spec_.rotations); !other.empty()) all.push_back(std::move(other));
  if (auto const own = own_head(weights_, spec_.stored("head") + ".weight", spec_.stored("embed") + ".weight", c, spec_.tied))
    all.push_back(*own);
  return all;
}

linear_weights decoder_model::linear(std::string_view part, std::string const& stored) const {
  return {weights_.stored(stored + ".weight"), spec_.biased(part) ? weights_.stored(stored + ".bias") : tensor(), spec_.conv1d};
}

norm_weights decoder_model::norm(std::string const& stored, bool bias) const {
  norm_weights n;
  n.epsilon = spec_.epsilon;
  if (!spec_.norm_affine) return n;
  n.w = weights_.stored(stored + ".weight"), n.plus_one = spec_.norm_plus_one;
  if (bias) n.b = weights_.stored(stored + ".bias");
  return n;
}

/// Queries, keys and values of a projection in which they lie one behind the other: views.
void decoder_model::split(linear_weights const& all, block& b) const {
  std::size_t from = 0;
  for (auto const& [to, heads] :
       {std::pair{&b.q, spec_.heads}, std::pair{&b.k, spec_.kv_heads}, std::pair{&b.v, spec_.kv_heads}}) {
    std::size_t const end = from + heads * spec_.d_head;
    *to = {all.w.slice(all.in_first ? 1 : 0, from, end), all.b.defined() ? all.b.slice(0, from, end) : tensor(), all.in_first};
    from = end;
  }
}

mixing_options decoder_model::mixing_of(std::size_t layer) const {
  mixing_options out{spec_.heads, spec_.kv_heads, spec_.each[layer].window};
  if (spec_.has("distance")) out.by_distance = weights_.stored(spec_.stored("distance", layer));
  out.softmax = spec_.mixer != mixer_kind::conv;
  return out;
}

void decoder_model::find_parts() {
  if (!weights_.missing().empty()) return;  // for weight probes alone
  decoder_spec const& s = spec_;
  token_table_ = weights_.stored(s.stored("embed") + ".weight");
  if (s.position == positions_kind::table) position_table_ = weights_.stored(s.stored("pos") + ".weight");
  if (s.has("embed_ln")) embed_ln_ = norm(s.stored("embed_ln"), s.norm_bias);
  if (s.has("project_in")) {
    project_in_ = {weights_.stored(s.stored("project_in") + ".weight"), {}, false};
    project_out_ = {weights_.stored(s.stored("project_out") + ".weight"), {}, false};
  }
  if (interleaved()) {
    for (std::size_t h = 0; h < s.heads; ++h) q_columns_.push_back(fused_row(s, 'q', h));
    for (std::size_t h = 0; h < s.kv_heads; ++h)
      k_columns_.push_back(fused_row(s, 'k', h)), v_columns_.push_back(fused_row(s, 'v', h));
  }
  for (std::size_t i = 0; i < s.layers; ++i) {
    block b;
    auto const part = [&](std::string_view name) { return linear(name, s.stored(name, i)); };
    for (auto const& [name, to] : {std::pair{"ln1", &b.ln1}, std::pair{"ln2", &b.ln2}, std::pair{"ln1_post", &b.ln1_post},
                                   std::pair{"ln2_post", &b.ln2_post}})
      if (s.has(name)) *to = norm(s.stored(name, i), s.norm_bias);
    if (interleaved())
      b.qkv = part("qkv");
    else if (s.fused == fused_rows::plain)
      split(part("qkv"), b);
    else if (s.mixer == mixer_kind::attention)
      b.q = part("q"), b.k = part("k"), b.v = part("v");
    else
      b.v = part("v"), b.mixing = mixing_of(i);
    if (s.head_norms)
      for (auto const& [name, to, heads] :
           {std::tuple{"q_norm", &b.q_norm, s.heads}, std::tuple{"k_norm", &b.k_norm, s.kv_heads}}) {
        *to = norm(s.stored(name, i), s.head_norms_bias);
        to->groups = s.head_norms_whole ? 1 : heads;
        if (s.head_norms_own) to->w = to->w.reshaped({{"head_d_head", heads * s.d_head}});
      }
    b.o = part("o");
    b.mlp.act = s.act, b.mlp.out = part("down");
    if (s.has("gate_up")) {
      auto const both = part("gate_up");
      b.mlp.gate = {both.w.slice(0, 0, s.d_mlp), {}, false};
      b.mlp.in = {both.w.slice(0, s.d_mlp, 2 * s.d_mlp), {}, false};
    } else {
      b.mlp.in = part("up");
      if (s.gated) b.mlp.gate = part("gate");
    }
    blocks_.push_back(std::move(b));
  }
  if (s.has("final")) ln_final_ = norm(s.stored("final"), s.norm_bias);
  unembed_ = {weights_.stored(s.stored("head") + ".weight"),
              s.biased("head") ? weights_.stored(s.stored("head") + ".bias") : tensor(), false};
}

void decoder_model::keep_parts() {
  if (blocks_.empty()) return;
  for (auto const& b : blocks_)
    for (auto const* w : {&b.qkv, &b.q, &b.k, &b.v, &b.o, &b.mlp.gate, &b.mlp.in, &b.mlp.out}) kept_.push_back(keep_packed(*w));
  kept_.push_back(keep_packed(unembed_));
  prefix_ = std::make_unique<prefix_states>();
}

// ---- forward pass ------------------------------------------------------------------------------------------------------------

rows decoder_model::norm(rows const& x, norm_weights const& w, tap_scope const& at) const {
  return spec_.rms ? rms_norm(x, w, at) : layer_norm(x, w, at);
}

/// Texts must not exceed the model's positions, and a run can continue only if its cached keys keep their rotation.
void decoder_model::check_positions(row_packing const& of, std::vector<key_values> const* past) const {
  for (std::size_t i = 0; i < of.items(); ++i) {
    std::size_t end = 0;
    bool const beyond = __builtin_add_overflow(of.first_position[i], of.length(i), &end);
    if (of.length(i) && spec_.positions && (beyond || end > spec_.positions))
      throw data_error("item " + std::to_string(i) + " reaches position " + std::to_string(end - 1) +
                       ", but the model has only " + std::to_string(spec_.positions) + " positions; cut it (max_tokens)");
    std::size_t const before = past && !past->empty() ? past->front().length(i) : 0;
    if (before == 0) continue;
    for (auto const& r : spec_.rotations)
      if (!r.same(of.first_position[i], end))
        throw usage_error("item " + std::to_string(i) + " grows from " + std::to_string(of.first_position[i]) + " to " +
                          std::to_string(end) +
                          " tokens, and there the model's rope_scaling turns all earlier keys anew; run the "
                          "whole text at once");
  }
}

rows decoder_model::embedding(batch const& items, std::shared_ptr<row_packing const> const& of, run_request const& request,
                              taps& at) const {
  if (items.embeddings.defined())
    return at("hook_embed", rows_from(items.embeddings, of, spec_.d_model, request.precision, "embeddings", at.on_tape()));
  rows x = embed(items.tokens, of, token_table_, request.precision, spec_.embed_scale, at.on_tape());
  if (spec_.has("project_in")) x = wayfarer::linear(x, project_in_);
  if (spec_.has("embed_ln")) x = norm(x, embed_ln_, at.in("embed_ln"));
  return at("hook_embed", std::move(x));
}

std::array<rows, 3> decoder_model::projected(block const& b, rows const& x) const {
  if (!interleaved()) return project(x, b.q, b.k, b.v);
  rows const all = wayfarer::linear(x, b.qkv);
  return {columns(all, spec_.d_head, q_columns_), columns(all, spec_.d_head, k_columns_), columns(all, spec_.d_head, v_columns_)};
}

rows decoder_model::attention(std::size_t layer, rows const& x, pass const& p, tap_scope const& at) const {
  decoder_spec const& s = spec_;
  block const& b = blocks_[layer];
  decoder_layer const& how = s.each[layer];

  // Project.
  auto made = projected(b, x);
  rows q = at("hook_q", std::move(made[0])), k = at("hook_k", std::move(made[1])), v = at("hook_v", std::move(made[2]));

  // Position.
  if (s.head_norms) {
    auto const normed = [&](rows const& of, norm_weights const& w, tap_scope const& here) {
      return s.head_norms_rms ? rms_norm(of, w, here) : layer_norm(of, w, here);
    };
    q = normed(q, b.q_norm, at.in("q_norm")), k = normed(k, b.k_norm, at.in("k_norm"));
  }
  if (how.turns) {
    rows const& angles = p.angles[how.rotation];
    bool const pairs = s.rotations[how.rotation].pairs;
    q = at("hook_rot_q", rotate(std::move(q), s.heads, angles, pairs));
    k = at("hook_rot_k", rotate(std::move(k), s.kv_heads, angles, pairs));
  }

  // Cache.
  key_values* const past = p.past ? &(*p.past)[layer] : nullptr;
  if (past) past->append(k, v);

  // Attend.
  position_bias bias = p.bias;
  if (bias.any() && at.wants("hook_bias")) {
    auto const& of = q.shared_packing();
    std::vector<std::size_t> keys;
    for (std::size_t i = 0; i < of->items(); ++i) keys.push_back(past ? past->length(i) : of->length(i));
    bias.full = at("hook_bias", expand(p.bias, of, keys, p.request.precision));
  }
  attend_options options{s.heads, how.scale, true, bias.any() ? &bias : nullptr};
  options.kv_heads = s.kv_heads, options.window = how.window, options.cap = s.score_cap;
  return wayfarer::linear(past ? attend(q, *past, options, at) : attend(q, k, v, options, at), b.o);
}

/// In attention's place where weights follow from positions alone. The cache holds values in the place of keys as well.
rows decoder_model::mixed(std::size_t layer, rows const& x, pass const& p, tap_scope const& at) const {
  block const& b = blocks_[layer];
  rows const v = at("hook_v", wayfarer::linear(x, b.v));
  key_values* const past = p.past ? &(*p.past)[layer] : nullptr;
  if (past) past->append(v, v);
  return wayfarer::linear(mix(v, b.mixing, at, past), b.o);
}

rows decoder_model::feed_forward(block const& b, rows const& x, tap_scope const& at) const {
  return mlp(x, b.mlp, at);
}

// x: [token, d_model], the residual stream of the whole batch, items packed end to end.
pass_end decoder_model::forward(batch const& items, run_request const& request, taps& at, std::vector<key_values>* past) const {
  weights_.require_all();
  check_precision(request.precision);
  decoder_spec const& s = spec_;
  auto const of = row_packing::of(items.tokens, items.first_position);
  check_positions(*of, past);
  // Passes without edits seldom come again, and a benchmark that repeats one must do all of its work.
  bool const alone = past || !prefix_ || request.edits.empty() || at.on_tape();
  auto prefix = alone ? prefix_states::pass() : prefix_->open(items, request.precision, untouched_blocks(at, blocks_.size()));
  rows x = prefix.begin() ? prefix.take_state() : embedding(items, of, request, at);
  if (s.position == positions_kind::table && prefix.begin() == 0)
    x += at("hook_pos_embed", embed_positions(of, position_table_, request.precision, s.position_offset, at.on_tape()));
  pass p{request, {}, {}, past};
  for (auto const& r : s.rotations) p.angles.push_back(rotary_angles(r, of, request.precision));
  if (s.position == positions_kind::alibi) {
    std::size_t most = 1;
    for (std::size_t i = 0; i < of->items(); ++i) most = std::max(most, of->first_position[i] + of->length(i));
    p.bias.by_key = alibi_bias(s, most);
  }
  for (std::size_t i = prefix.begin(); i < blocks_.size(); ++i) {
    if (at.done() && !past) return {};
    prefix.before(i, x);
    auto const& b = blocks_[i];
    auto const here = at.block("blocks", i);
    x = here("hook_resid_pre", std::move(x));
    bool const post = s.form == residual_form::post_norm, parallel = s.form == residual_form::parallel;
    rows const read = !post && s.has("ln1") ? norm(x, b.ln1, here.in("ln1")) : x;
    rows attended =
        s.mixer == mixer_kind::attention ? attention(i, read, p, here.in("attn")) : mixed(i, read, p, here.in("attn"));
    if (s.has("ln1_post")) attended = norm(attended, b.ln1_post, here.in("ln1_post"));
    attended = here("hook_attn_out", added(std::move(attended)));
    bool const last = at.done() && (!past || i + 1 == blocks_.size());
    if (parallel) {
      if (last) return {};
      rows const fed = feed_forward(b, s.has("ln2") ? norm(x, b.ln2, here.in("ln2")) : read, here.in("mlp"));
      x += attended;
      x += here("hook_mlp_out", added(fed));
    } else {
      x += attended;
      x = here("hook_resid_mid", std::move(x));
      if (at.done() && (!past || i + 1 == blocks_.size())) return {};
      if (post) x = norm(x, b.ln1, here.in("ln1"));
      rows fed = feed_forward(b, !post && s.has("ln2") ? norm(x, b.ln2, here.in("ln2")) : x, here.in("mlp"));
      if (s.has("ln2_post")) fed = norm(fed, b.ln2_post, here.in("ln2_post"));
      x += here("hook_mlp_out", added(std::move(fed)));
    }
    x = here("hook_resid_post", std::move(x));
    if (post) x = norm(x, b.ln2, here.in("ln2"));
  }
  if (at.done()) return {};
  if (s.has("final")) x = norm(x, ln_final_, at.in("ln_final"));
  if (at.done()) return {};
  pass_end end{before_head(request.last_logits_only ? x.last() : x)};
  if (at.wants("logits")) end.logits = at("logits", head(end.state, 0, spec_.vocabulary));
  return end;
}

rows decoder_model::head(rows x, std::size_t first, std::size_t last) const {
  x = wayfarer::linear(x, outputs_of(unembed_, first, last));
  if (spec_.logit_scale != 1) x = scaled(std::move(x), spec_.logit_scale);
  return spec_.logit_cap > 0 ? capped(std::move(x), spec_.logit_cap) : x;
}

activations decoder_model::run(batch const& items, run_request const& request) const {
  taps at(info_, request);
  forward(items, request, at, nullptr);
  return at.take();
}

std::unique_ptr<continued_run> decoder_model::begin(batch const& items, run_request const& request, activations* captured) const {
  auto const step = [this](batch const& some, run_request const& wanted, taps& at, std::vector<key_values>* past) {
    forward(some, wanted, at, past);
  };
  return begin_cached(info_, step, spec_.layers, spec_.kv_heads * spec_.d_head, items, request, captured);
}

gradients decoder_model::differentiate(batch const& items, gradient_request const& request) const {
  auto const run_once = [&](taps& at) { return forward(items, request.forward, at, nullptr); };
  return wayfarer::differentiate(info_, items, request, run_once, {unembed_, spec_.logit_scale, spec_.logit_cap});
}

tensor decoder_model::final_norm(tensor const& x) const {
  weights_.require_all();
  return on_rows(x, spec_.d_model, "d_model", [&](rows const& r) {
    if (spec_.has("final")) return norm(r, ln_final_, {});
    return spec_.form == residual_form::post_norm ? norm(r, blocks_.back().ln2, {}) : r;
  });
}

rows decoder_model::unembed_tokens(rows const& x, std::size_t first, std::size_t last) const {
  weights_.require_all();
  return head(before_head(x), first, last);
}

}  // namespace wayfarer
