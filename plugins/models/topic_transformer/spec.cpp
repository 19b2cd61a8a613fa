#include "spec.hpp"

#include <cmath>

#include <wayfarer/error.hpp>
#include <wayfarer/random.hpp>

namespace wayfarer::topic_transformer {

spec regime_defaults(std::string_view regime, style_kind style) {
  spec s;
  s.style = style;
  if (style == style_kind::repo) {
    s.start_end = s.embedding_norm = s.bias = true;
    s.replacement = replacement_kind::all_ids;
    s.embedding_init_sd = 1;
  }
  if (regime == "R1") {
    s.embedding = embedding_kind::trained;
    s.value = value_kind::identity;
    s.decoder = style == style_kind::paper ? decoder_kind::tied : decoder_kind::untied;
    s.decoder_bias = true;
  } else if (regime == "R2" || regime == "custom") {
  } else if (regime == "R3") {
    s.attention = attention_kind::trained;
    s.value = value_kind::block;
    s.init = init_kind::uniform;
    s.init_scale = 0.01;
    s.updates = 1000;
  } else if (regime == "R4") {
    s.attention = attention_kind::trained;
    s.init = init_kind::uniform;
    s.init_scale = 0.1;
    if (style == style_kind::paper) {  // a step of 30 is too long where LayerNorm makes the rows longer
      s.optimizer = optimizer_kind::sgd;
      s.learning_rate = 30;
      s.updates = 8000;
    }
  } else if (regime == "R5") {
    s.embedding = embedding_kind::trained;
    s.attention = attention_kind::trained;
    s.decoder = style == style_kind::paper ? decoder_kind::tied : decoder_kind::untied;
    s.decoder_bias = true;
    if (style == style_kind::paper) s.embedding_init_sd = 0.1;
  } else {
    throw usage_error("unknown regime '" + std::string(regime) + "': choose R1, R2, R3, R4, R5 or custom");
  }
  return s;
}

void check(spec const& s) {
  auto const refuse = [](char const* why) { throw usage_error(std::string("topic_transformer: ") + why); };
  if (s.topics < 1 || s.words_per_topic < 1 || s.words() > 60000) refuse("topics * words_per_topic must be 1 to 60000");
  bool const square = s.d() == s.vocabulary();
  if (s.embedding == embedding_kind::one_hot && !square)
    refuse("a one-hot embedding has as many dimensions as there are token ids: leave d_model at 0, or train the embedding");
  if (s.decoder == decoder_kind::identity && !square)
    refuse("an identity decoder needs as many dimensions as there are token ids: leave d_model at 0, or train the decoder");
  if ((s.value == value_kind::block || s.value == value_kind::closed_form) && !square)
    refuse("a frozen block value matrix maps token ids to token ids: leave d_model at 0");
  if (s.decoder == decoder_kind::tied && s.embedding == embedding_kind::one_hot)
    refuse("a one-hot embedding tied to the decoder is decoder: identity");
  if (s.layers < 1 || s.layers > 64) refuse("layers must be 1 to 64");
  if (s.heads < 1 || s.d() % s.heads != 0) refuse("the number of heads must divide d_model");
  if (s.heads > 1 && s.value == value_kind::identity && s.attention == attention_kind::uniform)
    refuse("several heads need a value matrix or trained attention to differ");
  if (s.intermediate && !s.output && s.mlp() != s.d())
    refuse("an intermediate layer without output needs d_mlp equal to d_model");
  if (s.mask_probability <= 0 || s.mask_probability > 1) refuse("mask_probability must be above 0 and at most 1");
  if (s.keep_probability < 0 || s.random_probability < 0 || s.keep_probability + s.random_probability > 1)
    refuse("keep_probability and random_probability must not be negative, nor add up to more than 1");
  if (s.batch < 1) refuse("a batch has at least one document");
  if (!(s.learning_rate >= 0) || !(s.l2 >= 0)) refuse("learning_rate and l2 must not be negative");
  if (s.value == value_kind::closed_form) {
    double const a0 = s.mask_probability * (1 - s.keep_probability - s.random_probability);
    if (a0 <= 0) refuse("the closed form needs [MASK] tokens: keep_probability + random_probability must be below 1");
  }
}

bool has_fast_path(spec const& s) noexcept {
  return s.layers == 1 && s.heads == 1 && s.positions == position_kind::none && !s.residual && !s.attention_output &&
         !s.intermediate && !s.output && !s.head_transform && !s.layer_norm;
}

closed_form_values closed_form(spec const& s) {
  double const pm = s.mask_probability, pc = s.keep_probability, pr = s.random_probability;
  double const topics = static_cast<double>(s.topics), v = static_cast<double>(s.words_per_topic);
  double const kappa = 1 - (1 - pc) * pm, mu = pm * pr, a0 = pm * (1 - pc - pr);
  double const a = (kappa + mu) / (v * a0), b = mu / (kappa * topics * v * a0);
  double const u = -(a * b + 1 / (kappa * v)) / (a * a + topics / v);
  return {-(a * u + b), u / v + 1 / (kappa * v), u / v};
}

int layout::add(std::string name, std::size_t rows, std::size_t cols, bool trained, bool linear) {
  parameters.push_back({std::move(name), rows, cols, count, trained, linear});
  count += rows * cols;
  return static_cast<int>(parameters.size()) - 1;
}

int layout::find(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (parameters[i].name == name) return static_cast<int>(i);
  return -1;
}

layout::layout(spec const& s) {
  std::size_t const n = s.vocabulary(), d = s.d(), m = s.mlp();
  if (s.embedding == embedding_kind::trained) embed = add("embed.W_E", n, d);
  if (s.positions != position_kind::none)
    position = add("pos_embed.W_pos", s.max_positions, d, s.positions == position_kind::trained);
  if (s.embedding_norm) {
    token_type = add("embed.W_token_type", 1, d);
    norm_w = add("embed.ln.w", 1, d);
    norm_b = add("embed.ln.b", 1, d);
  }
  for (std::size_t l = 0; l < s.layers; ++l) {
    layer_slots at;
    std::string const here = "blocks." + std::to_string(l) + ".";
    auto const linear = [&](int& w, int& b, char const* part, char const* name, std::size_t out, std::size_t in, bool bias,
                            bool trained = true) {
      w = add(here + part + "W_" + name, out, in, trained, true);
      if (bias) b = add(here + part + "b_" + name, 1, out, trained);
    };
    auto const norm = [&](int& w, int& b, char const* name) {
      w = add(here + name + ".w", 1, d);
      b = add(here + name + ".b", 1, d);
    };
    if (s.attention == attention_kind::trained) {
      linear(at.w_q, at.b_q, "attn.", "Q", d, d, s.bias);
      linear(at.w_k, at.b_k, "attn.", "K", d, d, s.bias);
    }
    if (s.value == value_kind::trained)
      linear(at.w_v, at.b_v, "attn.", "V", d, d, s.bias);
    else if (s.value != value_kind::identity)
      linear(at.w_v, at.b_v, "attn.", "V", d, d, false, false);
    if (s.attention_output) linear(at.w_o, at.b_o, "attn.", "O", d, d, true);
    if (s.layer_norm) norm(at.norm1_w, at.norm1_b, "ln1");
    if (s.intermediate) linear(at.w_in, at.b_in, "mlp.", "in", m, d, true);
    if (s.output) {
      linear(at.w_out, at.b_out, "mlp.", "out", d, s.intermediate ? m : d, true);
      if (s.layer_norm) norm(at.norm2_w, at.norm2_b, "ln2");
    }
    layers.push_back(at);
  }
  if (s.head_transform) {
    head_w = add("head.W", d, d, true, true);
    head_b = add("head.b", 1, d);
    head_norm_w = add("head.ln.w", 1, d);
    head_norm_b = add("head.ln.b", 1, d);
  }
  if (s.decoder == decoder_kind::untied) decoder_w = add("unembed.W_U", n, d, true, true);
  if (s.decoder_bias) decoder_b = add("unembed.b_U", 1, n);
}

namespace {

// One random stream a parameter, so that adding an array leaves the start of the others as it was.
template <class T>
void fill_uniform(T* to, std::size_t n, double low, double high, std::uint64_t seed, std::string const& name) {
  random_stream draw(seed, "init." + name);
  for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<T>(low + (high - low) * draw.uniform());
}

template <class T>
void fill_normal(T* to, std::size_t n, double sd, std::uint64_t seed, std::string const& name) {
  random_stream draw(seed, "init." + name);
  for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<T>(sd * draw.normal());
}

}  // namespace

template <class T>
weights<T> initial_weights(spec const& s, layout const& l, std::uint64_t seed) {
  weights<T> w;
  w.values.assign(l.count, T(0));
  std::size_t const n = s.vocabulary(), d = s.d();
  auto const scaled = [&](int slot, std::size_t fan_in) {
    if (slot < 0) return;
    parameter const& p = l.parameters[static_cast<std::size_t>(slot)];
    double const limit = 1 / std::sqrt(static_cast<double>(fan_in));
    fill_uniform(w.at(p), p.rows * p.cols, -limit, limit, seed, p.name);
  };
  auto const normal = [&](int slot, double sd) {
    if (slot < 0) return;
    parameter const& p = l.parameters[static_cast<std::size_t>(slot)];
    fill_normal(w.at(p), p.rows * p.cols, sd, seed, p.name);
  };
  auto const ones = [&](int slot) {
    if (slot < 0) return;
    parameter const& p = l.parameters[static_cast<std::size_t>(slot)];
    for (std::size_t i = 0; i < p.cols; ++i) w.at(p)[i] = T(1);
  };

  normal(l.embed, s.embedding_init_sd);
  if (l.embed >= 0 && s.style == style_kind::repo)  // the reference's padding row
    for (std::size_t i = 0; i < d; ++i) w.at(l.parameters[static_cast<std::size_t>(l.embed)])[i] = T(0);
  normal(l.token_type, 1);
  ones(l.norm_w);
  if (s.positions == position_kind::trained) normal(l.position, 1);
  if (s.positions == position_kind::cosine) {
    T* const p = w.at(l.parameters[static_cast<std::size_t>(l.position)]);
    for (std::size_t at = 0; at < s.max_positions; ++at)
      for (std::size_t i = 0; i < d; ++i) {
        double const angle = static_cast<double>(at) / std::pow(10000.0, static_cast<double>(2 * i) / static_cast<double>(d));
        p[at * d + i] = static_cast<T>(i % 2 == 0 ? std::sin(angle) : std::cos(angle));
      }
  }
  for (auto const& at : l.layers) {
    for (auto const& [weight, bias] : {std::pair{at.w_q, at.b_q}, {at.w_k, at.b_k}, {at.w_v, at.b_v}}) {
      if (weight < 0) continue;
      parameter const& p = l.parameters[static_cast<std::size_t>(weight)];
      if (!p.trained) continue;
      switch (s.init) {
        case init_kind::scaled:
          scaled(weight, d), scaled(bias, d);
          break;
        case init_kind::uniform:
          fill_uniform(w.at(p), p.rows * p.cols, 0, s.init_scale, seed, p.name);
          break;
        case init_kind::normal:
          fill_normal(w.at(p), p.rows * p.cols, s.init_scale, seed, p.name);
          break;
      }
    }
    if (s.value == value_kind::block || s.value == value_kind::closed_form) {
      // W_V [output id, input id]
      T* const v = w.at(l.parameters[static_cast<std::size_t>(at.w_v)]);
      auto const c = s.value == value_kind::closed_form ? closed_form(s) : closed_form_values{0, s.block_value, 0};
      for (std::size_t i = 0; i < s.words(); ++i) {
        v[(i + first_word) * n + mask_id] = static_cast<T>(c.m);
        for (std::size_t j = 0; j < s.words(); ++j)
          v[(i + first_word) * n + j + first_word] = static_cast<T>(s.topic_of(i) == s.topic_of(j) ? c.s : c.d);
      }
    }
    scaled(at.w_o, d), scaled(at.b_o, d), scaled(at.w_in, d), scaled(at.b_in, d);
    std::size_t const fan = s.intermediate ? s.mlp() : d;
    scaled(at.w_out, fan), scaled(at.b_out, fan);
    ones(at.norm1_w), ones(at.norm2_w);
  }
  scaled(l.head_w, d), scaled(l.head_b, d);
  ones(l.head_norm_w);
  if (s.style == style_kind::repo)
    scaled(l.decoder_w, d);
  else
    normal(l.decoder_w, s.embedding_init_sd);
  return w;
}

template weights<float> initial_weights(spec const&, layout const&, std::uint64_t);
template weights<double> initial_weights(spec const&, layout const&, std::uint64_t);

}  // namespace wayfarer::topic_transformer
