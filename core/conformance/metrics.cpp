// What a metric must keep to: a pure function of the results that it is wired to.
#include <algorithm>
#include <cmath>
#include <limits>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>

#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {
namespace {

/// Results that a metric may be wired to.
struct candidate {
  std::string node;
  std::shared_ptr<results const> all;
  bool over_steps = false;  ///< has the dimension "step"
};

/// One port's wire.
struct wired {
  std::string port;
  candidate const* from = nullptr;
  std::string dataset;  ///< "" for the whole node
};

struct silent final : progress {
  void at(std::size_t, std::size_t, std::string_view) override {}
  void warn(std::string_view) override {}
};

/// Results of several snapshots as one, as the host stacks them: each dataset gains the outermost dimension "step".
results stacked(std::vector<std::size_t> const& steps, std::vector<results> const& parts) {
  results out;
  for (auto const& name : parts.front().names()) {
    dataset const& first = parts.front().at(name);
    if (first.is_text()) continue;
    dims shape = first.shape();
    shape.insert(shape.begin(), {"step", steps.size()});
    tensor whole(dtype::f64, shape);
    auto to = whole.values<double>().begin();
    for (auto const& part : parts) {
      tensor const own = part.at(name).values().to(dtype::f64);
      auto const values = own.values<double const>();
      to = std::copy(values.begin(), values.end(), to);
    }
    std::vector<std::int64_t> const numbers(steps.begin(), steps.end());
    out.add(name, whole).coordinate("step", tensor::of(numbers, {{"step", numbers.size()}}));
  }
  return out;
}

tensor drawn(dims shape, std::uint64_t seed, std::string_view name) {
  tensor t(dtype::f64, std::move(shape));
  random_stream draw(seed, name);
  for (auto& v : t.values<double>()) v = draw.normal();
  return t;
}

/// Numbers of every shape that results come in.
results drawn_results(std::uint64_t seed) {
  results r;
  r.add("matrix", drawn({{"topic", 6}, {"other_topic", 6}}, seed, "matrix"));
  tensor square(dtype::f64, {{"token", 24}, {"other_token", 24}});
  tensor const half = drawn({{"token", 24}, {"other_token", 24}}, seed, "square");
  for (std::size_t i = 0; i < 24; ++i)
    for (std::size_t j = 0; j < 24; ++j) square(i, j) = half(i, j) + half(j, i);
  r.add("square", square);
  r.add("token_matrix", drawn({{"token", 104}, {"other_token", 104}}, seed, "token matrix"));
  r.add("vectors", drawn({{"item", 24}, {"d_model", 8}}, seed, "vectors"));
  r.add("states", drawn({{"item", 6}, {"pos", 5}, {"d_model", 8}}, seed, "states"));
  r.add("column", drawn({{"item", 24}}, seed, "column"));
  r.add("same", drawn({{"item", 12}}, seed, "same"));
  r.add("different", drawn({{"item", 12}}, seed, "different"));
  r.add("per_head", drawn({{"layer", 2}, {"head", 3}}, seed, "per head"));
  r.add("scalar", 0.5);
  std::vector<std::string> texts;
  for (int i = 0; i < 24; ++i) texts.push_back("text " + std::to_string(i));
  r.add("texts", texts).dims("item");
  return r;
}

/// A short training with snapshots, and what the bundled probes of such a model find.
void add_trained(workbench& bench, std::vector<candidate>& all) {
  auto const* p = bench.plugins.find("topic_transformer");
  if (!p) return;
  config c = complete(*p, {}, bench.seed);
  for (auto const& [name, value] : {std::pair<char const*, param_value>{"regime", param_value(std::string("R4"))},
                                    {"train.updates", param_value(std::int64_t{60})},
                                    {"train.optimizer", param_value(std::string("adam"))},
                                    {"train.learning_rate", param_value(0.05)},
                                    {"train.log_every", param_value(std::int64_t{10})},
                                    {"train.snapshots", param_value(std::vector<std::int64_t>{0, 30})}})
    if (c.has(name)) c.set(name, value);
  auto const learner = p->create<model>(c);
  auto const* trains = dynamic_cast<trainable_model const*>(learner.get());
  if (!trains) return;
  auto const data = make_items(item_sort::words, 120, 20, 30, 100, bench.seed);
  silent quiet;
  results curves;
  std::vector<snapshot> states;
  trains->train({*data, data.get(), curves, quiet, [&](snapshot s) { states.push_back(std::move(s)); }});
  all.push_back({"learner", std::make_shared<results>(std::move(curves)), false});
  for (char const* id : {"topic_blocks", "topic_attention"}) {
    auto const* q = bench.plugins.find(id);
    if (!q) continue;
    auto const what = q->create<probe>(complete(*q, {}, bench.seed));
    std::vector<std::size_t> steps;
    std::vector<results> parts;
    for (auto const& s : states) {
      item_block const items = data->read({0, 20});
      probe_context const at(s.state.get(), data.get(), {0, 20}, s.step, 40);
      accumulator sums(items.count);
      what->shape(sums, at);
      if (!sums.fields().empty()) {
        batch const tokens = s.state->encode(items, {});
        run_request request;
        request.capture = what->needs(s.state->info());
        activations const captured = s.state->run(tokens, request);
        what->observe(sums, sample(items, tokens, captured, bench.seed), at);
      }
      results r;
      what->finish(sums, r, at);
      steps.push_back(s.step);
      parts.push_back(std::move(r));
    }
    all.push_back({std::string(id) + " over steps", std::make_shared<results>(stacked(steps, parts)), true});
    all.push_back({id, std::make_shared<results>(std::move(parts.back())), false});
  }
}

metric_input wire_up(std::vector<wired> const& wires) {
  metric_input in;
  for (auto const& w : wires)
    in.put(w.port, w.from->node, w.from->all.get(), w.dataset.empty() ? nullptr : w.from->all->find(w.dataset));
  return in;
}

results measure(metric const& what, std::vector<wired> const& wires) {
  results r;
  what.measure(wire_up(wires), r);
  return r;
}

/// Every way to wire one port.
std::vector<wired> ways(std::string const& port, std::vector<candidate> const& all, bool over_steps) {
  std::vector<wired> out;
  for (bool const exact : {true, false})
    for (auto const& c : all) {
      if ((c.over_steps == over_steps) != exact) continue;
      out.push_back({port, &c, ""});
      for (auto const& name : c.all->names()) out.push_back({port, &c, name});
    }
  return out;
}

}  // namespace

std::vector<step> metric_steps(std::shared_ptr<workbench> bench, reporter& start) {
  auto const all = std::make_shared<std::vector<candidate>>();
  all->push_back({"numbers", std::make_shared<results>(drawn_results(bench->seed)), false});
  try {
    add_trained(*bench, *all);
  } catch (std::exception const& e) {
    start.about("without trained models", e.what());
  }

  std::vector<std::string> required, optional;
  for (auto const& d : bench->subject.ports())
    if (d.kind == port_kind::results) (d.optional ? optional : required).emplace_back(d.name);
  std::vector<wired> wires, fallback;
  std::string reason;
  bool works = false;
  // Each way to wire the first port with each to wire the second; further ports like the second.
  auto const try_wires = [&](std::vector<wired> const& some) {
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
  if (required.empty()) try_wires({});
  if (required.size() == 1)
    for (auto const& w : ways(required[0], *all, over_steps))
      if (try_wires({w})) break;
  if (required.size() >= 2)
    for (auto const& first : ways(required[0], *all, over_steps)) {
      for (auto const& second : ways(required[1], *all, over_steps)) {
        std::vector<wired> some{first, second};
        for (std::size_t i = 2; i < required.size(); ++i) some.push_back({required[i], second.from, second.dataset});
        if (try_wires(some)) break;
      }
      if (works) break;
    }
  if (!works && fallback.empty() && !required.empty())
    throw unmet_need("no results at hand suit it (" + reason + "); what it measures must be given in a pipeline");
  if (!works) {
    wires = fallback;
    if (bench->base.values().empty()) bench->base = complete(bench->subject, bench->given, bench->seed);
  }
  for (auto const& port : optional)
    for (auto const& w : ways(port, *all, over_steps)) {
      auto some = wires;
      some.push_back(w);
      if (works && try_wires(some)) break;
    }
  std::string names;
  for (auto const& w : wires)
    names += (names.empty() ? "" : ", ") + w.port + " = " + w.from->node + (w.dataset.empty() ? "" : "/" + w.dataset);
  start.about("input", names.empty() ? "nothing" : names);

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
    for (auto const& [value, name] :
         {std::pair{std::nan(""), "NaN"}, std::pair{std::numeric_limits<double>::infinity(), "infinity"},
          std::pair{1e300, "the largest numbers"}, std::pair{0.0, "zeros"}})
      steps.push_back({"odd_numbers", std::string("every number ") + name, [=](reporter&) {
                         auto const [other, keep] = changed([value](double, std::size_t) { return value; });
                         refusal_of([&, &other = other] { measure(*what, other); });
                       }});
  }
  add_parameter_steps(steps, *bench, [=](config const& c) { return digest_of(measure(*bench->make<metric>(c), wires)); });
  for (auto& s : steps) {
    auto run = std::move(s.run);
    s.run = [all, run](reporter& out) { run(out); };
  }
  return steps;
}

}  // namespace wayfarer::host::conformance
