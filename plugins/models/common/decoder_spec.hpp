// The description of one decoder-only model, as numbers and names from its configuration, before any weight is read.
//
// A family's entry fills it (plugins/models/decoder); decoder_model makes the hooks, the weight table and the forward pass of it.
// Plain values.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/layers.hpp>
#include <wayfarer/rotary.hpp>

namespace wayfarer {

/// How the rows of one projection that makes queries, keys and values are laid out; a "row" here is d_head of them.
enum class fused_rows {
  none,       ///< three projections
  plain,      ///< all queries, all keys, all values
  per_head,   ///< of each head its query, key, value
  per_group,  ///< of each head of the keys its queries, then the key, then the value
};

/// Where attention and MLP read and where norms stand. x is the residual stream before the block.
enum class residual_form {
  sequential,  ///< m = x + attn(ln1(x)); m + mlp(ln2(m)); a norm that the model has not passes its input on
  parallel,    ///< x + attn(ln1(x)) + mlp(ln2(x)); without ln2 the MLP reads ln1(x)
  post_norm,   ///< n = ln1(x + attn(x)); ln2(n + mlp(n))
};

enum class positions_kind { none, table, rotary, alibi };

/// What weighs the values of other positions.
enum class mixer_kind {
  attention,  ///< softmax of products of queries and keys
  mean,       ///< all up to the query's own alike
  window,     ///< the same within the layer's window
  conv,       ///< a number for each head and distance within the window, learned as it is
  position,   ///< softmax of a score for each head and distance
};

struct decoder_layer {
  std::size_t window = 0;    ///< 0: none
  bool turns = false;        ///< rotary positions
  std::size_t rotation = 0;  ///< which of decoder_spec::rotations
  double scale = 1;          ///< of the scores
};

struct decoder_spec {
  std::string architecture;  ///< model_type
  std::size_t layers = 0, heads = 0, kv_heads = 0, d_model = 0, d_head = 0, d_mlp = 0, vocabulary = 0;
  std::size_t positions = 0;  ///< most that are read; 0: no limit
  std::size_t d_embed = 0;    ///< of the token table, where it is not d_model

  bool rms = true;             ///< norms without a mean
  bool norm_plus_one = false;  ///< their weight is 1 + w
  bool norm_affine = true, norm_bias = false;
  double epsilon = 1e-6;
  residual_form form = residual_form::sequential;
  fused_rows fused = fused_rows::none;
  bool conv1d = false;  ///< matrices are stored [in, out]

  positions_kind position = positions_kind::rotary;
  std::size_t position_offset = 0;  ///< rows of the position table before that of position 0
  std::vector<rotary> rotations;
  bool alibi_bf16 = false;  ///< Falcon's: rounded to bfloat16, and scaled like the scores
  std::vector<decoder_layer> each;
  mixer_kind mixer = mixer_kind::attention;
  std::size_t distances = 0;  ///< of the table of conv and position

  bool head_norms = false, head_norms_whole = false;  ///< of queries and keys: over each head, or over all at once
  bool head_norms_rms = true, head_norms_bias = false, head_norms_own = false;  ///< own: a weight for each head
  double score_cap = 0, logit_cap = 0;                                          ///< 0: none

  activation act = activation::silu;
  std::string activation_name;
  bool gated = true;

  double embed_scale = 1, residual_scale = 1, logit_scale = 1;
  bool tied = false;
  /// Which parts have a bias: " q k v qkv o gate up gate_up down head ".
  std::string biases;
  bool biased(std::string_view part) const { return biases.find(" " + std::string(part) + " ") != std::string::npos; }

  /// Checkpoint's names of the parts, without the prefix that wrappers put there: embed, pos, embed_ln, project_in, project_out,
  /// block ("layers.{}."), ln1, ln2, ln1_post, ln2_post, q, k, v, qkv, q_norm, k_norm, distance, o, gate, up, gate_up, down,
  /// final, head.
  std::map<std::string, std::string, std::less<>> names;
  bool has(std::string_view part) const { return names.find(part) != names.end(); }
  std::string const& stored(std::string_view part) const { return names.find(part)->second; }
  /// "layers.3.self_attn.q_proj".
  std::string stored(std::string_view part, std::size_t layer) const;

  std::size_t group() const { return heads / kv_heads; }
};

}  // namespace wayfarer
