// Accuracy divided by that of the same model as a language model: the "normalized HellaSwag score" of arXiv 2308.10874.
// Also the score of a guess, which is a large part of it.
//
//     score: {metric: normalized_accuracy, of: similarity, baseline: baseline}
#include <cmath>
#include <cstdio>
#include <limits>
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
    // A ratio to nothing, and a share of a lead that is none, are not defined.
    double const chance = 1.0 / choices_, nothing = std::numeric_limits<double>::quiet_NaN();
    double const ratio = base.accuracy > 0 ? own.accuracy / base.accuracy : nothing,
                 guess = base.accuracy > 0 ? chance / base.accuracy : nothing,
                 above = base.accuracy > chance ? (own.accuracy - chance) / (base.accuracy - chance) : nothing;
    char const* const none_right = "the baseline has no right answer";
    out.add("normalized", ratio).about("accuracy over the baseline's").missing(none_right);
    out.add("chance_normalized", guess).about("what guessing alone would score as `normalized`").missing(none_right);
    out.add("above_chance", above)
        .about("share of the baseline's lead over guessing that is left: 0 for a guess, 1 for the baseline")
        .missing("the baseline is no better than guessing");
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
        if (base.accuracy == 0) error = nothing;
        out.add("normalized_standard_error", error)
            .about("of `normalized`, to first order, both over the same items")
            .missing(none_right);
      }
    }
    char line[128];
    std::snprintf(line, sizeof line, "normalized %.3f (a guess: %.3f), above chance %.3f", ratio, guess, above);
    if (base.accuracy <= chance)
      std::snprintf(line, sizeof line, "accuracy %.3f; the baseline, %.3f, is no better than a guess, %.3f", own.accuracy,
                    base.accuracy, chance);
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
