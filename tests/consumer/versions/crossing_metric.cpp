// Twice a number. No function is marked override.
#include <wayfarer/metric.hpp>

namespace wf = wayfarer;

struct crossing_metric final : wf::metric {
  explicit crossing_metric(wf::config const&) {}
  void measure(wf::metric_input const& in, wf::results& out) const {
    out.add("twice", 2 * in.at("of").scalar()).about("twice the number");
  }
};
WAYFARER_METRIC(crossing_metric, "1.0.0", "Twice a number", wf::port::results("of", "a number"));
