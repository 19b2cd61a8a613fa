#include "versions.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <wayfarer/error.hpp>

#include "models/common/recurrent_model.hpp"

namespace wayfarer::rwkv {
namespace {

using limits = model_limits;

std::size_t rounded(double x, std::size_t to) {
  return static_cast<std::size_t>(std::round(x / static_cast<double>(to))) * to;
}

/// heads from head_size, or from num_attention_heads, of width d_attn.
void read_heads(hf_config const& c, spec& s, std::string_view size_key) {
  s.d_head = c.size(size_key, limits::width, 64);
  for (std::string_view const key : {"num_attention_heads", "num_heads"})
    if (auto const n = c.find(key)) {
      auto const heads = static_cast<std::size_t>(n->as_integer(1, limits::heads));
      if (heads * s.d_head != s.d_attn)
        n->fail(std::to_string(heads) + " heads of " + std::to_string(s.d_head) + " (" + std::string(size_key) +
                ") do not make " + std::to_string(s.d_attn));
    }
  if (s.d_attn % s.d_head != 0)
    c.json().fail("heads of " + std::to_string(s.d_head) + " (" + std::string(size_key) + ") do not divide " +
                  std::to_string(s.d_attn));
  s.heads = s.d_attn / s.d_head;
}

void read_four_to_six(hf_config const& c, spec& s) {
  s.d_attn = c.size("attention_hidden_size", limits::width, s.d_model);
  s.epsilon = c.number("layer_norm_epsilon", 0, 1, 1e-5);
  // Said of training and of float16 at inference; neither limits nor changes what is computed here.
  for (std::string_view const key : {"context_length", "rescale_every"}) c.find(key);
  std::size_t otherwise = 4 * s.d_model;
  if (s.of == version::v5_2 || s.of == version::v6) otherwise = std::max<std::size_t>(1, 7 * s.d_model / 2 / 32 * 32);
  s.d_mlp = c.size("intermediate_size", limits::mlp, otherwise);
  if (s.of == version::v4) {
    s.d_head = s.d_attn;
    return;
  }
  if (s.d_attn != s.d_model)
    c.json()
        .at("attention_hidden_size")
        .fail("is not hidden_size; RWKV-" + std::string(name_of(s.of)) + " norms rows of hidden_size");
  read_heads(c, s, "head_size");
  // RWKV-5's code divides by head_size_divisor before the norm where the configuration has it, RWKV-6's always.
  double const divisor = c.number("head_size_divisor", 1, 1e6, s.of == version::v6 ? 8 : 1);
  s.group_epsilon = 1e-5 * divisor * divisor;
  bool const large = s.d_model == 4096;
  s.rank_mix = large ? 64 : 32, s.rank_decay = large ? 128 : 64;
}

void read_seven(hf_config const& c, spec& s) {
  s.d_attn = s.d_model;
  s.epsilon = c.number("norm_eps", 0, 1, 1e-5);
  read_heads(c, s, "head_dim");
  s.group_epsilon = static_cast<double>(s.d_head) * s.epsilon;
  double const ratio = c.number("hidden_ratio", 1.0 / 65'536, 65'536, 4);
  auto const wide = static_cast<std::size_t>(ratio * static_cast<double>(s.d_model));
  s.d_mlp = c.size("intermediate_size", limits::mlp, std::max<std::size_t>(1, (wide + 31) / 32 * 32));
  double const root = std::sqrt(static_cast<double>(s.d_model)), factor = static_cast<double>(s.d_head) / 64;
  auto const rank = [&](std::string_view key, double otherwise) {
    return c.size(key, limits::width, std::max<std::size_t>(32, rounded(otherwise, 32)));
  };
  s.rank_decay = rank("decay_low_rank_dim", 2.5 * root * factor), s.rank_rate = rank("a_low_rank_dim", 2.5 * root * factor);
  s.rank_value = rank("v_low_rank_dim", 1.7 * root * factor), s.rank_gate = rank("gate_low_rank_dim", 5 * root);
  if (std::string const act = c.text("hidden_act", "sqrelu"); act != "sqrelu" && act != "relu2")
    c.json().at("hidden_act").fail("is " + in_quotes(act) + "; RWKV-7's MLP is read with \"sqrelu\"");
  for (std::string_view const key : {"norm_first", "norm_bias"})
    if (!c.flag(key, true)) c.json().at(key).fail("is false; only a checkpoint with true is read");
  if (auto const mixed = c.find("attn")) mixed->fail("layers with attention among RWKV's are not read; only null is");
  if (auto const wider = c.find("value_dim")) {
    auto const fits = [&](json_value const& v) {
      if (v.as_integer() != static_cast<std::int64_t>(s.d_model))
        v.fail("is not hidden_size; values of another width than keys are not read");
    };
    if (wider->kind() == json_kind::array)
      for (std::size_t i = 0; i < wider->size(); ++i) fits(wider->at(i));
    else
      fits(*wider);
  }
  for (std::string_view const key :
       {"attn_mode", "fuse_norm", "fuse_cross_entropy", "fuse_linear_cross_entropy", "max_position_embeddings", "use_l2warp"})
    c.find(key);
}

}  // namespace

std::string_view name_of(version v) noexcept {
  switch (v) {
    case version::v4:
      return "4";
    case version::v5_1:
      return "5.1";
    case version::v5_2:
      return "5.2";
    case version::v6:
      return "6";
    case version::v7:
      break;
  }
  return "7";
}

std::vector<std::string_view> model_types() {
  return {"rwkv", "rwkv5", "rwkv6", "rwkv7", "rwkv7_fla"};
}

spec describe(hf_config const& c) {
  spec s;
  std::string const& type = c.model_type();
  s.layers = c.size("num_hidden_layers", limits::layers);
  s.d_model = c.size("hidden_size", limits::width);
  s.vocabulary = c.size("vocab_size", limits::vocabulary);
  s.tied = c.flag("tie_word_embeddings", false);
  if (type == "rwkv6") s.of = version::v6;
  if (type.starts_with("rwkv7")) s.of = version::v7;
  if (type == "rwkv5") {
    std::string const which = c.text("model_version", "5_2");
    if (which != "5_1" && which != "5_2")
      c.json().at("model_version").fail("is " + in_quotes(which) + "; RWKV-5 is read as \"5_1\" and \"5_2\"");
    s.of = which == "5_1" ? version::v5_1 : version::v5_2;
  }
  if (s.of == version::v7)
    read_seven(c, s);
  else
    read_four_to_six(c, s);
  c.refuse_unread();
  return s;
}

// ---- parts -------------------------------------------------------------------------------------------------------------------

namespace {

struct part_list {
  spec const& s;
  std::vector<part> all{};
  dim const wide{"d_model", s.d_model}, attn{"d_attn", s.d_attn}, hidden{"d_mlp", s.d_mlp}, one{"one", 1};

  void top(std::string_view name, std::string stored, dims shape) {
    all.push_back({name, std::move(stored), std::move(shape), false});
  }
  void add(std::string_view name, std::string stored, dims shape, std::size_t from = 0) {
    all.push_back({name, std::move(stored), std::move(shape), true, from});
  }
  void norm(std::string_view w, std::string_view b, std::string const& stored, bool of_layer = true) {
    all.push_back({w, stored + ".weight", {wide}, of_layer});
    all.push_back({b, stored + ".bias", {wide}, of_layer});
  }
  void low_rank(std::string_view down, std::string_view up, std::string const& stored, std::size_t rank, std::size_t from = 0) {
    add(down, stored + ".lora.0.weight", {{"rank", rank}, wide}, from);
    add(up, stored + ".lora.2.weight", {attn, {"rank", rank}}, from);
  }

  /// Hugging Face's names of 4 to 6.
  void four_to_six() {
    std::string const b = "blocks.#.", a = b + "attention.", f = b + "feed_forward.", mix = s.of == version::v6 ? "maa_" : "mix_";
    bool const six = s.of == version::v6;
    top("embed", "embeddings.weight", {{"token", s.vocabulary}, wide});
    norm("embed_ln.w", "embed_ln.b", "blocks.0.pre_ln", false);
    norm("ln1.w", "ln1.b", b + "ln1");
    norm("ln2.w", "ln2.b", b + "ln2");
    auto const named = [&](char const* letter, char const* word) { return mix + (six ? letter : word); };
    if (six) add("mix_x", a + "time_maa_x", {one, one, wide}), add("mix_w", a + "time_maa_w", {one, one, wide});
    add("mix_k", a + "time_" + named("k", "key"), {one, one, wide});
    add("mix_v", a + "time_" + named("v", "value"), {one, one, wide});
    add("mix_r", a + "time_" + named("r", "receptance"), {one, one, wide});
    if (s.gated()) add("mix_g", a + "time_" + named("g", "gate"), {one, one, wide});
    dim const head{"head", s.heads}, d_head{"d_head", s.d_head};
    if (six) {
      dim const mixes{"mixture_rank", 5 * s.rank_mix};
      add("mix_down", a + "time_maa_w1", {wide, mixes});
      add("mix_up", a + "time_maa_w2", {{"mixture", 5}, {"rank", s.rank_mix}, wide});
      add("decay", a + "time_decay", {one, one, attn});
      add("decay_down", a + "time_decay_w1", {wide, {"rank", s.rank_decay}});
      add("decay_up", a + "time_decay_w2", {{"rank", s.rank_decay}, attn});
      add("bonus", a + "time_faaaa", {head, d_head});
    } else if (s.of == version::v5_2) {
      add("decay", a + "time_decay", {head, d_head}), add("bonus", a + "time_faaaa", {head, d_head});
    } else {
      dims const row{s.of == version::v4 ? attn : head};
      add("decay", a + "time_decay", row), add("bonus", a + "time_first", row);
    }
    add("k", a + "key.weight", {attn, wide}), add("v", a + "value.weight", {attn, wide});
    add("r", a + "receptance.weight", {attn, wide});
    if (s.gated()) add("g", a + "gate.weight", {attn, wide});
    add("o", a + "output.weight", {wide, attn});
    if (s.heads_of_keys()) norm("ln_x.w", "ln_x.b", a + "ln_x");
    add("mlp_mix_k", f + "time_" + named("k", "key"), {one, one, wide});
    add("mlp_mix_r", f + "time_" + named("r", "receptance"), {one, one, wide});
    add("up", f + "key.weight", {hidden, wide}), add("mlp_r", f + "receptance.weight", {wide, wide});
    add("down", f + "value.weight", {wide, hidden});
    norm("final.w", "final.b", "ln_out", false);
    top("head", "head.weight", {{"token", s.vocabulary}, wide});
  }

  /// flash-linear-attention's names of 7.
  void seven() {
    std::string const b = "layers.#.", a = b + "attn.", f = b + "ffn.";
    top("embed", "embeddings.weight", {{"token", s.vocabulary}, wide});
    norm("embed_ln.w", "embed_ln.b", "layers.0.pre_norm", false);
    norm("ln1.w", "ln1.b", b + "attn_norm");
    norm("ln2.w", "ln2.b", b + "ffn_norm");
    for (auto const& [name, letter] : {std::pair{"mix_r", "r"}, std::pair{"mix_w", "w"}, std::pair{"mix_k", "k"},
                                       std::pair{"mix_v", "v"}, std::pair{"mix_a", "a"}, std::pair{"mix_g", "g"}})
      add(name, a + "x_" + letter, {one, one, wide});
    add("k_k", a + "k_k", {attn}), add("k_a", a + "k_a", {attn});
    add("r_k", a + "r_k", {{"head", s.heads}, {"d_head", s.d_head}});
    add("r", a + "r_proj.weight", {attn, wide}), add("k", a + "k_proj.weight", {attn, wide});
    add("v", a + "v_proj.weight", {attn, wide}), add("o", a + "o_proj.weight", {wide, attn});
    low_rank("decay_down", "decay_up", a + "w_lora", s.rank_decay);
    add("decay", a + "w_lora.lora.2.bias", {attn});
    low_rank("rate_down", "rate_up", a + "a_lora", s.rank_rate);
    add("rate", a + "a_lora.lora.2.bias", {attn});
    low_rank("value_down", "value_up", a + "v_lora", s.rank_value, 1);
    add("value", a + "v_lora.lora.2.bias", {attn}, 1);
    low_rank("gate_down", "gate_up", a + "g_lora", s.rank_gate);
    norm("ln_x.w", "ln_x.b", a + "g_norm");
    add("mlp_mix_k", f + "x_k", {wide});
    add("up", f + "key.weight", {hidden, wide}), add("down", f + "value.weight", {wide, hidden});
    norm("final.w", "final.b", "norm", false);
    top("head", "lm_head.weight", {{"token", s.vocabulary}, wide});
  }
};

}  // namespace

std::vector<part> parts_of(spec const& s) {
  part_list l{s};
  if (s.of == version::v7)
    l.seven();
  else
    l.four_to_six();
  return std::move(l.all);
}

std::string stored_name(part const& p, std::size_t layer) {
  std::string name = p.stored;
  if (auto const at = name.find('#'); at != std::string::npos) name.replace(at, 1, std::to_string(layer));
  return name;
}

// ---- hooks -------------------------------------------------------------------------------------------------------------------

namespace {

struct hook_list : recurrent_hooks {
  spec const& s;
  explicit hook_list(spec const& of) : s(of) { state = {{"d_model", s.d_model}}; }

  void weights_of_four(std::string const& a, dims const& row) {
    add(a + "hook_state", {{"part", 3}, {"d_attn", s.d_attn}},
        "behind each token: the weighted sum of values and that of ones, both over e^scale, and that scale");
    add(a + "hook_pattern", {{"head", 1}}, "what the values are weighted by, mean over channels; each channel's weights sum to 1",
        true);
    add(a + "hook_wkv", row, "values weighted by each channel's own weights");
    add(a + "hook_z", row, "hook_receptance times hook_wkv, before W_O");
  }

  void attention_of_four(std::string const& a) {
    dims const row{{"d_attn", s.d_attn}};
    add(a + "hook_k", row, "keys of ln1.hook_out mixed with that of the position before");
    add(a + "hook_v", row, "values of the same");
    add(a + "hook_receptance", row, "sigmoid of the receptance of the same");
    add(a + "hook_decay", row, "what each channel keeps of its sums from one position to the next; the same at every position");
    weights_of_four(a, row);
  }

  void attention_with_heads(std::string const& a) {
    dims const row{{"head", s.heads}, {"d_head", s.d_head}};
    bool const seven = s.of == version::v7, six = s.of == version::v6;
    add(a + "hook_receptance", row, "receptance of ln1.hook_out mixed with that of the position before: what reads the state");
    add(a + "hook_decay", row,
        six || seven ? "what each row of the state keeps from one position to the next, by the token"
                     : "what each row of the state keeps from one position to the next; the same at every position");
    if (seven) {
      add(a + "hook_rate", row, "a: how much of what the state holds for this key is taken out and of its own put in, 0 to 1");
      add(a + "hook_removal", row, "kk: the direction, of length 1 a head, along which the state is taken out");
    }
    add(a + "hook_k", row, seven ? "keys, scaled by hook_rate" : "keys of the same");
    add(a + "hook_v", row, seven ? "values, behind the first layer mixed with the first layer's" : "values of the same");
    if (s.gated()) add(a + "hook_gate", row, seven ? "gate" : "gate, activated");
    add(a + "hook_state", {{"head", s.heads}, {"d_key", s.d_head}, {"d_value", s.d_head}}, "behind each token");
    add(a + "hook_mixing", {{"head", s.heads}},
        "what each head weights values by, whose sum is hook_wkv; it has signs and no fixed sum", true);
    add(a + "hook_wkv", row, "what the receptance reads of the state");
    norm(a + "ln_x.", "each head of hook_wkv", false, row, {{"head", s.heads}, {"one", 1}});
    if (seven) add(a + "hook_bonus", row, "the token's own value times the sum of receptance, key and r_k over its head");
    std::string z = seven ? "ln_x.hook_out plus hook_bonus" : "ln_x.hook_out";
    if (s.gated()) z += ", times hook_gate";
    add(a + "hook_z", row, z + ", before W_O");
  }

  void block(std::size_t i) {
    std::string const b = "blocks." + std::to_string(i) + ".", m = b + "mlp.";
    add(b + "hook_resid_pre", state, "residual stream before the block");
    norm(b + "ln1.", "hook_resid_pre", false);
    if (s.heads_of_keys())
      attention_with_heads(b + "attn.");
    else
      attention_of_four(b + "attn.");
    add(b + "hook_attn_out", state, "what time mixing adds to the residual stream");
    add(b + "hook_resid_mid", state, "hook_resid_pre plus hook_attn_out");
    norm(b + "ln2.", "hook_resid_mid", false);
    add(m + "hook_pre", {{"d_mlp", s.d_mlp}}, "keys of ln2.hook_out mixed with that of the position before");
    if (s.of != version::v7) add(m + "hook_receptance", state, "sigmoid of the receptance of the same");
    add(m + "hook_post", {{"d_mlp", s.d_mlp}}, "square of the positive part of hook_pre");
    add(b + "hook_mlp_out", state,
        s.of == version::v7 ? "hook_post times W_out: what channel mixing adds to the residual stream"
                            : "hook_receptance times hook_post W_out: what channel mixing adds to the residual stream");
    add(b + "hook_resid_post", state, "hook_resid_mid plus hook_mlp_out");
  }
};

}  // namespace

std::vector<hook_info> list_hooks(spec const& s) {
  hook_list h(s);
  h.norm("embed_ln.", "the row of the token embedding", false);
  h.add("hook_embed", h.state, "embed_ln.hook_out");
  for (std::size_t i = 0; i < s.layers; ++i) h.block(i);
  h.norm("ln_final.", "the last hook_resid_post", false);
  h.add("logits", {{"token", s.vocabulary}}, "unnormalised log probabilities of the next token");
  return std::move(h.all);
}

// ---- weights -----------------------------------------------------------------------------------------------------------------

namespace {

/// The common name of a part, behind "blocks.N." where it is a layer's; "" for those that are named by hand.
std::string common_name(std::string_view part) {
  constexpr std::pair<std::string_view, std::string_view> names[] = {{"r", "attn.W_R"},
                                                                     {"k", "attn.W_K"},
                                                                     {"v", "attn.W_V"},
                                                                     {"g", "attn.W_G"},
                                                                     {"o", "attn.W_O"},
                                                                     {"up", "mlp.W_in"},
                                                                     {"down", "mlp.W_out"},
                                                                     {"mlp_r", "mlp.W_R"},
                                                                     {"embed", "embed.W_E"},
                                                                     {"head", "unembed.W_U"},
                                                                     {"ln1.w", "ln1.w"},
                                                                     {"ln1.b", "ln1.b"},
                                                                     {"ln2.w", "ln2.w"},
                                                                     {"ln2.b", "ln2.b"},
                                                                     {"embed_ln.w", "embed_ln.w"},
                                                                     {"embed_ln.b", "embed_ln.b"},
                                                                     {"final.w", "ln_final.w"},
                                                                     {"final.b", "ln_final.b"}};
  for (auto const& [short_name, common] : names)
    if (short_name == part) return std::string(common);
  return (part.starts_with("mlp_") ? "mlp." : "attn.") + std::string(part.starts_with("mlp_") ? part.substr(4) : part);
}

tensor flat(tensor const& t, std::string const& name) {
  return t.clone().reshaped({{name, t.count()}});
}

}  // namespace

weight_table list_weights(spec const& s) {
  weight_table w;
  auto const view_of = [&](part const& p) -> weight_table::make_view {
    std::string_view const n = p.name;
    if (n == "r" || n == "k" || n == "v" || n == "g" || n == "o" || n == "up" || n == "down" || n == "mlp_r" || n == "head")
      return [](tensor const& t) { return t.transposed(); };
    if (n == "decay" && s.of != version::v6 && s.of != version::v7)
      return [s](tensor const& t) {
        tensor out = log_decay(s, t).clone();
        for (auto& v : out.values<double>()) v = std::exp(v);
        return out;
      };
    if (n == "bonus") return [s](tensor const& t) { return bonus(s, t); };
    if (p.shape.size() > 1 && p.shape[0].name == "one") return [](tensor const& t) { return flat(t, t.shape().back().name); };
    return {};
  };
  auto const put = [&](part const& p, std::string const& at, std::string const& prefix) {
    w.store(at, p.shape);
    w.name(prefix + common_name(p.name), at, view_of(p));
  };
  auto const parts = parts_of(s);
  for (auto const& p : parts)
    if (!p.of_layer) put(p, p.stored, "");
  for (std::size_t i = 0; i < s.layers; ++i)
    for (auto const& p : parts)
      if (p.of_layer && i >= p.from_layer) put(p, stored_name(p, i), "blocks." + std::to_string(i) + ".");
  if (s.tied) w.otherwise(s.of == version::v7 ? "lm_head.weight" : "head.weight", "embeddings.weight");
  w.zeros("unembed.b_U", {{"token", s.vocabulary}});
  return w;
}

tensor log_decay(spec const& s, tensor const& stored) {
  tensor const wide = stored.to(dtype::f64);
  auto const from = wide.values<double const>();
  tensor out(dtype::f64, {{"d_attn", s.d_attn}});
  std::size_t const each = s.d_attn / from.size();  // RWKV-5.1 has one for each head
  for (std::size_t i = 0; i < s.d_attn; ++i) {
    double const x = from[i / each];
    out(i) = s.decay == stored_as::log_log ? -std::exp(x) : s.decay == stored_as::negative ? x : std::log(x);
  }
  return out;
}

tensor bonus(spec const& s, tensor const& stored) {
  tensor const wide = stored.to(dtype::f64);
  auto const from = wide.values<double const>();
  tensor out(dtype::f64, {{"d_attn", s.d_attn}});
  std::size_t const each = s.d_attn / from.size();
  bool const logarithm = s.of == version::v5_1 && s.bonus == stored_as::log_log;
  for (std::size_t i = 0; i < s.d_attn; ++i) out(i) = logarithm ? std::exp(from[i / each]) : from[i / each];
  return out;
}

}  // namespace wayfarer::rwkv
