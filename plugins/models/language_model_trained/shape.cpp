#include "shape.hpp"

#include <cmath>
#include <map>
#include <utility>

#include <wayfarer/error.hpp>

namespace wayfarer::decoder_training {
namespace {

/// Whether weights between positions come from queries and keys.
bool attends(shape const& s) {
  return s.mixer == "attention";
}

/// Columns of the table that conv and position learn; 0: there is none.
std::size_t distances(shape const& s) {
  return s.mixer == "conv" ? s.window : s.mixer == "position" ? s.context : 0;
}

std::string at(std::size_t layer) {
  return "layers." + std::to_string(layer) + ".";
}

[[noreturn]] void refuse(std::string const& what) {
  throw usage_error("language_model_trained: " + what);
}

}  // namespace

void check(shape const& s) {
  auto const number = [](std::size_t n) { return std::to_string(n); };
  if (s.d_model % s.heads != 0) refuse(number(s.heads) + " heads do not divide d_model " + number(s.d_model));
  if (s.heads % s.kv_heads != 0) refuse(number(s.kv_heads) + " kv_heads do not divide " + number(s.heads) + " heads");
  bool const turns = s.position == "rotary";
  if ((turns || s.position == "alibi") && !attends(s))
    refuse("position: " + s.position + " changes products of queries and keys, and mixer: " + s.mixer +
           " has none; use position: learned or none");
  if (turns && s.d_model / s.heads % 2 != 0)
    refuse("position: rotary turns pairs of numbers, and heads of " + number(s.d_model / s.heads) +
           " have an odd one; choose other heads or d_model");
  bool const local = s.mixer == "window" || s.mixer == "conv";
  if (local && !s.window) refuse("mixer: " + s.mixer + " needs window, the number of positions that a query sees");
  if (!local && s.window)
    refuse("window is " + number(s.window) + ", and mixer: " + s.mixer + " sees all positions before; use mixer: window or conv");
  if (s.window > s.context)
    refuse("a window of " + number(s.window) + " is wider than the context of " + number(s.context) + "; choose at most that");
}

decoder_spec spec_of(shape const& s) {
  decoder_spec d;
  d.architecture = "wayfarer_decoder";
  d.layers = s.layers, d.heads = s.heads, d.kv_heads = s.kv_heads, d.d_model = s.d_model, d.d_head = s.d_model / s.heads;
  d.d_mlp = s.d_mlp, d.vocabulary = s.vocabulary, d.positions = s.context;
  d.rms = s.norm == "rms", d.norm_bias = s.biases && !d.rms, d.epsilon = s.epsilon;
  d.activation_name = s.activation, d.act = activation_of(s.activation);
  d.gated = s.gated, d.tied = s.tied;
  d.biases = s.biases ? " q k v o gate up down " : " ";
  static std::map<std::string, mixer_kind> const mixers{{"attention", mixer_kind::attention},
                                                        {"mean", mixer_kind::mean},
                                                        {"window", mixer_kind::window},
                                                        {"conv", mixer_kind::conv},
                                                        {"position", mixer_kind::position}};
  static std::map<std::string, positions_kind> const positions{{"learned", positions_kind::table},
                                                               {"rotary", positions_kind::rotary},
                                                               {"alibi", positions_kind::alibi},
                                                               {"none", positions_kind::none}};
  d.mixer = mixers.at(s.mixer), d.position = positions.at(s.position), d.distances = distances(s);
  decoder_layer layer;
  layer.window = s.window, layer.turns = d.position == positions_kind::rotary;
  layer.scale = 1 / std::sqrt(static_cast<double>(d.d_head));
  d.each.assign(s.layers, layer);
  if (layer.turns) {
    rotary r;
    r.turned = d.d_head, r.theta = s.rope_theta, r.positions = s.context;
    d.rotations = {r};
  }
  d.names = {{"embed", "embed_tokens"}, {"block", "layers.{}."},   {"ln1", "input_layernorm"},
             {"v", "self_attn.v_proj"}, {"o", "self_attn.o_proj"}, {"ln2", "post_attention_layernorm"},
             {"up", "mlp.up_proj"},     {"down", "mlp.down_proj"}, {"final", "norm"},
             {"head", "lm_head"}};
  if (d.position == positions_kind::table) d.names["pos"] = "embed_positions";
  if (attends(s)) d.names["q"] = "self_attn.q_proj", d.names["k"] = "self_attn.k_proj";
  if (d.distances) d.names["distance"] = "self_attn.distance";
  if (s.gated) d.names["gate"] = "mlp.gate_proj";
  return d;
}

std::vector<language_training::parameter> parameters_of(shape const& s) {
  language_training::parameter_list all;
  double const sd = 0.02, to_stream = 0.02 / std::sqrt(2.0 * static_cast<double>(s.layers));
  dim const wide{"d_model", s.d_model}, hidden{"d_mlp", s.d_mlp};
  std::size_t const d_head = s.d_model / s.heads;
  dim const queries{"head_d_head", s.heads * d_head}, keys{"head_d_head", s.kv_heads * d_head};
  all.add("embed_tokens.weight", {{"token", s.vocabulary}, wide}, sd);
  if (s.position == "learned") all.add("embed_positions.weight", {{"pos", s.context}, wide}, sd);
  auto const norm = [&](std::string const& name) {
    all.add(name + ".weight", {wide}, 0, 1);
    if (s.norm == "layer" && s.biases) all.add(name + ".bias", {wide}, 0);
  };
  for (std::size_t i = 0; i < s.layers; ++i) {
    auto const linear = [&](std::string const& name, dim const& in, dim const& out, double deviation) {
      all.add(at(i) + name + ".weight", {out, in}, deviation);
      if (s.biases) all.add(at(i) + name + ".bias", {out}, 0);
    };
    norm(at(i) + "input_layernorm");
    // Queries, keys and values side by side, so that one product gives the gradients of all three.
    std::vector<std::pair<std::string, dim>> made;
    if (attends(s)) made = {{"self_attn.q_proj", queries}, {"self_attn.k_proj", keys}};
    made.emplace_back("self_attn.v_proj", keys);
    for (auto const& [name, out] : made) all.add(at(i) + name + ".weight", {out, wide}, sd);
    for (auto const& [name, out] : made)
      if (s.biases) all.add(at(i) + name + ".bias", {out}, 0);
    if (std::size_t const n = distances(s))
      all.add(at(i) + "self_attn.distance", {{"head", s.heads}, {"distance", n}}, sd,
              s.mixer == "conv" ? 1 / static_cast<double>(n) : 0);
    linear("self_attn.o_proj", queries, wide, to_stream);
    norm(at(i) + "post_attention_layernorm");
    if (s.gated) linear("mlp.gate_proj", wide, hidden, sd);
    linear("mlp.up_proj", wide, hidden, sd);
    linear("mlp.down_proj", hidden, wide, to_stream);
  }
  norm("norm");
  if (!s.tied) all.add("lm_head.weight", {{"token", s.vocabulary}, wide}, sd);
  return all.all();
}

json_value config_of(shape const& s) {
  auto c = json_value::object({{"architectures", json_value::array({"WayfarerDecoder"})},
                               {"model_type", "wayfarer_decoder"},
                               {"vocab_size", s.vocabulary},
                               {"hidden_size", s.d_model},
                               {"intermediate_size", s.d_mlp},
                               {"num_hidden_layers", s.layers},
                               {"num_attention_heads", s.heads},
                               {"num_key_value_heads", s.kv_heads},
                               {"head_dim", s.d_model / s.heads},
                               {"max_position_embeddings", s.context},
                               {"position", s.position},
                               {"norm", s.norm},
                               {"norm_eps", s.epsilon},
                               {"gated", s.gated},
                               {"activation", s.activation},
                               {"biases", s.biases},
                               {"mixer", s.mixer},
                               {"tie_word_embeddings", s.tied}});
  if (s.position == "rotary") c.set("rope_theta", s.rope_theta);
  if (s.window) c.set("window", s.window);
  return c;
}

std::string stored_name(std::string const& parameter) {
  return (parameter == "lm_head.weight" ? "" : "model.") + parameter;
}

std::shared_ptr<language_training::state_of<decoder_model>> make_model(
    shape const& s, std::shared_ptr<language_training::vocabulary const> words) {
  return std::make_shared<language_training::state_of<decoder_model>>(
      "language_model_trained", spec_of(s), [words = std::move(words)] { return words ? words->words : nullptr; });
}

template <class T>
language_training::net<T> net_of(shape const& s) {
  return {parameters_of(s), [&](std::map<std::string, tensor> const& weights) {
            auto const model = make_model(s, nullptr);
            model->watch(weights);
            return model;
          }};
}

template language_training::net<float> net_of(shape const&);
template language_training::net<double> net_of(shape const&);

}  // namespace wayfarer::decoder_training
