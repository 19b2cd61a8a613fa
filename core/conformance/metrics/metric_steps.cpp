// The rules of a metric, on the first results at hand that suit it.
#include <cmath>
#include <limits>

#include "conformance/metrics/metric_case.hpp"

namespace wayfarer::host::conformance {
namespace {

/// Tries wirings until the metric works. Its configuration is set with them.
class wiring_search {
 public:
  wiring_search(workbench& bench, std::vector<candidate> const& all) : bench_(bench), all_(all) {
    try {
      bench.find_config([&](config const& c) { over_steps_ = bench.make<metric>(c)->over_steps(); });
    } catch (unmet_need const&) {
    }
  }

  /// Where nothing works, one with which the metric fails as a plugin should not. Throws unmet_need if there is none either.
  wiring find() {
    auto const required = results_ports(bench_.subject, false);
    try_wirings(required, all_, over_steps_, [&](wiring const& some) { return works(some); });
    if (!works_) {
      if (fallback_.empty() && !required.empty())
        throw unmet_need("no results at hand suit it (" + reason_ + "); what it measures must be given in a pipeline");
      if (bench_.base.values().empty()) bench_.base = complete(bench_.subject, bench_.given, bench_.seed);
      return fallback_;
    }
    for (auto const& port : results_ports(bench_.subject, true))
      try_wirings({port}, all_, over_steps_, [&](wiring const& one) {
        auto some = wires_;
        some.push_back(one.front());
        return works(some);
      });
    return wires_;
  }

 private:
  bool works(wiring const& some) {
    try {
      bench_.find_config([&](config const& c) { measure(*bench_.make<metric>(c), some); });
      wires_ = some;
      return works_ = true;
    } catch (unmet_need const& u) {
      if (reason_.empty()) reason_ = u.what();
    } catch (std::exception const& e) {
      if (reason_.empty()) reason_ = e.what();
      if (fallback_.empty()) fallback_ = some;
    } catch (...) {
      if (fallback_.empty()) fallback_ = some;
    }
    return false;
  }

  workbench& bench_;
  std::vector<candidate> const& all_;
  bool over_steps_ = false, works_ = false;
  wiring wires_, fallback_;
  std::string reason_;
};

std::shared_ptr<metric_case const> prepare(std::shared_ptr<workbench> const& bench, reporter& start) {
  auto c = std::make_shared<metric_case>();
  c->bench = bench;
  std::string without_training;
  c->candidates = made_results(bench->plugins, bench->seed, without_training);
  if (!without_training.empty()) start.about("without trained models", without_training);
  c->wires = wiring_search(*bench, c->candidates).find();
  start.about("input", c->wires.empty() ? "nothing" : describe(c->wires));
  c->subject = bench->make<metric>();
  return c;
}

}  // namespace

std::vector<step> metric_steps(std::shared_ptr<workbench> bench, reporter& start) {
  auto const on = prepare(bench, start);
  std::vector<step> steps;
  add_steps(steps, on,
            {{"writes_results", "measuring once", check_results_of_metric},
             {"repeatable", "measuring twice, in two instances, in another process", check_metric_repeats, true},
             {"leaves_input_alone", "its inputs after measuring", check_metric_leaves_input_alone},
             {"many_threads", "measuring from four threads at once", check_metric_on_threads}});
  if (!on->wires.empty()) {
    add_steps(steps, on, {{"steps_agree", "the same results with slightly other numbers", check_shapes_stay}});
    for (auto const& [number, name] :
         {std::pair{std::nan(""), "NaN"}, std::pair{std::numeric_limits<double>::infinity(), "infinity"},
          std::pair{1e300, "the largest numbers"}, std::pair{0.0, "zeros"}})
      steps.push_back({"odd_numbers", std::string("every number ") + name,
                       [on, value = number](reporter&) { check_every_number(*on, value); }});
  }
  add_parameter_steps(steps, *bench,
                      [on](config const& c) { return digest_of(measure(*on->bench->make<metric>(c), on->wires)); });
  return steps;
}

}  // namespace wayfarer::host::conformance
