// Accuracy as a share of what the same model reaches as a language model: the "normalized HellaSwag score" of arXiv 2308.10874,
// and what it leaves out: guessing alone scores a good part of it.
//
//     score: {metric: normalized_accuracy, of: similarity, baseline: baseline}
#include <cmath>
#include <cstdio>
#include <string>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/ops.hpp>

#include "metrics/common/outcomes.hpp"

namespace wf = wayfarer;
using namespace wayfarer::outcomes;

struct normalized_accuracy final : wf::metric {
  explicit normalized_accuracy(wf::config const& c)
      : answers_(c["answers"].text()), gold_(c["gold"].text()), choices_(c["choices"]) {}

  void measure(wf::metric_input const& in, wf::results& out) const override {
    auto const own = read(in, "of", answers_, gold_), base = read(in, "baseline", answers_, gold_);
    double const chance = 1.0 / choices_, ratio = own.accuracy / base.accuracy;
    out.add("normalized", ratio).about("accuracy over the baseline's");
    out.add("chance_normalized", chance / base.accuracy).about("what guessing alone would score as `normalized`");
    out.add("above_chance", (own.accuracy - chance) / (base.accuracy - chance))
        .about("share of the baseline's lead over guessing that is left: 0 for a guess, 1 for the baseline");
    out.add("accuracy", own.accuracy).about("of `of`");
    out.add("baseline_accuracy", base.accuracy).about("of `baseline`");
    double error = 0;
    if (!own.hits.empty() && !base.hits.empty()) {
      check_same_items(own, base, "baseline");
      if (own.hits.size() > 1) {
        // To first order the ratio errs by the mean of (hit - ratio * baseline's hit) / baseline.
        std::vector<double> parts(own.hits.size());
        for (std::size_t i = 0; i < parts.size(); ++i) parts[i] = (own.hits[i] - ratio * base.hits[i]) / base.accuracy;
        error = wf::moments_of(parts).standard_error();
        out.add("normalized_standard_error", error).about("of `normalized`, to first order, both over the same items");
      }
    }
    char line[128];
    std::snprintf(line, sizeof line, "normalized %.3f (a guess: %.3f), above chance %.3f", ratio, chance / base.accuracy,
                  (own.accuracy - chance) / (base.accuracy - chance));
    out.summarise(line);
  }

 private:
  std::string answers_, gold_;
  double choices_;
};

WAYFARER_METRIC(normalized_accuracy, "1.0.0", "Accuracy over that of the same model's baseline, and how much of it is chance",
                wf::port::results("of", "a node with answers and the right ones, or an accuracy"),
                wf::port::results("baseline", "the same of the language model itself, such as cross_encoding"),
                wf::param("answers", "prediction", "dataset of the answers [item], of scores [item, choice], or an accuracy"),
                wf::param("gold", "gold", "dataset of the right answers"),
                wf::param("choices", 4, "answers to choose from: a guess is right once in so many").between(2, 1'000'000));
