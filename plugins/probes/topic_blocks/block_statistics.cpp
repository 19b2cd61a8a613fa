#include "block_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <wayfarer/error.hpp>

namespace wayfarer::topics {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Pooled mean of entries that come in columns, of which some may be empty.
class column_mean {
 public:
  void add(double sum, double count) {
    if (count == 0) return;
    sum_ += sum;
    count_ += count;
    means_.push_back(sum / count);
  }
  entry_mean result() const {
    return {count_ > 0 ? sum_ / count_ : nan, means_.size() > 1 ? moments_of(means_).standard_error() : nan};
  }

 private:
  double sum_ = 0, count_ = 0;
  std::vector<double> means_;
};

/// Sum of a row over its own topic less that over another, mean over the pairs.
entry_mean topic_sum_contrast(tensor const& whole, std::vector<std::size_t> const& words, std::vector<double> const& size,
                              std::span<std::int32_t const> topic_of_token) {
  auto const m = whole.view<double const>();
  auto const topic = [&](std::size_t token) { return static_cast<std::size_t>(topic_of_token[token]); };
  column_mean topic_sums;
  for (std::size_t const i : words) {
    std::vector<double> sum(size.size());
    for (std::size_t const l : words) sum[topic(l)] += m(i, l);
    double contrast = 0, others = 0;
    for (std::size_t t = 0; t < size.size(); ++t)
      if (t != topic(i) && size[t] > 0) contrast += sum[topic(i)] - sum[t], ++others;
    topic_sums.add(contrast, others);
  }
  return topic_sums.result();
}

}  // namespace

block_statistics measure_blocks(tensor const& matrix, std::span<std::int32_t const> topic_of_token) {
  std::size_t const tokens = topic_of_token.size();
  if (matrix.rank() != 2 || matrix.size(0) != tokens || matrix.size(1) != tokens)
    throw plugin_error("topics of " + std::to_string(tokens) + " tokens don't fit a matrix of " + describe(matrix.shape()));
  std::vector<std::size_t> words;
  std::vector<double> size;  // words of each topic
  for (std::size_t i = 0; i < tokens; ++i) {
    if (topic_of_token[i] < 0) continue;
    auto const t = static_cast<std::size_t>(topic_of_token[i]);
    if (size.size() <= t) size.resize(t + 1, 0.0);
    size[t] += 1;
    words.push_back(i);
  }
  std::size_t const topics = size.size();
  if (topics < 2) throw plugin_error("a contrast between topics needs two of them");

  auto const whole = matrix.to(dtype::f64);
  auto const m = whole.view<double const>();
  auto topic = [&](std::size_t token) { return static_cast<std::size_t>(topic_of_token[token]); };

  block_statistics s;
  s.blocks = tensor(dtype::f64, {{"topic", topics}, {"other_topic", topics}});
  s.minimum = std::numeric_limits<double>::infinity();
  s.maximum = -s.minimum;
  column_mean diagonal, same, different;
  std::vector<double> contrasts;
  double positive = 0, pairs = 0;
  for (std::size_t const k : words) {
    double own = 0, other = 0;
    for (std::size_t const i : words) {
      double const x = m(i, k);
      if (i != k) s.blocks(topic(i), topic(k)) += x;
      s.minimum = std::min(s.minimum, x);
      s.maximum = std::max(s.maximum, x);
      if (topic(i) != topic(k))
        other += x;
      else if (i != k)
        own += x, positive += x > 0, ++pairs;
    }
    double const owns = size[topic(k)], others = static_cast<double>(words.size()) - owns;
    diagonal.add(m(k, k), 1);
    same.add(own, owns - 1);
    different.add(other, others);
    contrasts.push_back((own + m(k, k)) / owns - other / others);
  }
  for (std::size_t a = 0; a < topics; ++a)
    for (std::size_t b = 0; b < topics; ++b) s.blocks(a, b) /= size[a] * (a == b ? size[a] - 1 : size[b]);
  s.diagonal = diagonal.result();
  s.same = same.result();
  s.different = different.result();
  s.contrast = moments_of(contrasts);
  s.positive_same = pairs > 0 ? positive / pairs : nan;

  s.topic_sum_contrast = topic_sum_contrast(whole, words, size, topic_of_token);
  return s;
}

tensor cosines_of(tensor const& gram) {
  tensor out = gram.to(dtype::f64).clone();
  auto const g = out.view<double>();
  std::vector<double> norm(out.size(0));
  for (std::size_t k = 0; k < norm.size(); ++k) norm[k] = std::sqrt(std::max(0.0, g(k, k)));
  for (std::size_t k = 0; k < norm.size(); ++k)
    for (std::size_t j = 0; j < norm.size(); ++j) {
      double const n = norm[k] * norm[j];
      g(k, j) = n > 0 ? g(k, j) / n : 0;
    }
  return out;
}

}  // namespace wayfarer::topics
