// Does training go in two stages, first the value matrix and then attention? Li, Li and Risteski 2023, section on the training
// process.
//
// The first stage ends at the update where the norm of W_V first exceeds a share of its final value. By then W_K should hardly
// have grown and attention should still be uniform; afterwards W_K should grow far more than W_V.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/metric.hpp>

namespace wf = wayfarer;

namespace {

/// Coordinate of a dimension; its index where the dataset carries none.
std::vector<double> coordinate(wf::dataset const& d, std::string const& dimension) {
  std::vector<double> at(d.values().size(std::string_view(dimension)));
  auto const found = d.coordinate_map().find(dimension);
  for (std::size_t i = 0; i < at.size(); ++i)
    at[i] = found == d.coordinate_map().end() ? static_cast<double>(i) : found->second.get({i});
  return at;
}

}  // namespace

struct two_stage final : wf::metric {
  explicit two_stage(wf::config const& c)
      : value_share_(c["value_share"]),
        key_growth_(c["key_growth_at_most"]),
        uniform_(c["uniform_within"]),
        later_key_growth_(c["later_key_growth_at_least"]),
        later_value_growth_(c["later_value_growth_at_most"]) {}

  bool over_steps() const override { return true; }

  void measure(wf::metric_input const& in, wf::results& out) const override {
    auto const& norms = in.at("learner", "norms");
    auto const key = curve(norms, "K"), value = curve(norms, "V");  // first: they refuse what has no updates
    auto const update = coordinate(norms, norms.shape().front().name);
    auto const past = std::find_if(value.begin(), value.end(), [&](double v) { return v > value_share_ * value.back(); });
    if (past == value.end())
      throw wf::data_error("two_stage: |W_V| ends at " + std::to_string(value.back()) + "; the training has failed");
    auto const turn = static_cast<std::size_t>(past - value.begin());

    double const early_key = key[turn] / key.front() - 1;
    double const late_key = key.back() / key[turn], late_value = value.back() / value[turn] - 1;
    std::string const none = "|W_K| begins at 0";
    out.add("switch_update", update[turn]).about("first update at which |W_V| exceeds value_share of its final value");
    out.add("early_key_growth", early_key).about("relative growth of |W_K| up to the switch").missing(none);
    out.add("late_key_growth", late_key).about("factor by which |W_K| grows after the switch").missing(none);
    out.add("late_value_growth", late_value).about("relative growth of |W_V| after the switch");
    bool holds = early_key < key_growth_ && late_key > later_key_growth_ && late_value < later_value_growth_;

    if (in.has("attention")) {
      auto const& topic = in.at("attention", "topic_relative");
      auto const step = coordinate(topic, "step");
      std::size_t nearest = 0;
      for (std::size_t s = 1; s < step.size(); ++s)
        if (std::abs(step[s] - update[turn]) < std::abs(step[nearest] - update[turn])) nearest = s;
      double const away = std::max(deviation(topic, nearest), deviation(in.at("attention", "non_topic_relative"), nearest));
      out.add("attention_step", step[nearest]).about("snapshot nearest to the switch");
      out.add("attention_deviation", away)
          .about("largest relative deviation there of same-topic and different-topic attention from uniform");
      holds = holds && away < uniform_;
    }
    out.add("two_stages", holds ? 1.0 : 0.0).about("1 if all of it is within the bounds given as parameters");
    out.summarise(std::string(holds ? "two stages" : "not two stages") + "; values first until update " +
                  wf::told(update[turn], 9));
  }

 private:
  /// One matrix's norm over updates: `norms` is [update, matrix] with labels.
  static std::vector<double> curve(wf::dataset const& norms, std::string const& matrix) {
    auto const* labels = norms.shape().size() == 2 ? norms.find_labels(norms.shape()[1].name) : nullptr;
    auto const at = labels ? std::find(labels->begin(), labels->end(), matrix) : std::vector<std::string>::const_iterator{};
    if (!labels || at == labels->end() || norms.values().size(0) == 0)
      throw wf::usage_error("two_stage needs norms over updates of matrices labelled K and V, not " +
                            wf::describe(norms.shape()) + "; wire 'learner' to a trained model");
    std::vector<double> values(norms.values().size(0));
    for (std::size_t u = 0; u < values.size(); ++u)
      values[u] = norms.values().get({u, static_cast<std::size_t>(at - labels->begin())});
    return values;
  }

  /// Largest |x - 1| of a step over layers and heads.
  static double deviation(wf::dataset const& relative, std::size_t step) {
    auto const here = relative.values()[step].to(wf::dtype::f64);
    double away = 0;
    for (double x : here.values<double const>()) away = std::max(away, std::abs(x - 1));
    return away;
  }

  double value_share_, key_growth_, uniform_, later_key_growth_, later_value_growth_;
};

WAYFARER_METRIC(
    two_stage, "1.0.0", "Whether the value matrix is learned before attention: bounds on the curves of norms",
    wf::port::results("learner", "a trained model, with its dataset norms [update, matrix]"),
    wf::port::results("attention", "topic_attention after the same model").optional(),
    wf::param("value_share", 0.8, "share of its final norm at which W_V ends the first stage").between(0.01, 0.99),
    wf::param("key_growth_at_most", 0.2, "relative growth of W_K in the first stage").at_least(0),
    wf::param("uniform_within", 0.01, "relative deviation from uniform attention at the end of the first stage").at_least(0),
    wf::param("later_key_growth_at_least", 4.0, "factor by which W_K grows afterwards").at_least(0),
    wf::param("later_value_growth_at_most", 0.25, "relative growth of W_V afterwards").at_least(0));
