#include "engine/engine.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>

#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/info.h>
#include <oneapi/tbb/task_arena.h>

#include "cli/options.hpp"
#include "engine/failure.hpp"
#include "engine/provenance.hpp"
#include "engine/stack.hpp"
#include "engine/sweep.hpp"
#include "store/store.hpp"

namespace wayfarer::host {
namespace {

using clock = std::chrono::steady_clock;

/// What a node has become. Written by the one task that runs the node, read by its followers.
struct node_state {
  results out;                                                    ///< as it goes into the file
  std::vector<std::size_t> steps;                                 ///< of a trained model and all that follows it; empty otherwise
  std::vector<results> by_step;                                   ///< the same, a part for each step
  std::vector<std::shared_ptr<wayfarer::model const>> snapshots;  ///< of a trained model
  std::exception_ptr failure;
  bool skipped = false;  ///< something that it needs failed
  double seconds = 0;
};

/// Nodes that run as one task: a sweep's probes, or a single node.
struct task {
  std::vector<std::size_t> nodes;
};

class run {
 public:
  run(plan const& p, std::vector<instance>& objects, run_options const& options, console& talk)
      : plan_(p),
        objects_(objects),
        options_(options),
        talk_(talk),
        states_(p.nodes.size()),
        writer_(options.out, p.title, p.seed) {}

  run_outcome operator()(std::size_t threads);

 private:
  void execute(task const&);
  void execute_source(std::size_t i);
  void execute_model(std::size_t i);
  void execute_metric(std::size_t i);
  void execute_probes(task const&);
  std::vector<results> finish_step(task const&, wayfarer::model const*, source const*, std::size_t step, metric_input const*,
                                   progress&);
  std::vector<std::size_t> const* steps_of_inputs(std::size_t i) const;
  metric_input inputs_of(std::size_t i, std::optional<std::size_t> step) const;
  std::vector<task> make_tasks() const;
  void write(std::size_t i);
  std::size_t blocks_in_flight(plan_node const&, std::uint64_t block_bytes) const;

  wire const* wire_of(std::size_t i, port_kind kind) const {
    for (auto const& w : plan_.nodes[i].wires)
      if (w.kind == kind) return &w;
    return nullptr;
  }
  std::string title(std::size_t i) const {
    plan_node const& n = plan_.nodes[i];
    return n.name + " (" + std::string(n.what->id()) + ", " + n.what->library().filename().string() + ")";
  }

  plan const& plan_;
  std::vector<instance>& objects_;
  run_options const& options_;
  console& talk_;
  std::vector<node_state> states_;
  std::vector<node_record> records_;
  std::vector<input_file> inputs_;
  result_writer writer_;
  std::exception_ptr write_failure_;
  std::size_t threads_ = 1, name_width_ = 0, plugin_width_ = 0;
};

std::string padded(std::string_view text, std::size_t width) {
  std::string out(text);
  if (out.size() < width) out.resize(width, ' ');
  return out;
}

/// Probes that see the same forward passes; a probe that observes nothing stands alone.
std::vector<task> run::make_tasks() const {
  std::vector<task> tasks;
  for (std::size_t i = 0; i < plan_.nodes.size(); ++i) {
    plan_node const& node = plan_.nodes[i];
    auto same_sweep = [&](task const& t) {
      plan_node const& other = plan_.nodes[t.nodes.front()];
      auto same = [&](port_kind k) {
        wire const *a = wire_of(i, k), *b = wire_of(t.nodes.front(), k);
        return (!a && !b) || (a && b && a->node == b->node);
      };
      return other.kind == plugin_kind::probe && same(port_kind::model) && same(port_kind::source) &&
             !wire_of(i, port_kind::results) && !wire_of(t.nodes.front(), port_kind::results) && other.items == node.items &&
             other.max_tokens == node.max_tokens && other.block == node.block;
    };
    auto found = tasks.end();
    if (node.kind == plugin_kind::probe && wire_of(i, port_kind::source))
      found = std::find_if(tasks.begin(), tasks.end(), same_sweep);
    if (found == tasks.end())
      tasks.push_back({{i}});
    else
      found->nodes.push_back(i);
  }
  return tasks;
}

void run::execute_source(std::size_t i) {
  source_info const& info = objects_[i].source->info();
  std::string line = format_count(info.items) + " items";
  if (info.vocabulary != 0) line += ", " + format_count(info.vocabulary) + " words in the vocabulary";
  for (auto const& [name, values] : info.truth) states_[i].out.add(name, values).about("ground truth of the source");
  states_[i].out.summarise(line);
}

void run::execute_model(std::size_t i) {
  node_state& state = states_[i];
  wayfarer::model& m = *objects_[i].model;
  if (!objects_[i].trains) {
    m.load();
    return;
  }
  source const* data = nullptr;
  source const* held_out = nullptr;
  for (auto const& w : plan_.nodes[i].wires) {
    if (w.port == "train.source") data = objects_[w.node].source.get();
    if (w.port == "train.held_out") held_out = objects_[w.node].source.get();
  }
  auto const report = talk_.node(plan_.nodes[i].name);
  dynamic_cast<trainable_model const&>(m).train({*data, held_out, state.out, *report, [&](snapshot s) {
                                                   if (!state.steps.empty() && s.step <= state.steps.back())
                                                     throw plugin_error("snapshots must come in order of their steps");
                                                   state.steps.push_back(s.step);
                                                   state.snapshots.push_back(std::move(s.state));
                                                 }});
  if (state.steps.empty()) throw plugin_error("training yielded no snapshot");
}

std::size_t run::blocks_in_flight(plan_node const& node, std::uint64_t block_bytes) const {
  std::size_t const most = 2 * threads_;
  if (options_.memory_budget == 0 || block_bytes == 0) return most;
  if (block_bytes > options_.memory_budget)
    throw resource_error(
        "one block of " + std::to_string(block_items(node)) + " items holds up to " + format_size(block_bytes) +
        " of activations, more than the memory budget of " + format_size(options_.memory_budget) +
        "; give the probe a smaller block, such as block: " + std::to_string(std::max<std::size_t>(1, block_items(node) / 4)));
  return std::min<std::size_t>(most, options_.memory_budget / block_bytes);
}

std::vector<results> run::finish_step(task const& t, wayfarer::model const* m, source const* data, std::size_t step,
                                      metric_input const* inputs, progress& report) {
  plan_node const& front = plan_.nodes[t.nodes.front()];
  item_range const items = data ? items_of(front, data->info()) : item_range{};
  probe_context const context(m, data, items, step, 0, 0, inputs);
  std::vector<observer> observers;
  for (std::size_t i : t.nodes) {
    observer o{objects_[i].probe.get(), title(i), objects_[i].hooks, plan_.nodes[i].parameters.seed()};
    with_place(o.name, [&] { o.what->shape(o.sums, context); });
    observers.push_back(std::move(o));
  }
  std::vector<observer> watching;
  for (auto const& o : observers)
    if (!o.sums.fields().empty()) watching.push_back(o);
  if (data && !watching.empty() && items.size() != 0) {
    wire const *over = wire_of(t.nodes.front(), port_kind::model), *from = wire_of(t.nodes.front(), port_kind::source);
    hook_set captured;
    for (auto const& o : watching) captured.add(o.hooks);
    std::uint64_t const bytes = m ? block_bytes(front, data->info(), m->info(), captured) : 0;
    sweep({m, data, items, over ? title(over->node) : "", title(from->node), block_items(front), front.max_tokens, step,
           with_place(title(t.nodes.front()), [&] { return blocks_in_flight(front, bytes); }), inputs},
          watching, report);
  }
  std::vector<results> out;
  std::size_t next = 0;
  for (std::size_t k = 0; k < observers.size(); ++k) {
    accumulator const& sums = observers[k].sums.fields().empty() ? observers[k].sums : watching[next++].sums;
    results r;
    with_place(title(t.nodes[k]), [&] { observers[k].what->finish(sums, r, context); });
    out.push_back(std::move(r));
  }
  return out;
}

void run::execute_probes(task const& t) {
  std::size_t const front = t.nodes.front();
  wire const *model_wire = wire_of(front, port_kind::model), *source_wire = wire_of(front, port_kind::source);
  source const* data = source_wire ? objects_[source_wire->node].source.get() : nullptr;
  auto const report = talk_.node(plan_.nodes[front].name);
  node_state const* learner = model_wire && !states_[model_wire->node].steps.empty() ? &states_[model_wire->node] : nullptr;
  // Probes with results ports stand alone in their task.
  auto const* input_steps = with_place(title(front), [&] { return steps_of_inputs(front); });
  auto const step_of = [&](std::size_t s) { return input_steps ? std::optional(s) : std::nullopt; };
  bool const has_inputs = wire_of(front, port_kind::results) != nullptr;
  if (!learner) {
    auto const inputs = with_place(title(front), [&] { return inputs_of(front, std::nullopt); });
    auto parts = finish_step(t, model_wire ? objects_[model_wire->node].model.get() : nullptr, data, 0,
                             has_inputs ? &inputs : nullptr, *report);
    for (std::size_t k = 0; k < t.nodes.size(); ++k) states_[t.nodes[k]].out = std::move(parts[k]);
    return;
  }
  if (input_steps && *input_steps != learner->steps)
    with_place(title(front), [] { throw usage_error("its inputs and its model have different steps"); });
  for (std::size_t s = 0; s < learner->steps.size(); ++s) {
    auto const inputs = with_place(title(front), [&] { return inputs_of(front, step_of(s)); });
    auto parts = finish_step(t, learner->snapshots[s].get(), data, learner->steps[s], has_inputs ? &inputs : nullptr, *report);
    for (std::size_t k = 0; k < t.nodes.size(); ++k) {
      states_[t.nodes[k]].steps.push_back(learner->steps[s]);
      states_[t.nodes[k]].by_step.push_back(std::move(parts[k]));
    }
  }
  for (std::size_t i : t.nodes)
    states_[i].out = with_place(title(i), [&] { return stack_steps(states_[i].steps, states_[i].by_step); });
}

/// The steps that a node's inputs share; null if none of them has steps.
std::vector<std::size_t> const* run::steps_of_inputs(std::size_t i) const {
  std::vector<std::size_t> const* steps = nullptr;
  for (auto const& w : plan_.nodes[i].wires) {
    if (w.kind != port_kind::results) continue;
    auto const& theirs = states_[w.node].steps;
    if (states_[w.node].by_step.empty()) continue;  // a learner's own curves are not one part for each step
    if (steps && *steps != theirs) throw usage_error("its inputs have different steps");
    steps = &theirs;
  }
  return steps;
}

metric_input run::inputs_of(std::size_t i, std::optional<std::size_t> step) const {
  metric_input in;
  for (auto const& w : plan_.nodes[i].wires) {
    if (w.kind != port_kind::results) continue;
    node_state const& from = states_[w.node];
    results const& node = step && !from.by_step.empty() ? from.by_step[*step] : from.out;
    dataset const* one = nullptr;
    if (!w.dataset.empty()) {
      one = node.find(w.dataset);
      if (!one)
        throw usage_error("'" + plan_.nodes[w.node].name + "' has no dataset '" + w.dataset + "'" +
                          did_you_mean(w.dataset, node.names()));
    }
    in.put(w.port, plan_.nodes[w.node].name, &node, one);
  }
  return in;
}

void run::execute_metric(std::size_t i) {
  metric const& what = *objects_[i].metric;
  auto const* steps = steps_of_inputs(i);
  auto measure = [&](std::optional<std::size_t> step) {
    results r;
    what.measure(inputs_of(i, step), r);
    return r;
  };
  if (!steps || what.over_steps()) {
    states_[i].out = measure(std::nullopt);
    return;
  }
  states_[i].steps = *steps;
  for (std::size_t s = 0; s < steps->size(); ++s) states_[i].by_step.push_back(measure(s));
  states_[i].out = stack_steps(states_[i].steps, states_[i].by_step);
}

void run::execute(task const& t) {
  std::size_t const front = t.nodes.front();
  for (std::size_t i : t.nodes)
    for (auto const& w : plan_.nodes[i].wires)
      if (states_[w.node].failure || states_[w.node].skipped) {
        for (std::size_t k : t.nodes) states_[k].skipped = true;
        return;
      }
  auto const start = clock::now();
  try {
    switch (plan_.nodes[front].kind) {
      case plugin_kind::source:
        execute_source(front);
        break;
      case plugin_kind::model:
        with_place(title(front), [&] { execute_model(front); });
        break;
      case plugin_kind::metric:
        with_place(title(front), [&] { execute_metric(front); });
        break;
      case plugin_kind::probe:
        execute_probes(t);
        break;  // names whichever of its probes fails
    }
  } catch (...) {
    states_[front].failure = std::current_exception();
    for (std::size_t k : t.nodes) states_[k].skipped = k != front;
    return;
  }
  double const seconds = std::chrono::duration<double>(clock::now() - start).count();
  for (std::size_t i : t.nodes) {
    states_[i].seconds = seconds / static_cast<double>(t.nodes.size());
    char time[32];
    std::snprintf(time, sizeof time, "%8.1f s", states_[i].seconds);
    std::string line = padded(plan_.nodes[i].name, name_width_) + padded(plan_.nodes[i].what->id(), plugin_width_);
    talk_.line(padded(line + states_[i].out.summary(), name_width_ + plugin_width_ + 58) + time);
  }
}

/// Called in plan order, by one task at a time.
void run::write(std::size_t i) {
  if (states_[i].failure || states_[i].skipped || write_failure_) return;
  try {
    with_place(title(i), [&] { writer_.write(records_[i], states_[i].out); });
  } catch (...) {
    write_failure_ = std::current_exception();
  }
}

run_outcome run::operator()(std::size_t threads) {
  threads_ = threads;
  std::string const started = utc_now();
  inputs_ = digest_inputs(plan_);
  auto const keys = node_keys(plan_, inputs_);
  for (std::size_t i = 0; i < plan_.nodes.size(); ++i) {
    plan_node const& n = plan_.nodes[i];
    name_width_ = std::max(name_width_, n.name.size() + 2);
    plugin_width_ = std::max(plugin_width_, n.what->id().size() + 2);
    records_.push_back({n.name, std::string(n.what->id()), std::string(name_of(n.kind)), std::string(n.what->version()),
                        std::string(n.what->build_id()), canonical_json(n), keys[i], 0});
  }

  // Plan node i's results arrive as message i; the sequencer hands them to the writer in order.
  namespace flow = tbb::flow;
  flow::graph graph;
  auto const tasks = make_tasks();
  flow::function_node<std::size_t> writer(graph, flow::serial, [&](std::size_t i) { write(i); });
  flow::sequencer_node<std::size_t> in_order(graph, [](std::size_t i) { return i; });
  flow::make_edge(in_order, writer);
  std::vector<std::unique_ptr<flow::continue_node<flow::continue_msg>>> nodes;
  std::vector<std::size_t> task_of(plan_.nodes.size());
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    for (std::size_t i : tasks[t].nodes) task_of[i] = t;
    nodes.push_back(std::make_unique<flow::continue_node<flow::continue_msg>>(graph, [&, t](flow::continue_msg) {
      execute(tasks[t]);
      for (std::size_t i : tasks[t].nodes) in_order.try_put(i);
    }));
  }
  flow::broadcast_node<flow::continue_msg> start(graph);
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    std::vector<std::size_t> before;
    for (std::size_t i : tasks[t].nodes)
      for (auto const& w : plan_.nodes[i].wires) before.push_back(task_of[w.node]);
    std::sort(before.begin(), before.end());
    before.erase(std::unique(before.begin(), before.end()), before.end());
    for (std::size_t b : before) flow::make_edge(*nodes[b], *nodes[t]);
    if (before.empty()) flow::make_edge(start, *nodes[t]);
  }
  start.try_put(flow::continue_msg());
  graph.wait_for_all();

  for (auto const& s : states_)
    if (s.failure) std::rethrow_exception(s.failure);
  if (write_failure_) std::rethrow_exception(write_failure_);

  run_outcome outcome;
  outcome.verdicts = compare_with_expected(plan_, [&](std::size_t i) -> results const& { return states_[i].out; });
  run_record record;
  record.pipeline_text = plan_.text;
  record.plan_json = canonical_json(plan_);
  record.versions = library_versions();
  record.environment = environment();
  record.inputs = inputs_;
  record.warnings = talk_.warnings();
  record.expectations = tabulate(outcome.verdicts);
  record.threads = threads_;
  record.started = started;
  record.ended = utc_now();
  record.peak_memory = peak_memory_bytes();
  for (std::size_t i = 0; i < records_.size(); ++i) records_[i].seconds = states_[i].seconds;
  writer_.commit(record, records_);
  outcome.datasets = writer_.datasets();
  outcome.bytes = writer_.bytes();
  return outcome;
}

}  // namespace

run_outcome run_plan(plan const& p, std::vector<instance>& objects, run_options const& options, console& talk) {
  std::size_t const threads = options.threads != 0 ? options.threads : static_cast<std::size_t>(tbb::info::default_concurrency());
  tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
  tbb::task_arena arena(static_cast<int>(threads));
  return arena.execute([&] { return run(p, objects, options, talk)(threads); });
}

}  // namespace wayfarer::host
