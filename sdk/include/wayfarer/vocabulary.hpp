// Distributions over a vocabulary, read while their logits are made: likeliest tokens, ranks, log probabilities, entropy and
// divergence in one pass over some tokens of the vocabulary at a time. Logits are never kept, so that many rows share each
// reading of the unembedding.
//
// Free functions; any thread. A row's numbers are those of the row alone (its divergence: of the last row of its group too),
// whichever rows are read with it and however many threads there are: sums are float64, over the same tokens in the same order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// The logits of tokens [first, last): [row, token].
using logits_of_tokens = std::function<rows(rows const& x, std::size_t first, std::size_t last)>;

/// Derive a model from it beside wayfarer::model, whose `unembed` then need not be called for the whole vocabulary. Found by
/// dynamic_cast.
struct WAYFARER_API unembeds_tokens {
  virtual ~unembeds_tokens();
  /// What model::unembed gives for tokens [first, last), the same bytes. x: [row, d_model], through final_norm.
  virtual rows unembed_tokens(rows const& x, std::size_t first, std::size_t last) const = 0;
};

/// The part of a layer that makes its outputs [first, last): views.
WAYFARER_API linear_weights outputs_of(linear_weights const&, std::size_t first, std::size_t last);

/// Enough rows that reading the unembedding for them costs little beside the products.
inline constexpr std::size_t vocabulary_rows = 512;

struct vocabulary_question {
  std::size_t vocabulary = 0;
  std::size_t likeliest = 0;                   ///< tokens to list for each row
  ragged<std::int32_t> tokens{};               ///< [row]: tokens whose logits are wanted; empty: of no row
  bool ranks = false;                          ///< and whose ranks
  std::size_t group = 0;                       ///< rows come in groups of so many, compared with the last of each; 0: with none
  std::size_t rows_at_once = vocabulary_rows;  ///< as far as groups allow
  std::size_t tokens_at_once = 1024;           ///< numbers depend on it to rounding
};

struct token_logit {
  std::int32_t token;
  double logit;
};

/// What was asked of one row. If a logit is no number, nothing is but `likeliest`, `logits` and `ranks`, which leave it out.
struct WAYFARER_API token_distribution {
  double highest = 0, log_sum = 0;       ///< log probability = (logit - highest) - log_sum
  double entropy = 0;                    ///< in nats
  double divergence = 0;                 ///< D(last row of the group || this row), in nats; 0 without groups
  std::vector<token_logit> likeliest{};  ///< best first, the lower id first among equals
  std::vector<double> logits{};          ///< of the tokens asked for
  std::vector<std::size_t> ranks{};      ///< how many tokens come before each of them
  double log_probability(double logit) const noexcept { return (logit - highest) - log_sum; }
  double probability(double logit) const noexcept;
};

/// states: [row, width], float32 or float64. Throws plugin_error for a question that does not fit them.
WAYFARER_API std::vector<token_distribution> read_vocabulary(tensor const& states, vocabulary_question const&,
                                                             logits_of_tokens const&);

WAYFARER_INTERFACE_LAYOUT(unembeds_tokens, unembed_tokens);
WAYFARER_LAYOUT(vocabulary_question, vocabulary, likeliest, tokens, ranks, group, rows_at_once, tokens_at_once);
WAYFARER_LAYOUT(token_logit, token, logit);
WAYFARER_LAYOUT(token_distribution, highest, log_sum, entropy, divergence, likeliest, logits, ranks);

}  // namespace wayfarer
