// Which items a probe that chooses answers got right. Read by `accuracy` and `normalized_accuracy`.
//
// Called by metrics, on any thread. Plain values.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/ops.hpp>

namespace wayfarer::outcomes {

struct outcome {
  double accuracy = 0;
  std::vector<double> hits;           ///< 1 or 0 for each item; empty where only the accuracy is known
  std::vector<std::int64_t> right{};  ///< the right answer of each item, to tell whether two outcomes are of the same items

  /// sqrt(a (1 - a) / (N - 1)); needs two items.
  double standard_error() const noexcept { return moments_of(hits).standard_error(); }
};

/// The index of the largest number of row `i`, the lowest among equals; -1 if none is a number.
inline std::int64_t best_of_row(tensor const& scores, std::size_t i) {
  std::int64_t best = -1;
  double highest = 0;
  for (std::size_t k = 0; k < scores.size(1); ++k)
    if (double const v = scores.get({i, k}); !std::isnan(v) && (best < 0 || v > highest))
      best = static_cast<std::int64_t>(k), highest = v;
  return best;
}

/// What a port names: a node with the datasets `answers` ([item], or scores [item, choice], of which the largest counts) and
/// `gold` ([item]); or one number, which is the accuracy. Throws usage_error for anything else.
inline outcome read(metric_input const& in, std::string_view port, std::string const& answers, std::string const& gold) {
  auto const& given = in.at(port, answers);
  std::string const name = "'" + std::string(port) + "'";
  if (given.is_text()) throw usage_error(name + ": expected numbers, got texts");
  tensor const& a = given.values();
  if (a.rank() == 0) return {given.scalar(), {}};
  if (a.rank() > 2) throw usage_error(name + ": expected answers [item] or scores [item, choice], got " + describe(a.shape()));
  auto const& of_gold = in.at(port, gold);
  if (&of_gold == &given)
    throw usage_error(name + " names one dataset of a node; name the node, so that the right answers are there too");
  if (of_gold.is_text() || of_gold.values().rank() != 1 || of_gold.values().size(0) != a.size(0))
    throw usage_error(name + ": '" + gold + "' must be one number for each of " + std::to_string(a.size(0)) + " items, but is " +
                      describe(of_gold.shape()));
  if (a.size(0) == 0) throw usage_error(name + " has no item");
  outcome out;
  for (std::size_t i = 0; i < a.size(0); ++i) {
    double const right = of_gold.values().get({i});
    double const answer = a.rank() == 1 ? a.get({i}) : static_cast<double>(best_of_row(a, i));
    out.hits.push_back(answer == right ? 1 : 0);
    // Not a number, and what no integer holds, is an answer that no item has.
    out.right.push_back(std::abs(right) < 1e15 ? static_cast<std::int64_t>(right) : -1);
  }
  out.accuracy = moments_of(out.hits).mean;
  return out;
}

/// Throws usage_error unless both are of the same items.
inline void check_same_items(outcome const& a, outcome const& b, std::string_view port) {
  if (a.right != b.right)
    throw usage_error("'" + std::string(port) + "' is of other items: " + std::to_string(b.right.size()) + " against " +
                      std::to_string(a.right.size()) + (a.right.size() == b.right.size() ? ", with other right answers" : "") +
                      "; give both probes the same source and the same `items`");
}

}  // namespace wayfarer::outcomes
