#include "conformance/wiring.hpp"

#include <algorithm>

#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>

#include "conformance/inputs.hpp"

namespace wayfarer::host::conformance {
namespace {

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

/// Topics of the words that made texts hold: four, each with every fourth word.
results topics_of_words() {
  auto const words = made_words();
  std::size_t const topics = 4;
  tensor const shares(dtype::f32, {{"topic", topics}, {"word", words.size()}});
  auto const p = shares.view<float>();
  for (std::size_t k = 0; k < topics; ++k) {
    double total = 0;
    auto const weight = [&](std::size_t w) { return w % topics == k ? 10.0 + static_cast<double>(w) : 0.05; };
    for (std::size_t w = 0; w < words.size(); ++w) total += weight(w);
    for (std::size_t w = 0; w < words.size(); ++w) p(k, w) = static_cast<float>(weight(w) / total);
  }
  results r;
  r.add("topic_word", shares).labels("word", words);
  r.add("topic_total", tensor::of(std::vector<double>(topics, 500.0), {{"topic", topics}}));
  return r;
}

/// Vectors of the words that made texts hold.
results vectors_of_words(std::uint64_t seed) {
  auto const words = made_words();
  results r;
  r.add("vectors", drawn({{"word", words.size()}, {"feature", 8}}, seed, "word vectors").to(dtype::f32)).labels("word", words);
  return r;
}

/// Scores of answers to choose from, and which is right.
results answers_to_questions(std::uint64_t seed) {
  std::size_t const items = 24, choices = 4;
  tensor const scores = drawn({{"item", items}, {"choice", choices}}, seed, "scores");
  tensor const best(dtype::i32, {{"item", items}}), gold(dtype::i32, {{"item", items}});
  random_stream draw(seed, "gold");
  for (std::size_t i = 0; i < items; ++i) {
    best.view<std::int32_t>()(i) = top_k(scores.view<double const>().row(i), 1)[0];
    gold.view<std::int32_t>()(i) = static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(choices)));
  }
  results r;
  r.add("prediction", best);
  r.add("scores", scores);
  r.add("gold", gold);
  return r;
}

/// A short training with snapshots, and what the bundled probes of such a model find.
void add_trained(registry& plugins, std::uint64_t seed, std::vector<candidate>& all) {
  auto const* p = plugins.find("topic_transformer");
  if (!p) return;
  config c = complete(*p, {}, seed);
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
  auto const data = make_items(item_sort::words, 120, 20, 30, 100, seed);
  silent quiet;
  results curves;
  std::vector<snapshot> states;
  trains->train({*data, data.get(), curves, quiet, [&](snapshot s) { states.push_back(std::move(s)); }});
  all.push_back({"learner", std::make_shared<results>(std::move(curves)), false});
  for (char const* id : {"topic_blocks", "topic_attention"}) {
    auto const* q = plugins.find(id);
    if (!q) continue;
    auto const what = q->create<probe>(complete(*q, {}, seed));
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
        what->observe(sums, sample(items, tokens, captured, seed), at);
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

/// Every way to wire one port.
wiring ways(std::string const& port, std::vector<candidate> const& all, bool over_steps) {
  wiring out;
  for (bool const exact : {true, false})
    for (auto const& c : all) {
      if ((c.over_steps == over_steps) != exact) continue;
      out.push_back({port, &c, ""});
      for (auto const& name : c.all->names()) out.push_back({port, &c, name});
    }
  return out;
}

}  // namespace

std::vector<candidate> made_results(registry& plugins, std::uint64_t seed, std::string& without) {
  std::vector<candidate> all;
  all.push_back({"numbers", std::make_shared<results>(drawn_results(seed)), false});
  try {
    add_trained(plugins, seed, all);
  } catch (std::exception const& e) {
    without = e.what();
  }
  all.push_back({"topics", std::make_shared<results>(topics_of_words()), false});
  all.push_back({"words", std::make_shared<results>(vectors_of_words(seed)), false});
  all.push_back({"answers", std::make_shared<results>(answers_to_questions(seed)), false});
  return all;
}

std::vector<std::string> results_ports(plugin const& p, bool optional) {
  std::vector<std::string> names;
  for (auto const& d : p.ports())
    if (d.kind == port_kind::results && d.optional == optional) names.emplace_back(d.name);
  return names;
}

metric_input wire_up(wiring const& wires) {
  metric_input in;
  for (auto const& w : wires)
    in.put(w.port, w.from->node, w.from->all.get(), w.dataset.empty() ? nullptr : w.from->all->find(w.dataset));
  return in;
}

std::string describe(wiring const& wires) {
  std::string text;
  for (auto const& w : wires)
    text += (text.empty() ? "" : ", ") + w.port + " = " + w.from->node + (w.dataset.empty() ? "" : "/" + w.dataset);
  return text;
}

bool try_wirings(std::vector<std::string> const& ports, std::vector<candidate> const& all, bool over_steps,
                 std::function<bool(wiring const&)> const& works) {
  if (ports.empty()) return works({});
  for (auto const& first : ways(ports[0], all, over_steps)) {
    if (ports.size() == 1) {
      if (works({first})) return true;
      continue;
    }
    for (auto const& second : ways(ports[1], all, over_steps)) {
      wiring some{first, second};
      for (std::size_t i = 2; i < ports.size(); ++i) some.push_back({ports[i], second.from, second.dataset});
      if (works(some)) return true;
    }
  }
  return false;
}

}  // namespace wayfarer::host::conformance
