#include "shape.hpp"

#include <cmath>
#include <string>
#include <utility>

#include <wayfarer/error.hpp>

#include "models/common/recurrent_model.hpp"

namespace wayfarer::mamba {
namespace {

using limits = model_limits;

/// [least, most] of the steps; the upper end may be written as transformers writes infinity.
void read_step_limit(hf_config const& c, shape& s) {
  auto const range = c.find("time_step_limit");
  if (!range) return;
  if (range->kind() != json_kind::array || range->size() != 2) range->fail("expected two numbers");
  s.least_step = range->at(0).as_number(0, 1e30);
  json_value const most = range->at(1);
  bool const infinite = most.kind() == json_kind::object && most.find("__float__");
  if (!infinite) s.most_step = most.as_number(s.least_step, 1e300);
}

void read_two(hf_config const& c, shape& s) {
  s.heads = c.size("num_heads", limits::heads, 128), s.d_head = c.size("head_dim", limits::width, 64);
  s.channels = s.heads * s.d_head;
  if (auto const expand = c.find("expand"))
    if (expand->as_number(0, 1e6) * static_cast<double>(s.d_model) != static_cast<double>(s.channels))
      expand->fail("times hidden_size is not num_heads times head_dim, " + std::to_string(s.channels));
  s.groups = c.size("n_groups", limits::heads, 8);
  if (s.heads % s.groups != 0)
    c.json().at("n_groups").fail(std::to_string(s.groups) + " groups do not divide " + std::to_string(s.heads) + " heads");
  read_step_limit(c, s);
  if (!c.flag("rms_norm", true)) c.json().at("rms_norm").fail("is false; only a checkpoint with true is read");
  if (c.flag("norm_before_gate", false)) c.json().at("norm_before_gate").fail("is true; only a norm behind the gate is read");
  c.find("chunk_size");
}

void read_one(hf_config const& c, shape& s) {
  double const expand = c.number("expand", 1.0 / 65'536, 65'536, 2);
  auto const wide = static_cast<std::size_t>(expand * static_cast<double>(s.d_model));
  s.channels = c.size("intermediate_size", limits::width, std::max<std::size_t>(1, wide));
  auto const rank = c.find("time_step_rank");
  bool const by_width = !rank || (rank->kind() == json_kind::string && rank->as_string() == "auto");
  s.rank = by_width ? (s.d_model + 15) / 16 : c.size("time_step_rank", limits::width);
  if (s.of == kind::falcon) s.mixer_epsilon = c.number("mixer_rms_eps", 0, 1, 1e-6);
  if (c.flag("use_falcon_mamba", s.of == kind::falcon) != (s.of == kind::falcon))
    c.json().at("use_falcon_mamba").fail("contradicts model_type " + in_quotes(c.model_type()));
}

}  // namespace

std::vector<std::string_view> model_types() {
  return {"mamba", "mamba2", "falcon_mamba"};
}

shape describe(hf_config const& c) {
  shape s;
  s.of = c.model_type() == "mamba2" ? kind::two : c.model_type() == "falcon_mamba" ? kind::falcon : kind::one;
  s.layers = c.size("num_hidden_layers", limits::layers), s.d_model = c.size("hidden_size", limits::width);
  s.vocabulary = c.size("vocab_size", limits::vocabulary);
  s.state = c.size("state_size", limits::width, s.two() ? 128 : 16);
  s.kernel = c.size("conv_kernel", 1024, 4);
  s.epsilon = c.number("layer_norm_epsilon", 0, 1, 1e-5);
  s.bias = c.flag("use_bias", false), s.conv_bias = c.flag("use_conv_bias", true);
  s.tied = c.flag("tie_word_embeddings", true);
  if (std::string const act = c.text("hidden_act", "silu"); act != "silu" && act != "swish")
    c.json().at("hidden_act").fail("is " + in_quotes(act) + "; Mamba is read with \"silu\"");
  if (s.two())
    read_two(c, s);
  else
    read_one(c, s);
  // How training starts and in which type it adds; no number of a pass.
  for (std::string_view const key :
       {"residual_in_fp32", "rescale_prenorm_residual", "time_step_floor", "time_step_init_scheme", "time_step_max",
        "time_step_min", "time_step_scale", "use_mambapy", "use_associative_scan", "d_inner", "d_model", "n_layer", "ssm_cfg",
        "rms_norm", "fused_add_norm", "pad_vocab_size_multiple", "num_heads", "head_dim", "expand"})
    c.find(key);
  c.refuse_unread();
  return s;
}

// ---- hooks -------------------------------------------------------------------------------------------------------------------

std::vector<hook_info> list_hooks(shape const& s) {
  recurrent_hooks h;
  h.state = {{"d_model", s.d_model}};
  dims const channel{{"channel", s.channels}}, step{s.two() ? dim{"head_of_channels", s.heads} : dim{"channel", s.channels}};
  dims const n = s.two() ? dims{{"group", s.groups}, {"state", s.state}} : dims{{"state", s.state}};
  dims const convolved{{s.two() ? "convolved" : "channel", s.convolved()}};
  std::string const normed = s.of == kind::falcon ? ", over its root mean square" : "";
  h.add("hook_embed", h.state, "row of the token embedding");
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const b = "blocks." + std::to_string(i) + ".", m = b + "ssm.";
    h.add(b + "hook_resid_pre", h.state, "residual stream before the block");
    h.norm(b + "ln1.", "hook_resid_pre", true);
    h.add(m + "hook_in", convolved,
          s.two() ? "what the convolution reads: channels, B and C, of ln1.hook_out" : "channels of ln1.hook_out");
    h.add(m + "hook_gate", channel, "gate of ln1.hook_out, before its activation");
    h.add(m + "hook_conv", convolved, "hook_in behind the causal convolution and silu");
    h.add(m + "hook_delta", step,
          s.two() ? "how far each head's state moves at this token" : "how far each channel's state moves at this token");
    h.add(m + "hook_B", n, "how the token is written to the state" + normed);
    h.add(m + "hook_C", n, "how the state is read" + normed);
    h.add(m + "hook_state", {{"channel", s.channels}, {"state", s.state}}, "behind each token");
    h.add(m + "hook_mixing", {{"head", 1}},
          "what the channels are weighted by, mean over channels; it has signs and no fixed sum", true);
    h.add(m + "hook_y", channel, "hook_C times hook_state, plus D times the token's own channel");
    h.add(m + "hook_z", channel, "hook_y times silu of hook_gate");
    if (s.two()) h.norm(m + "norm.", "hook_z", true, channel, {{"one", 1}});
    h.add(b + "hook_ssm_out", h.state, "what the block adds to the residual stream");
    h.add(b + "hook_resid_post", h.state, "hook_resid_pre plus hook_ssm_out");
  }
  h.norm("ln_final.", "the last hook_resid_post", true);
  h.add("logits", {{"token", s.vocabulary}}, "unnormalised log probabilities of the next token");
  return std::move(h.all);
}

// ---- weights -----------------------------------------------------------------------------------------------------------------

weight_table list_weights(shape const& s) {
  weight_table w;
  dim const wide{"d_model", s.d_model}, channel{"channel", s.channels}, n{"state", s.state}, token{"token", s.vocabulary};
  dim const step{s.two() ? "head_of_channels" : "channel", s.steps()};
  auto const vector = [&](std::string const& stored, std::string const& common, dims const& shape) {
    w.store(stored, shape), w.name(common, stored);
  };
  w.store("embeddings.weight", {token, wide}), w.also("embeddings.weight", "embedding.weight");
  w.name("embed.W_E", "embeddings.weight");
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const p = "layers." + std::to_string(i) + ".", m = p + "mixer.", b = "blocks." + std::to_string(i) + ".",
                      c = b + "ssm.";
    store_norm(w, p + "norm", b + "ln1", wide, false);
    store_matrix(w, m + "in_proj", c + "W_in", wide, {"projected", s.projected()});
    if (s.bias) vector(m + "in_proj.bias", c + "b_in", {{"projected", s.projected()}});
    vector(m + "conv1d.weight", c + "conv.w", {{"convolved", s.convolved()}, {"one", 1}, {"tap", s.kernel}});
    if (s.conv_bias) vector(m + "conv1d.bias", c + "conv.b", {{"convolved", s.convolved()}});
    if (s.two()) {
      vector(m + "dt_bias", c + "b_delta", {step});
      store_norm(w, m + "norm", c + "norm", channel, false);
    } else {
      store_matrix(w, m + "x_proj", c + "W_x", channel, {"rank_and_states", s.rank + 2 * s.state});
      store_matrix(w, m + "dt_proj", c + "W_delta", {"rank", s.rank}, channel);
      vector(m + "dt_proj.bias", c + "b_delta", {channel});
    }
    w.store(m + "A_log", s.two() ? dims{step} : dims{channel, n});
    w.name(c + "A", m + "A_log", [](tensor const& t) {
      tensor out = t.to(dtype::f64).clone();
      for (auto& v : out.values<double>()) v = -std::exp(v);
      return out;
    });
    vector(m + "D", c + "D", {step});
    store_matrix(w, m + "out_proj", c + "W_out", channel, wide);
    if (s.bias) vector(m + "out_proj.bias", c + "b_out", {wide});
  }
  store_norm(w, "norm_f", "ln_final", wide, false);
  w.store("lm_head.weight", {token, wide});
  if (s.tied) w.otherwise("lm_head.weight", "embeddings.weight");
  w.name("unembed.W_U", "lm_head.weight", [](tensor const& t) { return t.transposed(); });
  w.zeros("unembed.b_U", {token});
  return w;
}

}  // namespace wayfarer::mamba
