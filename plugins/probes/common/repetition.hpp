// Repetition in a sequence of tokens, and its expected value without self-bias.
//
// Used by the probes that report repetition and self-bias; docs/walks.md defines each measure. Plain functions, any thread;
// numbers depend on the arguments alone.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <wayfarer/random.hpp>

namespace wayfarer::repetition {

constexpr std::size_t longest_gram = 4;  ///< n-grams of 1 to so many tokens are counted
/// Tokens that a walk must come back for before that is called a cycle, however short the cycle is.
constexpr std::size_t least_return = 4;

/// Share of the n-grams of some tokens that occurred before among them, 1 - distinct / all, for n = 1, 2, ...; NaN where there is
/// no n-gram.
inline std::array<double, longest_gram> repeated_ngrams(std::span<std::int32_t const> tokens) {
  std::array<double, longest_gram> out;
  out.fill(std::numeric_limits<double>::quiet_NaN());
  // An n-gram is named by the number of its first n - 1 tokens and its last one.
  std::vector<std::uint64_t> name(tokens.size(), 0), seen;
  for (std::size_t n = 1; n <= longest_gram && n <= tokens.size(); ++n) {
    std::size_t const count = tokens.size() - n + 1;
    for (std::size_t i = 0; i < count; ++i)
      name[i] = name[i] << 32 | static_cast<std::uint64_t>(static_cast<std::uint32_t>(tokens[i + n - 1]));
    seen.assign(name.begin(), name.begin() + static_cast<std::ptrdiff_t>(count));
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (std::size_t i = 0; i < count; ++i)
      name[i] = static_cast<std::uint64_t>(std::lower_bound(seen.begin(), seen.end(), name[i]) - seen.begin());
    out[n - 1] = 1 - static_cast<double>(seen.size()) / static_cast<double>(count);
  }
  return out;
}

/// The cycle that a sequence ends in.
struct cycle {
  std::size_t length = 0;  ///< of the cycle, 0: none
  std::size_t first = 0;   ///< where the part that goes round begins
};

/// The shortest p such that the end has period p, over one whole cycle beyond the first and at least `least_return` tokens.
inline cycle cycle_of(std::span<std::int32_t const> tokens) {
  std::size_t const n = tokens.size();
  for (std::size_t p = 1; p + std::max(p, least_return) <= n; ++p) {
    std::size_t returned = 0;
    while (returned < n - p && tokens[n - 1 - returned] == tokens[n - 1 - returned - p]) ++returned;
    if (returned >= std::max(p, least_return)) return {p, n - p - returned};
  }
  return {};
}

/// What the same tokens give in random order: means over some shuffles.
struct shuffled {
  std::array<double, longest_gram> repeated{};
  double cycles = 0;  ///< share of the shuffles that end in a cycle
};

inline shuffled in_random_order(std::vector<std::int32_t> tokens, random_stream& draw, std::size_t times = 32) {
  shuffled out;
  for (std::size_t t = 0; t < times; ++t) {
    draw.shuffle(static_cast<std::uint32_t>(tokens.size()),
                 [&](std::uint32_t i, std::uint32_t j) { std::swap(tokens[i], tokens[j]); });
    auto const one = repeated_ngrams(tokens);
    for (std::size_t n = 0; n < longest_gram; ++n) out.repeated[n] += one[n] / static_cast<double>(times);
    out.cycles += (cycle_of(tokens).length != 0) / static_cast<double>(times);
  }
  return out;
}

/// Means over the windows of `length` tokens of a longer text, or of all of a text that is no longer. A text is compared with a
/// walk at equal lengths because longer texts repeat more.
inline std::array<double, longest_gram> repeated_in_windows(std::span<std::int32_t const> text, std::size_t length) {
  if (length == 0 || text.size() <= length) return repeated_ngrams(text);
  std::array<double, longest_gram> out{};
  // Windows that overlap by half, the last one at the end.
  std::vector<std::size_t> starts;
  for (std::size_t at = 0; at + length < text.size(); at += std::max<std::size_t>(1, length / 2)) starts.push_back(at);
  starts.push_back(text.size() - length);
  for (std::size_t const at : starts) {
    auto const one = repeated_ngrams(text.subspan(at, length));
    for (std::size_t n = 0; n < longest_gram; ++n) out[n] += one[n] / static_cast<double>(starts.size());
  }
  return out;
}

/// The tokens of a text, each once, with how often it comes.
struct counted {
  explicit counted(std::span<std::int32_t const> text) : total(text.size()) {
    std::vector<std::int32_t> sorted(text.begin(), text.end());
    std::sort(sorted.begin(), sorted.end());
    for (auto const t : sorted) {
      if (tokens.empty() || tokens.back() != t) tokens.push_back(t), counts.push_back(0);
      counts.back() += 1;
    }
  }
  std::vector<std::int32_t> tokens;
  std::vector<double> counts;
  std::size_t total;
};

/// What a token has under some logits.
struct standing {
  double logit = 0, probability = 0, rank = 0;
};

/// What the text's tokens at its other places have on average, each place alike: the standing of the token at this place if
/// nothing but its being a word of this text mattered. `probability` of a token; NaN for a text of one token.
template <class T, class Probability>
standing of_others(std::span<T const> logits, counted const& text, std::int32_t own, Probability const& probability) {
  double const nothing = std::numeric_limits<double>::quiet_NaN();
  if (text.total < 2) return {nothing, nothing, nothing};
  // In the order of ranks: the lower id first among equals, what is no number last.
  auto const height = [&](std::size_t a) { return std::isnan(logits[a]) ? -std::numeric_limits<T>::infinity() : logits[a]; };
  auto const before = [&](std::size_t a, std::size_t b) { return height(a) != height(b) ? height(a) > height(b) : a < b; };
  std::vector<std::size_t> order(text.tokens.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  auto const id = [&](std::size_t i) { return static_cast<std::size_t>(text.tokens[i]); };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return before(id(a), id(b)); });
  // passed[i]: how many tokens of the vocabulary come before order[i] and not before order[i - 1].
  std::vector<double> passed(order.size() + 1);
  for (std::size_t v = 0; v < logits.size(); ++v) {
    if (std::isnan(logits[v])) continue;
    auto const at = std::partition_point(order.begin(), order.end(), [&](std::size_t i) { return !before(v, id(i)); });
    passed[static_cast<std::size_t>(at - order.begin())] += 1;
  }
  standing out;
  double rank = 0;
  auto const places = static_cast<double>(text.total - 1);
  for (std::size_t i = 0; i < order.size(); ++i) {
    rank += passed[i];
    double const weight = (text.counts[order[i]] - (text.tokens[order[i]] == own)) / places;
    out.logit += weight * static_cast<double>(logits[id(order[i])]);
    out.probability += weight * probability(id(order[i]));
    out.rank += weight * rank;
  }
  return out;
}

}  // namespace wayfarer::repetition
