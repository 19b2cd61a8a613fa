// The theorems' optima, and how far a trained matrix and trained attention are from them. Li, Li and Risteski 2023, the theorems
// on embeddings, W^V and attention.
//
//     theory: {metric: closed_form, of: structure/value, attention: attention/own_topic_ratio, topics_per_document: 4}
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/metric.hpp>

#include "theory.hpp"

namespace wf = wayfarer;
using namespace wayfarer::topics;

struct closed_form final : wf::metric {
  explicit closed_form(wf::config const& c) : p_(setting::read(c, "closed_form")), lambda_(c["l2"]) {}

  void measure(wf::metric_input const& in, wf::results& out) const override {
    auto const w = optimal_value(p_, lambda_);
    out.add("mask_weight", w.mask).about("m: optimal weight of [MASK] on every word");
    out.add("same_topic", w.same).about("s: optimal weight of a word on its own topic");
    out.add("other_topic", w.other).about("d: optimal weight of a word on other topics");
    out.add("topic_sum_contrast", topic_sum_contrast(p_))
        .about("1/kappa: optimal sum of a row over its own topic less that over another");
    out.add("irreducible_loss", irreducible_loss(p_)).about("least squared loss per masked token, summed over the vocabulary");
    if (in.has("of")) compare_matrix(in.at("of"), w, out);
    out.summarise("the optimum weighs [MASK] " + wf::told(w.mask, 4) + ", a word's own topic " + wf::told(w.same, 4) +
                  ", other topics " + wf::told(w.other, 4));

    if (p_.topics_per_document == 0) {
      if (in.has("attention"))
        throw wf::usage_error(
            "closed_form: the theorem on attention is about documents of tau topics in equal parts, and these have Dirichlet "
            "weights; leave the port 'attention' out, or learn from a source with topics_per_document");
      return;
    }
    // Theorem A has masked tokens attended to; without them or without kept and random words its minimum lies at infinity.
    if (!p_.masked_keys || p_.mask_share() <= 0 || p_.keep <= 0 || p_.random <= 0) return;
    auto const best = optimal_attention(p_, w);
    out.add("own_topic_ratio", best.own_topic)
        .about("R*: optimal attention to a word of the query's topic over one of another topic");
    out.add("mask_ratio", best.mask).about("rho*: optimal attention to [MASK] over a word of another topic");
    out.add("own_topic_ratio_at_equal_mask", optimal_own_topic(p_, w, 1))
        .about("R* where [MASK] gets as much attention as a word of another topic");
    out.add("attention_loss", attention_loss(p_, w, best)).about("expected squared loss of word queries at the optimum");
    if (!in.has("attention")) return;
    auto const trained = in.at("attention").values().to(wf::dtype::f64);
    double away = 0;
    for (double const R : trained.values<double const>()) away = std::max(away, std::abs(R / best.own_topic - 1));
    out.add("attention_deviation", away).about("largest relative deviation of the measured ratio from R*, over layers and heads");
  }

 private:
  /// Rows are scored tokens, columns seen ones; the words come last, and [MASK] is alone before them (token 0) or follows [PAD].
  void compare_matrix(wf::dataset const& of, value_constants const& w, wf::results& out) const {
    auto const words = static_cast<std::size_t>(p_.topics * p_.words_per_topic), v = static_cast<std::size_t>(p_.words_per_topic);
    auto const& m = of.values();
    if (of.is_text() || m.rank() != 2 || m.size(0) != m.size(1) || m.size(0) < words)
      throw wf::usage_error("closed_form needs a square matrix over at least " + std::to_string(words) +
                            " tokens (topics x words_per_topic), not " + wf::describe(of.shape()));
    std::size_t const first = m.size(0) - words;
    auto const T = static_cast<std::size_t>(p_.topics);
    double away = 0, contrast = 0, worst = 0;
    for (std::size_t i = 0; i < words; ++i) {
      double own = 0, all = 0;
      for (std::size_t l = 0; l < words; ++l) {
        double const x = m.get({first + i, first + l});
        bool const same = i / v == l / v;
        away = std::max(away, std::abs(x - (same ? w.same : w.other)));
        all += x;
        own += same ? x : 0;
      }
      double const others = (all - own) / static_cast<double>(T - 1);  // mean over the other topics of their sums
      contrast += (own - others) / static_cast<double>(words);
      worst = std::max(worst, std::abs((own - others) / topic_sum_contrast(p_) - 1));
    }
    out.add("deviation", away).about("largest deviation of a word-by-word entry from s or d");
    out.add("measured_topic_sum_contrast", contrast)
        .about("sum over the row's own topic less mean sum over the others, mean over rows");
    out.add("topic_sum_deviation", contrast / topic_sum_contrast(p_) - 1)
        .about("relative deviation of the mean topic-sum contrast from 1/kappa");
    out.add("topic_sum_deviation_max", worst).about("largest relative deviation of a row's topic-sum contrast from 1/kappa");
    if (first == 0) return;
    std::size_t const mask = first == 1 ? 0 : 1;
    double column = 0;
    for (std::size_t i = 0; i < words; ++i) column = std::max(column, std::abs(m.get({first + i, mask}) - w.mask));
    out.add("mask_deviation", column).about("largest deviation of a weight of [MASK] on a word from m");
  }

  setting p_;
  double lambda_;
};

WAYFARER_METRIC(
    closed_form, "1.1.0", "The theorems' optimal weights and attention, and the deviation of trained ones from them",
    wf::port::results("of", "a square matrix over tokens, such as topic_blocks' value").optional(),
    wf::port::results("attention", "measured ratios of attention, such as topic_attention's own_topic_ratio").optional(),
    parameters::topics, parameters::words_per_topic, parameters::topics_per_document, parameters::alpha, parameters::mask,
    parameters::keep, parameters::random, parameters::masked_keys,
    wf::param("l2", 0.0, "penalty on |W|^2 beside the loss per masked token, summed over the vocabulary; 0: the limit from above")
        .at_least(0));
