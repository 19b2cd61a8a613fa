// The rules of a metric: it is a pure function of the results that it reads.
#include <algorithm>
#include <cmath>
#include <limits>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>

#include "conformance/wiring.hpp"
#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {
namespace {

results measure(metric const& what, std::vector<wired> const& wires) {
  results r;
  what.measure(wire_up(wires), r);
  return r;
}

}  // namespace

std::vector<step> metric_steps(std::shared_ptr<workbench> bench, reporter& start) {
  std::string without_training;
  auto const all = std::make_shared<std::vector<candidate> const>(made_results(bench->plugins, bench->seed, without_training));
  if (!without_training.empty()) start.about("without trained models", without_training);

  auto const required = results_ports(bench->subject, false), optional = results_ports(bench->subject, true);
  wiring wires, fallback;
  std::string reason;
  bool works = false;
  auto const try_wires = [&](wiring const& some) {
    try {
      bench->find_config([&](config const& c) { measure(*bench->make<metric>(c), some); });
      wires = some;
      return works = true;
    } catch (unmet_need const& u) {
      if (reason.empty()) reason = u.what();
    } catch (std::exception const& e) {
      if (reason.empty()) reason = e.what();
      if (fallback.empty()) fallback = some;
    } catch (...) {
      if (fallback.empty()) fallback = some;
    }
    return false;
  };
  bool over_steps = false;
  try {
    bench->find_config([&](config const& c) { over_steps = bench->make<metric>(c)->over_steps(); });
  } catch (unmet_need const&) {
  }
  try_wirings(required, *all, over_steps, try_wires);
  if (!works && fallback.empty() && !required.empty())
    throw unmet_need("no results at hand suit it (" + reason + "); what it measures must be given in a pipeline");
  if (!works) {
    wires = fallback;
    if (bench->base.values().empty()) bench->base = complete(bench->subject, bench->given, bench->seed);
  }
  for (auto const& port : optional)
    try_wirings({port}, *all, over_steps, [&](wiring const& one) {
      auto some = wires;
      some.push_back(one.front());
      return works && try_wires(some);
    });
  start.about("input", wires.empty() ? "nothing" : describe(wires));

  std::shared_ptr<metric const> what = bench->make<metric>();
  std::vector<step> steps;
  // The lambdas keep `all` alive, into which the wires point.
  steps.push_back({"writes_results", "measuring once", [=](reporter& out) {
                     static_cast<void>(all);
                     check_results(*bench, measure(*what, wires), 0, out);
                   }});
  steps.push_back({"repeatable", "measuring twice, in two instances, in another process",
                   [=](reporter& out) {
                     std::string const first = digest_of(measure(*what, wires));
                     if (digest_of(measure(*what, wires)) != first)
                       throw violation("repeatable", "the same results measured twice give other numbers");
                     if (digest_of(measure(*bench->make<metric>(), wires)) != first)
                       throw violation("independent_instances", "a second instance with the same parameters gives other numbers");
                     out.digest("results", first);
                   },
                   false, true});
  steps.push_back({"leaves_input_alone", "its inputs after measuring", [=](reporter&) {
                     std::vector<std::string> before;
                     for (auto const& w : wires) before.push_back(digest_of(*w.from->all));
                     measure(*what, wires);
                     for (std::size_t i = 0; i < wires.size(); ++i)
                       if (digest_of(*wires[i].from->all) != before[i])
                         throw violation("leaves_input_alone", "measuring changes what '" + wires[i].port + "' is wired to");
                   }});
  steps.push_back({"many_threads", "measuring from four threads at once", [=](reporter&) {
                     std::string const alone = digest_of(measure(*what, wires));
                     for (int round = 0; round < 5; ++round)
                       on_threads(4, [&](std::size_t) {
                         if (digest_of(measure(*what, wires)) != alone)
                           throw violation("many_threads", "numbers differ while other threads measure");
                       });
                   }});
  // The same results with other numbers: shapes and names stay, so those of the output must.
  auto const changed = [wires](std::function<double(double, std::size_t)> const& change) {
    std::vector<wired> rewired = wires;
    std::map<candidate const*, std::shared_ptr<results>> done;
    std::vector<std::shared_ptr<candidate>> keep;
    for (auto& w : rewired) {
      auto& copy = done[w.from];
      if (!copy) {
        copy = std::make_shared<results>();
        for (auto const& name : w.from->all->names()) {
          dataset const& d = *w.from->all->find(name);
          dataset twin = d;
          if (!d.is_text()) {
            tensor const numbers = d.values().to(dtype::f64).clone();
            auto const values = numbers.values<double>();
            for (std::size_t i = 0; i < values.size(); ++i) values[i] = change(values[i], i);
            twin = dataset(d.values().type() == dtype::f64 || d.values().type() == dtype::f32 ? numbers.to(d.values().type())
                                                                                              : d.values());
            for (auto const& [dimension, labels] : d.label_map()) twin.labels(dimension, labels);
            for (auto const& [dimension, at] : d.coordinate_map()) twin.coordinate(dimension, at);
          }
          copy->add(name, std::move(twin));
        }
      }
      keep.push_back(std::make_shared<candidate>(candidate{w.from->node, copy, w.from->over_steps}));
      w.from = keep.back().get();
    }
    return std::pair(rewired, keep);
  };
  if (!wires.empty()) {
    steps.push_back({"steps_agree", "the same results with slightly other numbers", [=](reporter&) {
                       auto const [other, keep] =
                           changed([](double v, std::size_t i) { return v * (1 + 1e-3 * static_cast<double>(i % 7)); });
                       results r;
                       if (!refusal_of([&, &other = other] { r = measure(*what, other); }).empty()) return;
                       std::string const name = first_difference(measure(*what, wires), r, false);
                       if (!name.empty())
                         throw violation("steps_agree", "'" + name + "' is not always there, or changes its shape");
                     }});
    for (auto const& [number, name] :
         {std::pair{std::nan(""), "NaN"}, std::pair{std::numeric_limits<double>::infinity(), "infinity"},
          std::pair{1e300, "the largest numbers"}, std::pair{0.0, "zeros"}}) {
      double const value = number;
      steps.push_back({"odd_numbers", std::string("every number ") + name, [=](reporter&) {
                         auto const [other, keep] = changed([value](double, std::size_t) { return value; });
                         refusal_of([&, &other = other] { measure(*what, other); });
                       }});
    }
  }
  add_parameter_steps(steps, *bench, [=](config const& c) { return digest_of(measure(*bench->make<metric>(c), wires)); });
  for (auto& s : steps) {
    auto run = std::move(s.run);
    s.run = [all, run](reporter& out) { run(out); };
  }
  return steps;
}

}  // namespace wayfarer::host::conformance
