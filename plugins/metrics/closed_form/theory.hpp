// Optima of the one-layer topic transformer in closed form: squared loss, T disjoint topics of v words,
// infinite documents of tau topics in equal parts, one-hot tokens. Everything but attention depends only on the
// second moments of the topics' weights, and so also holds for weights from a Dirichlet distribution.
//
// Pure functions; any thread.
#pragma once

#include "common/topic_process.hpp"

namespace wayfarer::topics {

/// The optimal W^V under uniform attention: what a token adds to the score of a word.
struct value_constants {
  double mask = 0;   ///< [MASK], m
  double same = 0;   ///< a word of the scored word's topic, itself included, s
  double other = 0;  ///< a word of another topic, d
};

/// Theorem V with penalty lambda * |W|^2 on the loss per masked token summed over the vocabulary; lambda 0 stands for the limit
/// from above, where gradient descent from zero ends.
value_constants optimal_value(setting const&, double lambda = 0);

/// The topic-sum contrast of theorems E and V: sum of a row's weights over its own topic less that over any other, 1 / kappa.
double topic_sum_contrast(setting const&);

/// Squared loss per masked token, summed over the vocabulary, below which uniform attention can't go.
double irreducible_loss(setting const&);

/// Attention of a word query under theorem A, as ratios to a key of another topic.
struct attention_ratios {
  double own_topic = 1;  ///< R: mean over the words of the query's topic
  double mask = 1;       ///< rho: a [MASK] key
};

/// Loss of a word query, up to a constant, with W^V held at these values. Masked keys are attended to. Only for tau above 0.
double attention_loss(setting const&, value_constants const&, attention_ratios const&);
/// Its minimum over both ratios, each within [1e-3, 1e3].
attention_ratios optimal_attention(setting const&, value_constants const&);
/// Its minimum over own_topic with `mask` given.
double optimal_own_topic(setting const&, value_constants const&, double mask);

}  // namespace wayfarer::topics
