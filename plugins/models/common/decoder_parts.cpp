#include "decoder_parts.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <wayfarer/error.hpp>

namespace wayfarer {

std::string decoder_spec::stored(std::string_view part, std::size_t layer) const {
  std::string at = stored("block");
  at.replace(at.find("{}"), 2, std::to_string(layer));
  return at + stored(part);
}

std::size_t fused_row(decoder_spec const& s, char part, std::size_t head) {
  std::size_t const d = s.d_head;
  switch (s.fused) {
    case fused_rows::none:
      break;
    case fused_rows::plain:
      return ((part == 'q' ? 0 : part == 'k' ? s.heads : s.heads + s.kv_heads) + head) * d;
    case fused_rows::per_head:
      return (3 * head + (part == 'q' ? 0 : part == 'k' ? 1 : 2)) * d;
    case fused_rows::per_group: {
      std::size_t const g = s.group(), rows = g + 2;
      if (part == 'q') return (head / g * rows + head % g) * d;
      return (head * rows + g + (part == 'k' ? 0 : 1)) * d;
    }
  }
  throw plugin_error("queries, keys and values of this model are made apart");
}

namespace {

/// The dimension of heads of keys and values: another one only where heads share them.
std::string key_heads(decoder_spec const& s) {
  return s.kv_heads == s.heads ? "head" : "kv_head";
}

}  // namespace

// ---- hooks -------------------------------------------------------------------------------------------------------------------

namespace {

struct hook_list {
  decoder_spec const& s;
  std::vector<hook_info> all{};
  dims const state{{"d_model", s.d_model}}, queries{{"head", s.heads}, {"d_head", s.d_head}},
      keys{{key_heads(s), s.kv_heads}, {"d_head", s.d_head}}, hidden{{"d_mlp", s.d_mlp}}, pairs{{"head", s.heads}};

  void add(std::string name, dims row, std::string about, bool per_pair = false) {
    all.push_back({std::move(name), std::move(row), per_pair, std::move(about)});
  }

  void norm(std::string const& at, std::string const& of, bool rms, dims const& row, dims const& scale, bool bias) {
    add(at + "hook_scale", scale,
        rms ? "square root of the mean square of " + of + " plus epsilon"
            : "square root of the variance of " + of + " plus epsilon");
    add(at + "hook_normalized", row, rms ? of + " over hook_scale" : of + " less its mean, over hook_scale");
    std::string const w = s.norm_plus_one ? "1 + weight" : "weight";
    add(at + "hook_out", row, bias ? "hook_normalized times " + w + " plus bias" : "hook_normalized times " + w);
  }
  void norm(std::string const& at, std::string const& of) { norm(at, of, s.rms, state, {{"one", 1}}, s.norm_bias); }

  void head_norm(std::string const& at, std::string const& of, dims const& row) {
    dims const whole{{"head_d_head", row[0].size * row[1].size}}, one{{"one", 1}}, each{row[0], {"one", 1}};
    norm(at, of, s.head_norms_rms, s.head_norms_whole ? whole : row, s.head_norms_whole ? one : each, s.head_norms_bias);
  }

  /// In attention's place: what there is without queries and keys.
  void mixing(std::string const& a, std::size_t layer, std::string const& reads) {
    std::string const near = "those in its window of " + std::to_string(s.each[layer].window);
    add(a + "hook_v", keys, "values of " + reads + ", bias included");
    if (s.mixer == mixer_kind::position)
      add(a + "hook_attn_scores", pairs, "a number learned for each head and distance, -infinity for keys after the query", true);
    add(a + "hook_pattern", pairs,
        s.mixer == mixer_kind::mean     ? "the same for each of the keys up to the query"
        : s.mixer == mixer_kind::window ? "the same for each of the keys up to the query, of " + near
        : s.mixer == mixer_kind::position
            ? "softmax of the scores over keys"
            : "a number learned for each head and distance, for keys up to the query, of " + near + "; of any sign and sum",
        true);
    add(a + "hook_z", queries, "values weighted by the pattern, before W_O");
  }

  void attention(std::string const& a, std::size_t layer, std::string const& reads) {
    add(a + "hook_q", queries, "queries of " + reads + ", bias included");
    add(a + "hook_k", keys, "keys of " + reads + ", bias included");
    add(a + "hook_v", keys, "values of " + reads + ", bias included");
    if (s.head_norms) {
      head_norm(a + "q_norm.", "hook_q", queries);
      head_norm(a + "k_norm.", "hook_k", keys);
    }
    if (s.each[layer].turns) {
      add(a + "hook_rot_q", queries, (s.head_norms ? "q_norm.hook_out" : "hook_q") + std::string(" turned by its position"));
      add(a + "hook_rot_k", keys, (s.head_norms ? "k_norm.hook_out" : "hook_k") + std::string(" turned by its position"));
    }
    if (s.position == positions_kind::alibi)
      add(a + "hook_bias", pairs, "what is added to the scores, a slope times the key's position: the same for all queries",
          true);
    std::string scores = "scaled q.k";
    if (s.position == positions_kind::alibi) scores += " plus hook_bias";
    if (s.score_cap > 0) scores += ", capped";
    scores += ", -infinity for keys after the query";
    if (s.each[layer].window) scores += " and those out of its window of " + std::to_string(s.each[layer].window);
    add(a + "hook_attn_scores", pairs, scores, true);
    add(a + "hook_pattern", pairs, "softmax of the scores over keys", true);
    add(a + "hook_z", queries, "values weighted by the pattern, before W_O");
  }

  void mlp(std::string const& m) {
    add(m + "hook_pre", hidden,
        s.gated ? "gate before its activation function" : "before the activation function, bias included");
    if (s.gated) add(m + "hook_pre_linear", hidden, "what the gate multiplies");
    add(m + "hook_post", hidden, s.gated ? "activated gate times hook_pre_linear" : "after the activation function");
  }

  void block(std::size_t i) {
    auto const b = "blocks." + std::to_string(i) + ".";
    bool const after = s.form == residual_form::post_norm, parallel = s.form == residual_form::parallel;
    add(b + "hook_resid_pre", state, "residual stream before the block");
    bool const first = !after && s.has("ln1"), second = !after && s.has("ln2");
    if (first) norm(b + "ln1.", "hook_resid_pre");
    std::string const reads = first ? "ln1.hook_out" : "hook_resid_pre";
    s.mixer == mixer_kind::attention ? attention(b + "attn.", i, reads) : mixing(b + "attn.", i, reads);
    if (s.has("ln1_post")) norm(b + "ln1_post.", "what attention gives");
    std::string const scaled = s.residual_scale != 1 ? ", times residual_multiplier" : "";
    add(b + "hook_attn_out", state,
        s.has("ln1_post") ? "what attention adds to the residual stream: ln1_post.hook_out" + scaled
                          : "what attention adds to the residual stream, bias included" + scaled);
    if (!parallel) add(b + "hook_resid_mid", state, "hook_resid_pre plus hook_attn_out");
    if (after) norm(b + "ln1.", "hook_resid_mid");
    if (second) norm(b + "ln2.", parallel ? "hook_resid_pre" : "hook_resid_mid");
    mlp(b + "mlp.");
    if (s.has("ln2_post")) norm(b + "ln2_post.", "what the MLP gives");
    add(b + "hook_mlp_out", state,
        s.has("ln2_post") ? "what the MLP adds to the residual stream: ln2_post.hook_out" + scaled
                          : "what the MLP adds to the residual stream, bias included" + scaled);
    add(b + "hook_resid_post", state,
        parallel ? "hook_resid_pre plus hook_attn_out plus hook_mlp_out"
        : after  ? "ln1.hook_out plus hook_mlp_out"
                 : "hook_resid_mid plus hook_mlp_out");
    if (after) norm(b + "ln2.", "hook_resid_post");
  }
};

}  // namespace

std::vector<hook_info> decoder_hooks(decoder_spec const& s) {
  hook_list h{s};
  if (s.has("embed_ln")) h.norm("embed_ln.", "the row of the token embedding");
  std::string embed = "row of the token embedding";
  if (s.embed_scale != 1) embed += ", scaled";
  if (s.has("project_in")) embed += ", times project_in";
  h.add("hook_embed", h.state, s.has("embed_ln") ? "embed_ln.hook_out" : embed);
  if (s.position == positions_kind::table) h.add("hook_pos_embed", h.state, "row of the position embedding");
  for (std::size_t i = 0; i < s.layers; ++i) h.block(i);
  if (s.has("final")) h.norm("ln_final.", "the last hook_resid_post");
  std::string logits = "unnormalised log probabilities of the next token";
  if (s.logit_scale != 1) logits += ", scaled";
  if (s.logit_cap > 0) logits += ", capped";
  h.add("logits", {{"token", s.vocabulary}}, logits);
  return std::move(h.all);
}

// ---- weights -----------------------------------------------------------------------------------------------------------------

namespace {

/// Rows of a stored projection, or numbers of its bias, as one matrix a head: a copy, [head, d_model, d_head] or [head, d_head].
tensor gather_heads(tensor const& stored, std::string const& name, std::vector<std::size_t> const& first, std::size_t d_head) {
  if (stored.rank() == 1) {
    tensor out(stored.type(), {{name, first.size()}, {"d_head", d_head}});
    for (std::size_t h = 0; h < first.size(); ++h) copy_into(out[h], stored.slice(0, first[h], first[h] + d_head));
    return out;
  }
  tensor out(stored.type(), {{name, first.size()}, {"d_model", stored.size(1)}, {"d_head", d_head}});
  for (std::size_t h = 0; h < first.size(); ++h) copy_into(out[h], stored.slice(0, first[h], first[h] + d_head).transposed());
  return out;
}

tensor times(tensor const& t, double by, double plus) {
  tensor out(dtype::f32, t.shape());
  tensor const from = t.to(dtype::f32);
  auto const in = from.values<float const>();
  auto const to = out.values<float>();
  for (std::size_t i = 0; i < in.size(); ++i) to[i] = static_cast<float>(in[i] * by + plus);
  return out;
}

struct weight_list {
  decoder_spec const& s;
  weight_table w{};
  dim const wide{"d_model", s.d_model}, hidden{"d_mlp", s.d_mlp}, token{"token", s.vocabulary};

  void norm(std::string const& stored, std::string const& common, dims const& shape, bool bias) {
    if (!s.norm_affine) return;
    w.store(stored + ".weight", shape);
    w.name(common + ".w", stored + ".weight",
           s.norm_plus_one ? [](tensor const& t) { return times(t, 1, 1); } : weight_table::make_view{});
    if (!bias) return;
    w.store(stored + ".bias", shape);
    w.name(common + ".b", stored + ".bias");
  }
  void norm(std::string const& stored, std::string const& common) { norm(stored, common, {wide}, s.norm_bias); }

  /// Declares the tensors of a linear layer.
  void linear(std::string_view part, std::string const& stored, dim const& in, dim const& out) {
    w.store(stored + ".weight", s.conv1d ? dims{in, out} : dims{out, in});
    if (s.biased(part)) w.store(stored + ".bias", {out});
  }
  void matrix(std::string_view part, std::string const& stored, std::string const& common, std::string const& name, dim const& in,
              dim const& out) {
    linear(part, stored, in, out);
    bool const turned = !s.conv1d;
    w.name(common + "W_" + name, stored + ".weight", [turned](tensor const& t) { return turned ? t.transposed() : t; });
    if (s.biased(part))
      w.name(common + "b_" + name, stored + ".bias");
    else
      w.zeros(common + "b_" + name, {out});
  }

  void attention(std::size_t i, std::string const& a) {
    std::size_t const d = s.d_head;
    struct part {
      char letter;
      char const* name;
      std::size_t heads;
      std::string dim_name;
    };
    part const parts[] = {
        {'q', "Q", s.heads, "head"}, {'k', "K", s.kv_heads, key_heads(s)}, {'v', "V", s.kv_heads, key_heads(s)}};
    if (s.fused != fused_rows::none) {
      std::string const at = s.stored("qkv", i);
      linear("qkv", at, wide, {"qkv", (s.heads + 2 * s.kv_heads) * d});
      for (auto const& p : parts) {
        std::vector<std::size_t> first;
        for (std::size_t h = 0; h < p.heads; ++h) first.push_back(fused_row(s, p.letter, h));
        bool const plain = s.fused == fused_rows::plain, conv1d = s.conv1d;
        auto const view = [=, name = p.dim_name, heads = p.heads](tensor const& t) {
          if (plain)
            return split_heads(t, first[0], heads, d, conv1d)
                .named(t.rank() == 1 ? std::vector<std::string>{name, "d_head"}
                                     : std::vector<std::string>{name, "d_model", "d_head"});
          return gather_heads(t, name, first, d);
        };
        w.name(a + "W_" + p.name, at + ".weight", view);
        if (s.biased("qkv"))
          w.name(a + "b_" + p.name, at + ".bias", view);
        else
          w.zeros(a + "b_" + p.name, {{p.dim_name, p.heads}, {"d_head", d}});
      }
    } else {
      for (auto const& p : parts) {
        std::string const part_name(1, p.letter);
        if (!s.has(part_name)) continue;
        std::string const at = s.stored(part_name, i);
        linear(part_name, at, wide, {"head_d_head", p.heads * d});
        auto const view = [name = p.dim_name, heads = p.heads, d, conv1d = s.conv1d](tensor const& t) {
          return split_heads(t, 0, heads, d, conv1d)
              .named(t.rank() == 1 ? std::vector<std::string>{name, "d_head"}
                                   : std::vector<std::string>{name, "d_model", "d_head"});
        };
        w.name(a + "W_" + p.name, at + ".weight", view);
        if (s.biased(part_name))
          w.name(a + "b_" + p.name, at + ".bias", view);
        else
          w.zeros(a + "b_" + p.name, {{p.dim_name, p.heads}, {"d_head", d}});
      }
    }
    if (s.has("distance")) {
      w.store(s.stored("distance", i), {{"head", s.heads}, {"distance", s.distances}});
      w.name(a + "distance", s.stored("distance", i));
    }
    std::string const out = s.stored("o", i);
    linear("o", out, {"head_d_head", s.heads * d}, wide);
    w.name(a + "W_O", out + ".weight",
           [heads = s.heads, conv1d = s.conv1d](tensor const& t) { return join_heads(t, heads, conv1d); });
    if (s.biased("o"))
      w.name(a + "b_O", out + ".bias");
    else
      w.zeros(a + "b_O", {wide});
    if (!s.head_norms) return;
    for (auto const& [part_name, heads] : {std::pair{"q_norm", s.heads}, std::pair{"k_norm", s.kv_heads}}) {
      dims const shape = s.head_norms_whole ? dims{{"head_d_head", heads * d}}
                         : s.head_norms_own ? dims{{"head", heads}, {"d_head", d}}
                                            : dims{{"d_head", d}};
      norm(s.stored(part_name, i), a + part_name, shape, s.head_norms_bias);
    }
  }

  void mlp(std::size_t i, std::string const& m) {
    if (s.has("gate_up")) {
      std::string const at = s.stored("gate_up", i);
      linear("gate_up", at, wide, {"gate_and_up", 2 * s.d_mlp});
      std::size_t const f = s.d_mlp;
      for (auto const& [name, first] : {std::pair{"gate", std::size_t{0}}, std::pair{"in", f}}) {
        std::size_t const from = first;
        w.name(m + "W_" + name, at + ".weight", [=](tensor const& t) {
          return t.slice(0, from, from + f).transposed().named({"d_model", "d_mlp"});
        });
        w.zeros(m + "b_" + name, {hidden});
      }
    } else {
      if (s.gated) matrix("gate", s.stored("gate", i), m, "gate", wide, hidden);
      matrix("up", s.stored("up", i), m, "in", wide, hidden);
    }
    matrix("down", s.stored("down", i), m, "out", hidden, wide);
  }
};

}  // namespace

weight_table decoder_weights(decoder_spec const& s) {
  weight_list l{s};
  weight_table& w = l.w;
  dim const embed{s.d_embed ? "d_embed" : "d_model", s.d_embed ? s.d_embed : s.d_model};
  std::string const table = s.stored("embed") + ".weight", head = s.stored("head");
  w.store(table, {l.token, embed});
  w.name("embed.W_E", table,
         s.embed_scale != 1 ? [by = s.embed_scale](tensor const& t) { return times(t, by, 0); } : weight_table::make_view{});
  if (s.position == positions_kind::table) {
    std::string const at = s.stored("pos") + ".weight";
    w.store(at, {{"pos", s.positions + s.position_offset}, l.wide});
    w.name("pos_embed.W_pos", at, [from = s.position_offset](tensor const& t) { return from ? t.slice(0, from, t.size(0)) : t; });
  }
  if (s.has("embed_ln")) l.norm(s.stored("embed_ln"), "embed_ln");
  if (s.has("project_in")) {
    w.store(s.stored("project_in") + ".weight", {l.wide, embed});
    w.store(s.stored("project_out") + ".weight", {embed, l.wide});
    w.name("embed.W_in", s.stored("project_in") + ".weight", [](tensor const& t) { return t.transposed(); });
    w.name("unembed.W_out", s.stored("project_out") + ".weight", [](tensor const& t) { return t.transposed(); });
  }
  for (std::size_t i = 0; i < s.layers; ++i) {
    auto const b = "blocks." + std::to_string(i) + ".";
    if (s.has("ln1")) l.norm(s.stored("ln1", i), b + "ln1");
    l.attention(i, b + "attn.");
    if (s.has("ln1_post")) l.norm(s.stored("ln1_post", i), b + "ln1_post");
    if (s.has("ln2")) l.norm(s.stored("ln2", i), b + "ln2");
    l.mlp(i, b + "mlp.");
    if (s.has("ln2_post")) l.norm(s.stored("ln2_post", i), b + "ln2_post");
  }
  if (s.has("final")) l.norm(s.stored("final"), "ln_final");
  // The checkpoint's own head, where it has one, whatever the configuration says of tying.
  w.store(head + ".weight", {l.token, embed});
  if (s.tied) w.otherwise(head + ".weight", table);
  w.name("unembed.W_U", head + ".weight", [](tensor const& t) { return t.transposed(); });
  if (s.biased("head")) {
    w.store(head + ".bias", {l.token});
    w.name("unembed.b_U", head + ".bias");
  } else {
    w.zeros("unembed.b_U", {l.token});
  }
  return std::move(w);
}

// ---- ALiBi -------------------------------------------------------------------------------------------------------------------

namespace {

float rounded_to_bf16(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}

}  // namespace

tensor alibi_bias(decoder_spec const& s, std::size_t positions) {
  tensor out(dtype::f32, {{"head", s.heads}, {"key", positions}});
  auto const to = out.view<float>();
  std::size_t whole = 1;  // the greatest power of two up to the number of heads
  while (2 * whole <= s.heads) whole *= 2;
  auto const n = static_cast<double>(whole);
  for (std::size_t h = 0; h < s.heads; ++h) {
    double const power =
        h < whole ? -8 * static_cast<double>(h + 1) / n : -8 * static_cast<double>(2 * (h - whole) + 1) / (2 * n);
    auto slope = static_cast<float>(std::pow(2.0, power));
    auto const row = to.row(h);
    if (!s.alibi_bf16) {
      for (std::size_t j = 0; j < positions; ++j) row[j] = slope * static_cast<float>(j);
      continue;
    }
    slope = rounded_to_bf16(slope);
    auto const scale = static_cast<float>(s.each.front().scale);
    for (std::size_t j = 0; j < positions; ++j) row[j] = rounded_to_bf16(slope * rounded_to_bf16(static_cast<float>(j))) * scale;
  }
  return out;
}

}  // namespace wayfarer
