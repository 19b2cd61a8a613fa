// Accuracy of a probe that chooses answers, and its difference from another probe's accuracy.
//
//     right:  {metric: accuracy, of: similarity}
//     better: {metric: accuracy, of: similarity, against: baseline}
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/statistics.hpp>

#include "metrics/common/outcomes.hpp"

namespace wf = wayfarer;
using namespace wayfarer::outcomes;

struct accuracy final : wf::metric {
  explicit accuracy(wf::config const& c)
      : answers_(c["answers"].text()),
        gold_(c["gold"].text()),
        resamples_(c["resamples"]),
        confidence_(c["confidence"]),
        seed_(static_cast<std::uint64_t>(c["seed"].integer())) {}

  void measure(wf::metric_input const& in, wf::results& out) const override {
    auto const own = read(in, "of", answers_, gold_);
    if (own.hits.empty()) throw wf::usage_error("'of' is one number; name a node with answers and right answers");
    std::size_t const n = own.hits.size();
    double correct = 0;
    for (double const h : own.hits) correct += h;
    out.add("accuracy", own.accuracy).about("share of items whose answer is right");
    out.add("correct", correct).units("item").about("items whose answer is right");
    out.add("items", static_cast<double>(n)).units("item").about("items that were answered");
    if (n > 1) out.add("standard_error", own.standard_error()).about("of the accuracy: sqrt(a (1 - a) / (N - 1))");
    out.summarise("accuracy " + wf::told(own.accuracy, 4) + (n > 1 ? " +- " + wf::told(own.standard_error(), 2) : "") + " of " +
                  wf::counted(n, "item"));
    if (!in.has("against")) return;

    auto const other = read(in, "against", answers_, gold_);
    check_same_items(own, other, "against");
    std::vector<double> difference(n);
    for (std::size_t i = 0; i < n; ++i) difference[i] = own.hits[i] - other.hits[i];
    auto const drawn = resample(difference);
    double const mean = wf::moments_of(difference).mean, tail = (1 - confidence_) / 2;
    double const low = wf::quantile(drawn, tail), high = wf::quantile(drawn, 1 - tail);
    out.add("accuracy_against", other.accuracy).about("accuracy of `against`");
    out.add("difference", mean).about("accuracy less that of `against`");
    out.add("difference_standard_error", wf::moments_of(drawn).deviation)
        .about("deviation of the difference over resamples of the items (paired bootstrap)");
    out.add("difference_low", low).about("lower end of the difference's bootstrap interval at the given `confidence`");
    out.add("difference_high", high).about("upper end of the difference's bootstrap interval");
    out.summarise("accuracy " + wf::told(own.accuracy, 4) + " against " + wf::told(other.accuracy, 4) + ": " +
                  wf::told(mean, 3, true) + " (" + wf::told(low, 3, true) + " to " + wf::told(high, 3, true) + ")");
  }

 private:
  /// Means of as many draws with replacement as there are items, sorted.
  std::vector<double> resample(std::vector<double> const& values) const {
    if (values.size() > std::numeric_limits<std::uint32_t>::max())
      throw wf::usage_error("too many items for a bootstrap: " + std::to_string(values.size()));
    auto const n = static_cast<std::uint32_t>(values.size());
    std::vector<double> means(resamples_);
    wf::parallel_for(resamples_, [&](std::size_t r) {
      wf::random_stream draw(seed_, "bootstrap", r);
      double sum = 0;
      for (std::uint32_t i = 0; i < n; ++i) sum += values[draw.below(n)];
      means[r] = sum / n;
    });
    std::sort(means.begin(), means.end());
    return means;
  }

  std::string answers_, gold_;
  std::size_t resamples_;
  double confidence_;
  std::uint64_t seed_;
};

WAYFARER_METRIC(accuracy, "1.0.0", "Share of right answers with its standard error, and the difference from another probe's",
                wf::port::results("of", "a node with answers, or scores of answers, and the right ones"),
                wf::port::results("against", "another such node, over the same items").optional(),
                wf::param("answers", "prediction", "dataset of the answers [item], or of scores [item, choice]"),
                wf::param("gold", "gold", "dataset of the right answers"),
                wf::param("resamples", 2000, "of the paired bootstrap").between(100, 1'000'000),
                wf::param("confidence", 0.95, "of the interval of the difference").between(0.5, 0.9999),
                wf::param("seed", 0, "of the bootstrap").at_least(0));
