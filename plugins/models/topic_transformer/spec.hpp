// What a topic transformer is and how it is trained: every switch of the study in one plain struct, and the regimes R1 to R5 as
// settings of those switches (Li, Li and Risteski 2023; the regimes are this project's names for the paper's experiments).
//
// The plugin fills one from its parameters; everything below it (documents, plain, fast, trainer) only reads it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace wayfarer::topic_transformer {

// Token ids: four specials, then word w is w + first_word.
inline constexpr std::uint16_t pad_id = 0, mask_id = 1, start_id = 2, end_id = 3, first_word = 4;

enum class style_kind { paper, repo };
enum class embedding_kind { one_hot, trained };
enum class attention_kind { uniform, trained };
enum class value_kind { trained, identity, block, closed_form };
enum class decoder_kind { identity, tied, untied };
enum class key_kind { excluded, included };
enum class loss_kind { cross_entropy, squared };
enum class optimizer_kind { adam, sgd };
enum class schedule_kind { constant, linear };
enum class position_kind { none, trained, cosine };
enum class init_kind { scaled, uniform, normal };
enum class replacement_kind { all_ids, words };
enum class method_kind { automatic, fast, plain };

struct spec {
  // The model.
  std::size_t topics = 10,
              words_per_topic = 10;  // words are 0 .. topics * words_per_topic - 1, topic of w is w / words_per_topic
  style_kind style = style_kind::paper;
  bool start_end = false;       // documents are [START] words [END]
  bool embedding_norm = false;  // hidden row = LayerNorm(embedding + position + token type), all trained
  embedding_kind embedding = embedding_kind::one_hot;
  attention_kind attention = attention_kind::uniform;
  value_kind value = value_kind::trained;
  decoder_kind decoder = decoder_kind::identity;
  position_kind positions = position_kind::none;
  double block_value = 1;  // value = block: weight of a word on the words of its own topic
  bool bias = false;       // biases of K, Q, V
  bool decoder_bias = false;
  std::size_t d_model = 0;  // 0: as many as there are token ids
  std::size_t layers = 1, heads = 1, d_mlp = 0, max_positions = 512;
  bool residual = false, attention_output = false, intermediate = false, output = false, head_transform = false,
       layer_norm = false;

  // The task.
  key_kind masked_keys = key_kind::excluded;
  loss_kind loss = loss_kind::cross_entropy;
  double mask_probability = 0.15, keep_probability = 0.1, random_probability = 0.1;  // p_m, p_c, p_r
  replacement_kind replacement = replacement_kind::words;

  // The training.
  init_kind init = init_kind::scaled;  // of K, Q, V: U(+-1/sqrt(d)), U[0, init_scale) or N(0, init_scale^2)
  double init_scale = 0.1;
  double embedding_init_sd = 0.01;  // of trained embeddings, and of an untied decoder in paper style
  optimizer_kind optimizer = optimizer_kind::adam;
  schedule_kind schedule = schedule_kind::constant;
  double learning_rate = 0.01, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double l2 = 0;  // adds l2 * ||theta||^2 over all trained parameters
  std::size_t batch = 40, updates = 5000;

  std::size_t words() const noexcept { return topics * words_per_topic; }
  std::size_t vocabulary() const noexcept { return words() + first_word; }
  std::size_t d() const noexcept { return d_model ? d_model : vocabulary(); }
  std::size_t d_head() const noexcept { return d() / heads; }
  std::size_t mlp() const noexcept { return d_mlp ? d_mlp : d(); }
  std::size_t topic_of(std::size_t word) const noexcept { return word / words_per_topic; }
};

/// The settings of "R1" .. "R5" (or "custom") in one of the two styles, before anything else is chosen. Throws usage_error.
spec regime_defaults(std::string_view regime, style_kind style);

/// Throws usage_error when the switches contradict each other, saying which and what to do.
void check(spec const&);

/// Whether the table path can train this: one layer, one head, no positions, none of BERT's further pieces.
bool has_fast_path(spec const&) noexcept;

/// The optimum of theorem V (squared loss, uniform attention, masked keys included): weight of [MASK] on any word (m), of a word
/// on its own topic (s) and on others (d).
struct closed_form_values {
  double m = 0, s = 0, d = 0;
};
closed_form_values closed_form(spec const&);

// ---- parameters, by name
// -------------------------------------------------------------------------------------------------------

/// One parameter array: rows x cols, row-major; a vector has one row. Maps are [output, input] as in the paper.
struct parameter {
  std::string name;
  std::size_t rows = 0, cols = 0, offset = 0;
  bool trained = true;
  bool linear = false;  // a map y = W x, which the outside sees turned, as y = x W
};

/// Where each array of the model lies; -1 when the model has none (then it is zero, the identity or off, as the spec says).
struct layer_slots {
  int w_q = -1, b_q = -1, w_k = -1, b_k = -1, w_v = -1, b_v = -1, w_o = -1, b_o = -1, norm1_w = -1, norm1_b = -1;
  int w_in = -1, b_in = -1, w_out = -1, b_out = -1, norm2_w = -1, norm2_b = -1;
};
struct layout {
  explicit layout(spec const&);
  std::vector<parameter> parameters;
  std::size_t count = 0;
  int embed = -1, position = -1, token_type = -1, norm_w = -1, norm_b = -1;
  std::vector<layer_slots> layers;
  int head_w = -1, head_b = -1, head_norm_w = -1, head_norm_b = -1, decoder_w = -1, decoder_b = -1;

  int find(std::string_view name) const noexcept;

 private:
  int add(std::string name, std::size_t rows, std::size_t cols, bool trained = true, bool linear = false);
};

/// The numbers of a layout, end to end. T is float or double.
template <class T>
struct weights {
  std::vector<T> values;
  T* at(parameter const& p) noexcept { return values.data() + p.offset; }
  T const* at(parameter const& p) const noexcept { return values.data() + p.offset; }
};

/// The start of a run: a pure function of the spec and the seed.
template <class T>
weights<T> initial_weights(spec const&, layout const&, std::uint64_t seed);

}  // namespace wayfarer::topic_transformer
