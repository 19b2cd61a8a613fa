// Turns a text into vectors for the concept-space tests: cuts it into examples and segments, encodes each segment separately,
// combines a segment's states into one or more vectors, and combines these. arXiv 2308.10874, with the author's own names.
//
// Shared by the probes concept_similarity and concept_generation. The functions are pure; any thread. A probe holds an
// `encoder`, through which all settings of a sweep share one pass over the model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>

namespace wayfarer::concepts {

// ---- cutting ---------------------------------------------------------------------------------------------------------------

/// The context of an item as examples, each a list of segments; every segment is encoded in isolation.
enum class cutting { concat_all, concat_each, segment_each, sentences, merge_all };
inline constexpr char const* cuttings = "concat_all|concat_each|segment_each|sentences|merge_all";
cutting cutting_of(std::string_view name);

/// The sentences of a text: it is cut after each "." that white space follows, which begins the next sentence. Put together they
/// are the text; none is empty.
std::vector<std::string_view> sentences_of(std::string_view text);

/// Item `i` of a block: its examples' segments, none of them empty. A text that the source does not give in pieces is one segment
/// of one example. Throws usage_error if the items have no texts, data_error if pieces and their examples do not fit.
std::vector<std::vector<std::string>> cut(item_block const&, std::size_t i, cutting);

// ---- composing -------------------------------------------------------------------------------------------------------------

/// Vectors of one width.
struct vectors {
  std::size_t width = 0;
  std::vector<double> values;  ///< [vector, width]

  std::size_t count() const noexcept { return width == 0 ? 0 : values.size() / width; }
  std::span<double const> operator[](std::size_t i) const noexcept { return {values.data() + i * width, width}; }
  std::span<double> operator[](std::size_t i) noexcept { return {values.data() + i * width, width}; }
  void push_back(std::span<double const> v) { values.insert(values.end(), v.begin(), v.end()); }
};

enum class norm_rule { none, l2, z, var };
inline constexpr char const* norms = "none|l2|layer|z|var";
norm_rule norm_of(std::string_view name);
/// l2: x / |x|. z, or layer: (x - mean) / sqrt(variance + 1e-5). var: x / its standard deviation, divisor n - 1. What would be
/// divided by 0 stays.
void normalise(std::span<double> x, norm_rule);

/// What becomes of the states x_1 .. x_T of a segment: each goes through the steps, and then all are pooled.
///   steps    relu|  a(x)     -relu|  -a(-x)     relu+|  x + a(x)     -relu+|  x - a(-x)     a: the activation of the model's
///   MLPs
///            zNorm|  z(y), zNorm+|  z(y) + x, where y is what the step before made of x, or x
///   pooling  mean    sum_t x_t / T               w1mean  sum_t t x_t / sum_t t
///            last    x_T, which is never normalised               concat  all of them
class word_rule {
 public:
  enum class pooling : std::uint8_t { mean, w1mean, last, concat };

  /// Of "mean", "relu|zNorm+|w1mean". Throws usage_error that names `parameter`.
  word_rule(std::string text, std::string_view parameter);
  std::string const& text() const noexcept { return text_; }
  pooling pools() const noexcept { return pooling_; }
  /// Whether what it makes is normalised: means are, states that stay as they were are not.
  bool is_normalised() const noexcept { return pooling_ != pooling::last && pooling_ != pooling::concat; }
  bool activates() const noexcept { return relu_ != activation_step::none; }
  /// One vector, or T for concat.
  vectors operator()(vectors states, activation a) const;

 private:
  enum class activation_step : std::uint8_t { none, plus, minus };
  enum class norm_step : std::uint8_t { none, alone, added };

  std::string text_;
  activation_step relu_ = activation_step::none;
  bool relu_added_ = false;
  norm_step norm_ = norm_step::none;
  pooling pooling_ = pooling::mean;
};

enum class example_rule { mean, none, soft_cluster };
inline constexpr char const* example_rules = "mean|none|soft_cluster";
example_rule example_rule_of(std::string_view name);

/// From the vectors of segments to those of a context.
struct pyramid {
  norm_rule norm = norm_rule::none;  ///< after every pooling and mean
  bool segment_mean = true;          ///< an example's segments become one vector
  bool example_mean = true;          ///< all that is left becomes one vector
  bool normalises_words = true;      ///< word_rule::is_normalised
};
/// `segments[e][s]`: what the word rule made of segment s of example e.
vectors compose(std::vector<std::vector<std::shared_ptr<vectors const>>> const& segments, pyramid const&);

// ---- layers ----------------------------------------------------------------------------------------------------------------

/// Where states are taken from.
struct layer_choice {
  enum class table { none, input, output };
  table from = table::none;  ///< a table of embeddings, which no model is run for
  std::string hook;          ///< or this
};
/// "top" (after the final norm), "middle", a number from 0 (before the first block) to the number of blocks (the top), or below
/// 0 from the top (-1), "E" (token embeddings) or "OE" (output embeddings). Of an encoder-decoder these are the encoder's.
/// Throws usage_error that names `parameter`.
layer_choice layer_of(std::string const& text, std::string_view parameter, model_info const&);

// ---- encoding --------------------------------------------------------------------------------------------------------------

/// What is wanted of a segment: its states at a layer, pooled.
struct want {
  layer_choice layer;
  word_rule word;
  std::string key() const;
};

/// A segment as tokens.
struct piece {
  std::vector<std::int32_t> tokens;
  std::size_t cut = 0;  ///< tokens on the left that the model could not take
};

/// Items of a block as tokens: [item][example][segment].
using item_pieces = std::vector<std::vector<std::vector<piece>>>;

/// How the probes of one sweep run the model: each makes an encoder of its own with the same id; what they share is in the
/// sample. Segments that come again, in the block or in an earlier one, are not run again while there is room.
///
/// Any thread. A segment's numbers depend on nothing but itself, so it does not matter who ran it, and with which others.
class encoder {
 public:
  /// `id`: the plugin's, under which things are shared. `room`: limit in bytes of the vectors cached for later blocks. `longest`:
  /// limit of a segment's tokens, 0: the model's limit; longer segments lose their beginning.
  encoder(std::string id, std::size_t room, std::size_t longest) : id_(std::move(id)), room_(room), longest_(longest) {}

  enum role { context, choice };
  /// For probe::announce.
  void announce(shared_values& of_sweep, role, want const&) const;

  /// The contexts of a block in pieces. Pieces without tokens are left out.
  std::shared_ptr<item_pieces const> contexts(sample const&, model const&, cutting) const;
  /// The answers of a block, as examples of one piece each. `alone`: as segments of their own, cut like those and with what the
  /// tokenizer puts around a text; else as what follows a context.
  std::shared_ptr<item_pieces const> choices(sample const&, model const&, bool alone) const;
  /// What the word rule makes of every piece: [item][example][segment].
  std::vector<std::vector<std::vector<std::shared_ptr<vectors const>>>> encode(sample const&, model const&, role,
                                                                               item_pieces const&, want const&) const;

 private:
  std::size_t most_tokens(model const&) const;
  std::string id_;
  std::size_t room_, longest_;
};

/// Tokens that were cut off an item's pieces.
std::size_t tokens_cut(std::vector<std::vector<piece>> const& item) noexcept;
/// How many answers the first item of those observed has; what all must have.
std::size_t choices_of(probe_context const&);
/// Throws data_error unless item `i` of a block has so many answers.
void check_choices(item_block const&, std::size_t i, std::size_t choices);
/// The item's right answer. Throws usage_error if the source has none ("gold"), data_error if it is none of `choices`.
std::int32_t gold_of(item_block const&, std::size_t i, std::size_t choices);

}  // namespace wayfarer::concepts
