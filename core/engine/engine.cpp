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
#include "store/store.hpp"
#include "text/numbers.hpp"

namespace wayfarer::host {
namespace {

using clock = std::chrono::steady_clock;

std::string padded(std::string_view text, std::size_t width) {
  std::string out(text);
  if (out.size() < width) out.resize(width, ' ');
  return out;
}

/// "hook_embed", or "7 datasets (mean_entropy, entropy, divergence and 4 more)".
std::string describe_datasets(std::vector<std::string> const& names) {
  constexpr std::size_t most = 4;
  if (names.size() == 1) return names[0];
  std::string text = counted(names.size(), "dataset") + " (" + names[0];
  std::size_t const told = names.size() <= most ? names.size() : most - 1;
  for (std::size_t k = 1; k < told; ++k) text += (k + 1 == names.size() ? " and " : ", ") + names[k];
  return text + (told == names.size() ? ")" : " and " + std::to_string(names.size() - told) + " more)");
}

std::string text_of(std::exception_ptr const& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (std::exception const& e) {
    return e.what();
  } catch (...) {
    return "unknown reason";
  }
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
    failed(states_[front].failure);
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

/// The first failure, if metrics alone failed, which does no harm to what the other nodes left; else null.
std::exception_ptr run::failure_of_metrics_alone() const {
  std::exception_ptr first;
  for (std::size_t i = 0; i < states_.size() && !write_failure_; ++i) {
    if (!states_[i].failure) continue;
    if (plan_.nodes[i].kind != plugin_kind::metric) return nullptr;
    try {
      std::rethrow_exception(states_[i].failure);
    } catch (resource_error const&) {
      return nullptr;
    } catch (stopped const&) {
      return nullptr;
    } catch (...) {
      if (!first) first = states_[i].failure;
    }
  }
  return first;
}

/// Called in plan order, by one task at a time.
void run::write(std::size_t i) {
  if (states_[i].failure || states_[i].skipped || write_failure_) return;
  try {
    with_place(title(i), [&] { states_[i].gaps = writer_->write(records_[i], states_[i].out); });
  } catch (...) {
    failed(write_failure_);
  }
}

/// Keeps the exception in flight. A disk or memory that is full fails all the rest too, so the run ends at once.
void run::failed(std::exception_ptr& into) {
  into = std::current_exception();
  try {
    throw;
  } catch (resource_error const&) {
    ask_to_stop(0);
  } catch (...) {
  }
}

/// What made the run fail; null if nothing did. Work that only heard of it and stopped is not to blame.
std::exception_ptr run::first_failure() const {
  std::exception_ptr heard;
  auto const to_blame = [&](std::exception_ptr const& e) {
    try {
      if (e) std::rethrow_exception(e);
      return false;
    } catch (stopped const&) {
      heard = e;
      return false;
    } catch (...) {
      return true;
    }
  };
  for (auto const& s : states_)
    if (to_blame(s.failure)) return s.failure;
  return to_blame(write_failure_) ? write_failure_ : heard;
}

/// What is not finite in the result: explained by its dataset or warned of. In plan order, after everything else. Datasets of a
/// node that have one reason share a line.
void run::tell_gaps(run_outcome& outcome) {
  for (std::size_t i = 0; i < states_.size(); ++i) {
    std::string const& node = plan_.nodes[i].name;
    std::string const& spoiled = states_[i].why_no_reason;
    // Report activations that are not finite even if all results are.
    if (states_[i].gaps.empty() && !states_[i].spoiled.empty()) talk_.warn(node, states_[i].spoiled);
    struct shared_reason {
      not_finite sum;
      std::vector<std::string> names{};
    };
    std::vector<shared_reason> reasons;
    for (auto const& g : states_[i].gaps) {
      if (g.missing.empty()) {
        ++outcome.unexplained;
        talk_.warn(node, g.dataset + ": " + describe(g) + ", and the plugin does not say why");
        continue;
      }
      auto at = std::find_if(reasons.begin(), reasons.end(), [&](auto const& r) { return r.sum.missing == g.missing; });
      if (at == reasons.end()) at = reasons.insert(at, shared_reason{not_finite{"", 0, 0, 0, g.missing}});
      at->sum.nan += g.nan, at->sum.infinite += g.infinite, at->sum.of += g.of;
      at->names.push_back(g.dataset);
    }
    for (auto const& r : reasons) {
      std::string const what = describe_datasets(r.names), text = ": " + describe(r.sum) + ": " + r.sum.missing;
      if (!spoiled.empty() && r.sum.missing == spoiled) {
        outcome.unexplained += r.names.size();
        talk_.warn(node, what + text);
      } else {
        outcome.missing.push_back(node + (r.names.size() == 1 ? "/" : ": ") + what + text);
      }
    }
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
}

/// Warnings in the order of the plan, as threads and processes come in any.
std::vector<std::string> run::warnings_in_order() const {
  auto const place = [&](std::string const& warning) {
    std::size_t best = plan_.nodes.size(), length = 0;
    for (std::size_t i = 0; i < plan_.nodes.size(); ++i) {
      std::string const& name = plan_.nodes[i].name;
      bool const mine = warning.starts_with(name) && (warning[name.size()] == ':' || warning[name.size()] == ',');
      if (mine && name.size() > length) best = i, length = name.size();
    }
    return best;
  };
  auto all = talk_.warnings();
  std::sort(all.begin(), all.end(), [&](auto const& a, auto const& b) {
    auto const x = place(a), y = place(b);
    return x != y ? x < y : a < b;
  });
  return all;
}

/// The rest of the file, once all nodes are in it.
run_outcome run::finish_result(std::string const& started) {
  run_outcome outcome;
  outcome.failure = failure_of_metrics_alone();
  if (auto const failure = first_failure(); failure && !outcome.failure) std::rethrow_exception(failure);
  for (std::size_t i = 0; i < states_.size(); ++i)
    if (states_[i].failure || states_[i].skipped)
      talk_.warn(plan_.nodes[i].name, states_[i].failure ? "failed, and is left out of the result: " + text_of(states_[i].failure)
                                                         : "needs a node that failed, and is left out of the result");
  tell_gaps(outcome);
  outcome.verdicts = compare_with_expected(given_, [&](std::size_t i) -> results const& { return states_[i].out; });
  run_record record;
  record.pipeline_text = plan_.text;
  record.plan_json = canonical_json(given_);
  record.versions = library_versions();
  record.environment = environment();
  auto const read = inputs_read(inputs_->all(), plan_, same_, [&](possible_input const& one) { return inputs_->was_read(one); });
  for (auto const& one : read) record.inputs.push_back(one.what);
  record.warnings = warnings_in_order();
  record.expectations = tabulate(outcome.verdicts);
  record.reproducible = options_.reproducible;
  record.threads = threads_;
  record.started = started;
  record.ended = utc_now();
  record.peak_memory = peak_memory_bytes();
  auto const final_keys = node_keys(plan_, read);
  for (std::size_t i = 0; i < records_.size(); ++i) records_[i].key = final_keys[i], records_[i].seconds = states_[i].seconds;
  writer_->commit(record, records_);
  outcome.written = true;
  outcome.datasets = writer_->datasets();
  outcome.bytes = writer_->bytes();
  return outcome;
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
  writer_.emplace(options_.out, plan_.title, plan_.seed);
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

std::string describe(not_finite const& g) {
  return format_count(g.nan + g.infinite) + " of " + format_count(g.of) + (g.of == 1 ? " value is " : " values are ") +
         (g.infinite == 0 ? "NaN"
          : g.nan == 0    ? "infinite"
                          : "not finite (" + format_count(g.nan) + " NaN)");
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
