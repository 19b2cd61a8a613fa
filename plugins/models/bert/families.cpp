#include "families.hpp"

#include <algorithm>
#include <sstream>

#include <wayfarer/error.hpp>

namespace wayfarer::encoder {
namespace {

/// One family. Defaults are BERT's.
struct family {
  std::string_view type;
  std::string_view names;
  std::string_view prefix = "bert";
  std::string_view architecture = "bert";
  std::string_view layers_key = "num_hidden_layers", heads_key = "num_attention_heads", width_key = "hidden_size";
  std::string_view mlp_key = "intermediate_size", act_key = "hidden_act", act = "gelu";
  bool epsilon_said = true;      ///< by layer_norm_eps; else it is 1e-12
  bool head_follows_act = true;  ///< the head's activation is the layers'; else GELU
  bool counts_from_pad = false;  ///< positions
  bool has_types = true;
  std::size_t embedding_size = 0;  ///< where the configuration does not say; 0: the model's width and no other
  bool always_projected = false;   ///< also where both widths are the same
  void (*more)(hf_config const&, encoder_spec&) = nullptr;
};

constexpr std::string_view bert_names =
    "block=encoder.layer.{}. q=attention.self.query k=attention.self.key v=attention.self.value o=attention.output.dense "
    "ln1=attention.output.LayerNorm up=intermediate.dense down=output.dense ln2=output.LayerNorm "
    "head_dense=cls.predictions.transform.dense head_ln=cls.predictions.transform.LayerNorm unembed=cls.predictions.decoder "
    "head_bias=cls.predictions.bias";
constexpr std::string_view roberta_names =
    "block=encoder.layer.{}. q=attention.self.query k=attention.self.key v=attention.self.value o=attention.output.dense "
    "ln1=attention.output.LayerNorm up=intermediate.dense down=output.dense ln2=output.LayerNorm head_dense=lm_head.dense "
    "head_ln=lm_head.layer_norm unembed=lm_head.decoder head_bias=lm_head.bias";
constexpr std::string_view electra_names =
    "project=embeddings_project block=encoder.layer.{}. q=attention.self.query k=attention.self.key v=attention.self.value "
    "o=attention.output.dense ln1=attention.output.LayerNorm up=intermediate.dense down=output.dense ln2=output.LayerNorm "
    "head_dense=generator_predictions.dense head_ln=generator_predictions.LayerNorm unembed=generator_lm_head "
    "head_bias=generator_lm_head.bias";
constexpr std::string_view albert_names =
    "project=encoder.embedding_hidden_mapping_in block=encoder.albert_layer_groups.{}.albert_layers.{}. q=attention.query "
    "k=attention.key v=attention.value o=attention.dense ln1=attention.LayerNorm up=ffn down=ffn_output "
    "ln2=full_layer_layer_norm head_dense=predictions.dense head_ln=predictions.LayerNorm unembed=predictions.decoder "
    "head_bias=predictions.bias";
// "distilbert.transformer." in front of its layers counts as wrappers.
constexpr std::string_view distilbert_names =
    "block=layer.{}. q=attention.q_lin k=attention.k_lin v=attention.v_lin o=attention.out_lin ln1=sa_layer_norm up=ffn.lin1 "
    "down=ffn.lin2 ln2=output_layer_norm head_dense=vocab_transform head_ln=vocab_layer_norm unembed=vocab_projector "
    "head_bias=vocab_projector.bias";

void read_albert(hf_config const& c, encoder_spec& s) {
  s.groups = c.size("num_hidden_groups", s.layers, 1);
  s.inner = c.size("inner_group_num", model_limits::layers / s.layers, 1);
  s.layers *= s.inner;
  // Keys of the published configurations that no implementation reads; with other values they would mean something else.
  for (auto const& [key, value] :
       {std::pair{"down_scale_factor", 1}, {"gap_size", 0}, {"net_structure_type", 0}, {"num_memory_blocks", 0}})
    if (auto const given = c.find(key); given && given->as_number() != value)
      given->fail("expected " + std::to_string(value) + ": no model here follows another value");
}

void read_distilbert(hf_config const& c, encoder_spec&) {
  c.find("sinusoidal_pos_embds");  // says how the table began; the checkpoint holds what became of it
  c.find("tie_weights_");
}

constexpr family table[] = {
    {.type = "bert", .names = bert_names},
    {.type = "roberta", .names = roberta_names, .prefix = "roberta", .head_follows_act = false, .counts_from_pad = true},
    {.type = "xlm-roberta", .names = roberta_names, .prefix = "roberta", .head_follows_act = false, .counts_from_pad = true},
    {.type = "camembert", .names = roberta_names, .prefix = "roberta", .head_follows_act = false, .counts_from_pad = true},
    {.type = "albert",
     .names = albert_names,
     .prefix = "albert",
     .architecture = "albert",
     .act = "gelu_new",
     .embedding_size = 128,
     .always_projected = true,
     .more = read_albert},
    {.type = "distilbert",
     .names = distilbert_names,
     .prefix = "distilbert",
     .architecture = "distilbert",
     .layers_key = "n_layers",
     .heads_key = "n_heads",
     .width_key = "dim",
     .mlp_key = "hidden_dim",
     .act_key = "activation",
     .epsilon_said = false,
     .has_types = false,
     .more = read_distilbert},
    {.type = "electra",
     .names = electra_names,
     .prefix = "electra",
     .architecture = "electra",
     .head_follows_act = false,
     .embedding_size = 128},
};

void read_sizes(hf_config const& c, family const& f, encoder_spec& s) {
  using limits = model_limits;
  s.layers = c.size({f.layers_key, "num_hidden_layers"}, limits::layers);
  s.heads = c.size({f.heads_key, "num_attention_heads"}, limits::heads);
  s.d_model = c.size({f.width_key, "hidden_size"}, limits::width);
  if (s.d_model % s.heads != 0)
    c.json()
        .at(f.heads_key)
        .fail(std::to_string(s.heads) + " heads do not divide " + std::string(f.width_key) + " " + std::to_string(s.d_model));
  s.d_head = s.d_model / s.heads;
  s.d_mlp = c.size(f.mlp_key, limits::mlp);
  s.vocabulary = c.size("vocab_size", limits::vocabulary);
  s.positions = c.size("max_position_embeddings", limits::positions);
  if (f.has_types) s.types = c.size("type_vocab_size", limits::vocabulary, 2);
  s.d_embed = c.size("embedding_size", limits::width, f.embedding_size ? f.embedding_size : s.d_model);
  if (!f.embedding_size && s.d_embed != s.d_model)
    c.json().at("embedding_size").fail("is not hidden_size; embeddings of another width can't be read of " + in_quotes(f.type));
  s.projected = f.always_projected || s.d_embed != s.d_model;
}

void read_activation(hf_config const& c, family const& f, encoder_spec& s) {
  s.act_name = c.text(f.act_key, f.act);
  try {
    s.act = activation_of(s.act_name);
  } catch (usage_error const& e) {
    c.json().at(f.act_key).fail(e.what());
  }
  if (f.head_follows_act) s.head_act = s.act;
}

void read_first_position(hf_config const& c, encoder_spec& s) {
  auto const pad = c.find("pad_token_id");
  s.pad = pad ? static_cast<std::int32_t>(pad->as_integer(0, static_cast<std::int64_t>(s.positions))) : 1;
  s.first_position = static_cast<std::size_t>(s.pad) + 1;
  if (s.first_position >= s.positions)
    c.json().at("max_position_embeddings").fail("expected more than the " + std::to_string(s.first_position) + " unused ones");
}

std::string replaced(std::string in, std::size_t by) {
  if (auto const at = in.find("{}"); at != std::string::npos) in.replace(at, 2, std::to_string(by));
  return in;
}

}  // namespace

std::initializer_list<std::string_view> model_types() {
  // Those of the table, as the reader of configurations takes them.
  static std::initializer_list<std::string_view> const all = {"bert",   "roberta",    "xlm-roberta", "camembert",
                                                              "albert", "distilbert", "electra"};
  return all;
}

bool is_prefix(std::string_view name) {
  return std::any_of(std::begin(table), std::end(table), [&](family const& f) { return f.prefix == name; });
}

std::string encoder_spec::stored(std::string_view part, std::size_t layer) const {
  std::string block = stored("block");
  if (!groups) return replaced(block, layer) + stored(part);
  // The group of a layer as transformers computes it, in floating point.
  double const layers_outside = static_cast<double>(layers / inner);
  auto const group =
      static_cast<std::size_t>(static_cast<double>(layer / inner) / (layers_outside / static_cast<double>(groups)));
  return replaced(replaced(block, std::min(group, groups - 1)), layer % inner) + stored(part);
}

bool encoder_spec::in_head(std::string_view stored_name) const {
  for (auto const* part : {"head_dense", "head_ln", "unembed", "head_bias"})
    if (stored_name.starts_with(stored(part))) return true;
  return false;
}

encoder_spec describe(hf_config const& c) {
  auto const& f = *std::find_if(std::begin(table), std::end(table), [&](family const& e) { return e.type == c.model_type(); });
  encoder_spec s;
  s.architecture = f.architecture, s.prefix = f.prefix;
  std::istringstream parts{std::string(f.names)};
  for (std::string one; parts >> one;) s.names[one.substr(0, one.find('='))] = one.substr(one.find('=') + 1);
  read_sizes(c, f, s);
  s.epsilon = f.epsilon_said ? c.number("layer_norm_eps", 0, 1, 1e-12) : 1e-12;
  s.tied = c.flag("tie_word_embeddings", true);
  if (f.counts_from_pad) read_first_position(c, s);
  read_activation(c, f, s);
  if (std::string const kind = c.text("position_embedding_type", "absolute"); kind != "absolute")
    c.json().at("position_embedding_type").fail("expected \"absolute\", got " + in_quotes(kind));
  if (c.flag("is_decoder", false)) c.json().at("is_decoder").fail("only encoders can be read");
  if (f.more) f.more(c, s);
  return s;
}

}  // namespace wayfarer::encoder
