#include "decoder_family.hpp"

#include <cmath>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <utility>

#include <wayfarer/error.hpp>

namespace wayfarer::decoder {
namespace {

using limits = model_limits;

/// The first of these keys that is given, or nothing.
std::optional<std::string_view> given(hf_config const& c, std::initializer_list<std::string_view> names) {
  std::optional<std::string_view> first;
  for (auto const name : names)
    if (c.find(name) && !first) first = name;
  return first;
}

std::size_t size_or(hf_config const& c, std::initializer_list<std::string_view> names, std::size_t most, std::size_t otherwise) {
  return given(c, names) ? c.size(names, most) : otherwise;
}

void read_sizes(hf_config const& c, family const& f, decoder_spec& s) {
  s.layers = c.size({"num_hidden_layers", "n_layer", "num_layers"}, limits::layers);
  s.heads = c.size({"num_attention_heads", "n_head", "num_heads"}, limits::heads);
  s.d_model = c.size({"hidden_size", "n_embd", "n_embed"}, limits::width);
  s.vocabulary = c.size("vocab_size", limits::vocabulary);
  s.kv_heads = size_or(c, {"num_key_value_heads", "num_kv_heads", "n_head_kv"}, limits::heads, f.kv_heads ? f.kv_heads : s.heads);
  if (s.heads % s.kv_heads != 0)
    c.json().fail(std::to_string(s.kv_heads) + " heads of keys and values (num_key_value_heads) do not divide " +
                  std::to_string(s.heads) + " heads");
  if (auto const d = c.find("head_dim"))
    s.d_head = static_cast<std::size_t>(d->as_integer(1, limits::width));
  else if (f.d_head)
    s.d_head = f.d_head;
  else if (s.d_model % s.heads != 0)
    c.json().fail(std::to_string(s.heads) + " heads do not divide hidden_size " + std::to_string(s.d_model));
  else
    s.d_head = s.d_model / s.heads;
  std::initializer_list<std::string_view> const mlp{"intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"};
  s.d_mlp = f.four_times ? size_or(c, mlp, limits::mlp, 4 * s.d_model) : c.size(mlp, limits::mlp);
  s.positions = size_or(c, {"max_position_embeddings", "n_positions", "seq_length"}, limits::positions, 2048);
  s.each.assign(s.layers, {});
  for (auto& layer : s.each) layer.scale = 1 / std::sqrt(static_cast<double>(s.d_head));
}

void read_activation(hf_config const& c, family const& f, decoder_spec& s) {
  s.activation_name = f.act_key.empty() ? std::string(f.act) : c.text(f.act_key, f.act);
  try {
    s.act = activation_of(s.activation_name);
  } catch (usage_error const& e) {
    c.json().at(f.act_key).fail(e.what());
  }
}

}  // namespace

decoder_spec describe(hf_config const& c, family const& f) {
  decoder_spec s;
  s.architecture = f.type;
  std::istringstream parts{std::string(f.names)};
  for (std::string one; parts >> one;) s.names[one.substr(0, one.find('='))] = one.substr(one.find('=') + 1);
  read_sizes(c, f, s);
  read_activation(c, f, s);
  s.epsilon = f.epsilon_key.empty() ? f.epsilon : c.number(f.epsilon_key, 0, 1, f.epsilon);
  s.rms = f.rms, s.gated = f.gated, s.biases = f.biases;
  s.tied = c.flag("tie_word_embeddings", f.tied);
  f.more ? f.more(c, s) : read_rotary(c, s, {});
  if (auto const types = c.find("layer_types"))
    if (types->size() != s.layers)
      types->fail("has " + std::to_string(types->size()) + " entries for " + std::to_string(s.layers) + " layers");
  c.refuse_unread();
  return s;
}

family_model::family_model(std::string const& path, std::span<std::string_view const> model_types,
                           std::function<decoder_spec(hf_config const&)> const& describe)
    : family_model(path, hf_config::open_family(path, model_types), describe) {}

family_model::family_model(std::string const& path, hf_config const& c,
                           std::function<decoder_spec(hf_config const&)> const& describe)
    : decoder_model(describe(c), [this] { return tokenizer_.get(); }),
      path_(path),
      config_(c),
      generation_(read_generation_tokens(c, info().vocabulary)),
      tokenizer_(c.folder()) {}

std::vector<std::string> family_model::remarks() const {
  auto all = config_.remarks();
  for (auto const& more : {generation_.remarks, remarks_on_files(config_)}) all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace wayfarer::decoder
