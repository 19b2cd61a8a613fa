#include "engine/engine.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>

#include <oneapi/tbb/flow_graph.h>

#include <wayfarer/findings.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/snapshot_state.hpp>
#include <wayfarer/stopping.hpp>

#include "engine/equal_steps.hpp"
#include "engine/run.hpp"
#include "engine/threads.hpp"
#include "text/numbers.hpp"

namespace wayfarer::host {
namespace {

using clock = std::chrono::steady_clock;

std::string padded(std::string_view text, std::size_t width) {
  std::string out(text);
  if (out.size() < width) out.resize(width, ' ');
  return out;
}

}  // namespace

void run::execute_source(std::size_t i) {
  source_info const& info = objects_[i].source->info();
  std::string line = format_count(info.items) + " items";
  if (info.vocabulary != 0) line += ", " + format_count(info.vocabulary) + " words in the vocabulary";
  for (auto const& [name, values] : info.truth) states_[i].out.add(name, values).about("ground truth of the source");
  states_[i].out.summarise(line);
}

void run::execute_model(std::size_t i, console::part& report) {
  node_state& state = states_[i];
  wayfarer::model& m = *objects_[i].model;
  if (same_[i] != i) {
    state.out.summarise("the same bytes as " + plan_.nodes[same_[i]].name + ": run once, for both");
    return;
  }
  if (!objects_[i].trains) {
    m.load();
    if (auto const* files = dynamic_cast<pretrained const*>(&m))
      for (auto const& text : files->remarks()) talk_.warn(plan_.nodes[i].name, text);
    return;
  }
  source const* data = nullptr;
  source const* held_out = nullptr;
  for (auto const& w : plan_.nodes[i].wires) {
    if (w.port == "train.source") data = objects_[w.node].source.get();
    if (w.port == "train.held_out") held_out = objects_[w.node].source.get();
  }
  dynamic_cast<trainable_model const&>(m).train({*data, held_out, state.out, report, [&](snapshot s) {
                                                   if (!state.steps.empty() && s.step <= state.steps.back())
                                                     throw plugin_error("snapshots must come in order of their steps");
                                                   state.steps.push_back(s.step);
                                                   state.snapshots.push_back(std::move(s.state));
                                                 }});
  if (state.steps.empty()) throw plugin_error("training yielded no snapshot");
  state.first_equal = first_equal(state.snapshots, dynamic_cast<snapshot_state const*>(&m));
  tell_equal_steps(state.steps, state.first_equal, state.out);
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
  std::string names;
  for (std::size_t i : t.nodes) names += (names.empty() ? "" : ", ") + plan_.nodes[i].name;
  // A source takes no time here: it is read where it is needed.
  auto report = plan_.nodes[front].kind == plugin_kind::source ? nullptr : talk_.start(names);
  try {
    stop_if_asked();
    switch (plan_.nodes[front].kind) {
      case plugin_kind::source:
        execute_source(front);
        break;
      case plugin_kind::model:
        with_place(title(front), [&] { execute_model(front, *report); });
        break;
      case plugin_kind::metric:
        execute_metric(front);
        break;
      case plugin_kind::probe:
        execute_probes(t, *report);
        break;  // names whichever of its probes fails
    }
  } catch (...) {
    keep_failure(states_[front].failure);
    for (std::size_t k : t.nodes) states_[k].skipped = k != front;
    return;
  }
  report.reset();
  double const seconds = std::chrono::duration<double>(clock::now() - start).count();
  for (std::size_t i : t.nodes) {
    states_[i].seconds = seconds / static_cast<double>(t.nodes.size());
    char time[32];
    std::snprintf(time, sizeof time, "%8.1f s", states_[i].seconds);
    std::string line = padded(plan_.nodes[i].name, name_width_) + padded(plan_.nodes[i].what->id(), plugin_width_);
    talk_.line(padded(line + states_[i].out.summary(), name_width_ + plugin_width_ + 58) + time);
  }
}

/// What is known before anything runs: digests of files, models that are the same, keys, records.
void run::prepare() {
  inputs_.emplace(digest_inputs(plan_), options_.files_before);
  same_ = same_models(plan_, inputs_->all());
  // Other models than those of a checkpoint may make weights from their seed.
  for (std::size_t i = 0; i < same_.size(); ++i)
    if (!dynamic_cast<pretrained const*>(objects_[i].model.get())) same_[i] = i;
  for (auto& node : plan_.nodes)
    for (auto& w : node.wires) w.node = same_[w.node];
  // What will be read shows later; until then whatever may be read counts, for the names of blocks too.
  auto const keys = node_keys(plan_, inputs_->all());
  for (std::size_t i = 0; i < plan_.nodes.size(); ++i) {
    plan_node const& n = plan_.nodes[i];
    name_width_ = std::max(name_width_, n.name.size() + 2);
    plugin_width_ = std::max(plugin_width_, n.what->id().size() + 2);
    records_.push_back({n.name, std::string(n.what->id()), std::string(name_of(n.kind)), std::string(n.what->version()),
                        std::string(n.what->build_id()), canonical_json(n), keys[i], 0});
  }
  for (std::size_t i = 0; i < plan_.nodes.size(); ++i)
    if (objects_[i].source)
      for (auto const& note : objects_[i].source->info().notes) talk_.warn(plan_.nodes[i].name, note);
}

/// Plan node i's results arrive as message i; the sequencer hands them to the writer in order.
void run::run_graph(std::vector<task> const& tasks) {
  namespace flow = tbb::flow;
  flow::graph graph;
  flow::function_node<std::size_t> writer(graph, flow::serial,
                                          [&](std::size_t i) { result_->write(i, records_[i], states_[i]); });
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
}

run_outcome run::finish_result(std::string const& started) {
  auto const read = inputs_read(inputs_->all(), plan_, same_, [&](possible_input const& one) { return inputs_->was_read(one); });
  return result_->finish(records_, states_, read, threads_, started);
}

void run::throw_if_stopped(int signal) const {
  if (signal == 0) return;
  throw stopped("stopped by " + name_of_signal(signal) +
                    (signal == SIGXFSZ ? ": a file has reached the limit of its size (ulimit -f)" : "") +
                    kept_when_stopped(plan_, options_),
                signal);
}

run_outcome run::operator()(std::size_t threads) {
  threads_ = threads;
  std::string const started = utc_now();
  result_.emplace(given_, plan_, options_, talk_);
  prepare();
  open_store();
  if (options_.resume) {
    code_ = code_of_all();
    make_block_folder(block_folder(options_.out));
  }
  auto const tasks = tasks_of(plan_);
  talk_.begin(static_cast<std::size_t>(std::count_if(
      tasks.begin(), tasks.end(), [&](task const& t) { return plan_.nodes[t.nodes.front()].kind != plugin_kind::source; })));
  stoppable_work listening;
  run_graph(tasks);
  throw_if_stopped(listening.end());
  run_outcome outcome = finish_result(started);
  tell_store();
  if (options_.resume) remove_blocks(block_folder(options_.out), block_keys_);
  return outcome;
}

std::string kept_when_stopped(plan const& p, run_options const& options) {
  std::string kept;
  if (options.resume) kept = block_folder(options.out).string() + " keeps the finished blocks";
  if (!options.work.empty()) kept = options.work.string() + " keeps the finished work";
  for (auto const& n : p.nodes)
    if (n.what && n.parameters.has("train.state") && !n.parameters["train.state"].text().empty())
      kept += (kept.empty() ? "" : " and ") + n.parameters["train.state"].text() + (kept.empty() ? " keeps" : "") +
              " the training of '" + n.name + "'";
  return "; no result is written, and " + (kept.empty() ? std::string("nothing is kept: --resume keeps finished blocks")
                                                        : kept + ": run the same command again to resume");
}

run_outcome run_plan(plan const& p, std::vector<instance>& objects, run_options const& options, console& talk) {
  std::size_t const threads = options.threads != 0 ? options.threads : default_threads();
  run_outcome outcome;
  with_threads(threads, [&] {
    run one(p, objects, options, talk);
    outcome = options.work.empty() ? one(threads) : one.work(threads);
  });
  return outcome;
}

}  // namespace wayfarer::host
