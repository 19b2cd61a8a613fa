// my_metric: how many equally large numbers would be as spread out as these: (sum x)^2 / sum x^2.
//
// A metric is a pure function of results. Its ports name what it reads: `of: node/dataset` in the pipeline. After a model that
// learns it is called once a step, with the step's slice.
#include <cmath>
#include <cstdio>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>

namespace wf = wayfarer;

struct my_metric final : wf::metric {
  // Parameters come checked and complete: names, types, ranges and defaults are those at the end of this file.
  explicit my_metric(wf::config const& c) : power_(c["power"]) {}

  void measure(wf::metric_input const& in, wf::results& out) const override {
    wf::dataset const& of = in.at("of");
    if (of.is_text()) throw wf::usage_error("my_metric counts numbers, and 'of' names texts; choose another dataset");
    wf::tensor const numbers = of.values().to(wf::dtype::f64);
    double sum = 0, squares = 0;
    for (double const x : numbers.values<double const>()) {
      double const size = std::pow(std::abs(x), power_);
      sum += size;
      squares += size * size;
    }
    double const effective = sum * sum / squares;  // NaN where all are zero: there is no such number
    out.add("effective_number", effective).about("(sum |x|^power)^2 / sum |x|^(2 power)");
    out.add("share", effective / static_cast<double>(numbers.count())).about("effective number over the number there are");
    char line[64];
    std::snprintf(line, sizeof line, "%.4g of %zu", effective, numbers.count());
    out.summarise(line);  // shown by `wayfarer run`
  }

 private:
  double power_;
};

WAYFARER_METRIC(my_metric, "0.1.0", "Effective number of a dataset's elements", wf::port::results("of", "dataset of numbers"),
                wf::param("power", 1.0, "power to which sizes are raised first").between(0.01, 100));
