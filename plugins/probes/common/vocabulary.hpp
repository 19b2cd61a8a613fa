// What probes read in the vocabulary: of states, which is fast because their logits are never kept (wayfarer/vocabulary.hpp); or
// of a row of logits that is there, for measures that need all of it.
//
// Plain functions, any thread. Sums are float64 in a fixed order, so a row's numbers depend on that row alone. The exponential of
// float32 logits is computed in float32 (2 units in the last place), so that the compiler can vectorise it.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <wayfarer/model.hpp>
#include <wayfarer/tensor.hpp>
#include <wayfarer/vocabulary.hpp>

namespace wayfarer::language {

/// What states that final_norm has been through say of the vocabulary, [row, d_model]. `question.vocabulary` is the model's.
inline std::vector<token_distribution> read_vocabulary(model const& m, tensor const& states, vocabulary_question question) {
  question.vocabulary = m.info().vocabulary;
  if (auto const* const part = dynamic_cast<unembeds_tokens const*>(&m))
    return wayfarer::read_vocabulary(states, question, [&](rows const& x, std::size_t first, std::size_t last) {
      return part->unembed_tokens(x, first, last);
    });
  // A model that makes all logits or none: few rows of them at once.
  question.rows_at_once = 32, question.tokens_at_once = question.vocabulary;
  return wayfarer::read_vocabulary(states, question, [&](rows const& x, std::size_t, std::size_t) {
    tensor const logits = m.unembed(x.item(0, {{"d_model", x.width()}}));
    return rows_from(logits, x.shared_packing(), question.vocabulary, x.precision(), "logits");
  });
}

/// exp(x) for x <= 0; 0 below -87. NaN stays NaN.
inline float exp_nonpositive(float x) noexcept {
  float const clamped = x < -87.0f ? -87.0f : x;
  // x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts so that r is exact to rounding.
  float const shifted = clamped * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
  float const r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float const p =
      1.0f + r * (1.0f + r * (0.5f + r * (1.6666667e-1f + r * (4.1666667e-2f + r * (8.3333333e-3f + r * 1.3888889e-3f)))));
  float const e = p * std::bit_cast<float>((std::bit_cast<std::int32_t>(shifted) + 127) << 23);
  return x < -87.0f ? 0.0f : e;
}
inline double exp_nonpositive(double x) noexcept {
  return std::exp(x);
}

/// Sum of `term(i)` for i in [0, n), in float64 and a fixed order of eight chains.
template <class Term>
double chained_sum(std::size_t n, Term&& term) {
  std::array<double, 8> chain{};
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (std::size_t c = 0; c < 8; ++c) chain[c] += term(i + c);
  for (std::size_t c = 0; i < n; ++i, ++c) chain[c] += term(i);
  return ((chain[0] + chain[1]) + (chain[2] + chain[3])) + ((chain[4] + chain[5]) + (chain[6] + chain[7]));
}

/// The distribution softmax(logits). Holds a view of the logits and a buffer that may be used again.
template <class T>
class distribution {
 public:
  /// `logits`: [token]; lives as long as this object is used.
  void of(std::span<T const> logits) {
    logits_ = logits;
    highest_ = logits.empty() ? T(0) : logits[0];
    for (T const v : logits) highest_ = v > highest_ ? v : highest_;
    // A NaN anywhere makes every number of this row NaN.
    weights_.resize(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) weights_[i] = exp_nonpositive(logits[i] - highest_);
    sum_ = chained_sum(weights_.size(), [&](std::size_t i) { return static_cast<double>(weights_[i]); });
    log_sum_ = std::log(sum_);
  }

  double log_probability(std::size_t token) const noexcept {
    return (static_cast<double>(logits_[token]) - static_cast<double>(highest_)) - log_sum_;
  }
  double probability(std::size_t token) const noexcept { return std::exp(log_probability(token)); }
  /// The likeliest token, the lowest among equals.
  std::size_t best() const noexcept {
    return static_cast<std::size_t>(std::find(logits_.begin(), logits_.end(), highest_) - logits_.begin());
  }
  /// In nats.
  double entropy() const {
    double const weighted = chained_sum(weights_.size(), [&](std::size_t i) {
      T const below = logits_[i] - highest_;
      return static_cast<double>(weights_[i]) * static_cast<double>(below < T(-700) ? T(-700) : below);
    });
    return log_sum_ - weighted / sum_;
  }
  /// Divergence D(this || other) = sum of p (log p - log q), in nats.
  double divergence_from(distribution const& other) const {
    double const mine = static_cast<double>(highest_) + log_sum_, theirs = static_cast<double>(other.highest_) + other.log_sum_;
    double const weighted = chained_sum(weights_.size(), [&](std::size_t i) {
      double const difference = (static_cast<double>(logits_[i]) - mine) - (static_cast<double>(other.logits_[i]) - theirs);
      return static_cast<double>(weights_[i]) * difference;
    });
    return weighted / sum_;
  }
  std::span<T const> logits() const noexcept { return logits_; }

 private:
  std::span<T const> logits_;
  std::vector<T> weights_;  // exp(logits - highest)
  T highest_ = 0;
  double sum_ = 0, log_sum_ = 0;
};

/// Jensen-Shannon divergence (nat): mean divergence of two distributions from their mean; at most log 2.
template <class T>
double jensen_shannon(distribution<T> const& p, distribution<T> const& q) {
  return chained_sum(p.logits().size(), [&](std::size_t v) {
    double const lp = p.log_probability(v), lq = q.log_probability(v), x = std::exp(lp), y = std::exp(lq);
    double const log_mean = std::log(0.5 * (x + y));
    return 0.5 * ((x > 0 ? x * (lp - log_mean) : 0) + (y > 0 ? y * (lq - log_mean) : 0));
  });
}

}  // namespace wayfarer::language
