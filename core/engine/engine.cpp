#include "engine/engine.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>

#include <oneapi/tbb/flow_graph.h>
#include <unistd.h>

#include <wayfarer/digest.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/stopping.hpp>

#include "engine/blocks.hpp"
#include "engine/edits.hpp"
#include "engine/failure.hpp"
#include "engine/provenance.hpp"
#include "engine/spoiled.hpp"
#include "engine/stack.hpp"
#include "engine/sweep.hpp"
#include "engine/texts.hpp"
#include "engine/threads.hpp"
#include "store/store.hpp"
#include "text/numbers.hpp"

namespace wayfarer::host {
namespace {

using clock = std::chrono::steady_clock;

/// What a node has become. Written by the one task that runs the node, read by its followers.
struct node_state {
  results out;                                                    ///< as it goes into the file
  std::vector<axis> axes;                                         ///< along which it was run more than once
  std::vector<results> parts;                                     ///< of each combination along the axes; empty without axes
  std::vector<std::size_t> steps;                                 ///< of a trained model
  std::vector<std::shared_ptr<wayfarer::model const>> snapshots;  ///< of a trained model
  std::vector<not_finite> gaps;                                   ///< known once written
  std::string spoiled;        ///< what the model or an edit gave that is not finite; "" for nothing
  std::string why_no_reason;  ///< stands in the datasets for the node's own reasons, which such values make untrue
  std::exception_ptr failure;
  bool skipped = false;  ///< something that it needs failed
  double seconds = 0;
};

/// Where along the axes of its inputs a node is run: axis and index.
using fixed_axes = std::vector<std::pair<std::string, std::size_t>>;

class run {
 public:
  run(plan const& p, std::vector<instance>& objects, run_options const& options, console& talk)
      : given_(p),
        plan_(p),
        objects_(objects),
        options_(options),
        talk_(talk),
        states_(p.nodes.size()),
        writer_(options.out, p.title, p.seed) {}

  run_outcome operator()(std::size_t threads);

 private:
  void execute(task const&);
  void execute_source(std::size_t i);
  void execute_model(std::size_t i, console::part&);
  void execute_metric(std::size_t i);
  void execute_probes(task const&, console::part&);
  struct member;
  std::vector<member> members_of(task const&) const;
  std::vector<results> finish_step(task const&, std::vector<member> const&, wayfarer::model const*, source const*,
                                   std::size_t step, item_lengths, metric_input const*, edit_set const*, accumulator& counts,
                                   progress&);
  std::optional<item_lengths> measure(task const&, std::vector<member> const&, wayfarer::model const*, source const*) const;
  edit_set edits_of(task const&, wayfarer::model const&, source const&, fixed_axes const&) const;
  std::vector<axis> axes_of_inputs(std::size_t i) const;
  struct gathered;
  gathered inputs_of(std::size_t i, fixed_axes const&) const;
  results view_of(node_state const&, fixed_axes const&) const;
  void put_together(std::size_t i, std::vector<axis>, std::vector<results>);
  std::optional<block_store> blocks_of(task const&, std::size_t step);
  sweep_plan plan_of_sweep(task const&, wayfarer::model const*, source const*) const;
  void write(std::size_t i);
  static void failed(std::exception_ptr& into);
  std::exception_ptr first_failure() const;
  std::exception_ptr failure_of_metrics_alone() const;
  void tell_gaps(run_outcome&);
  std::size_t blocks_in_flight(std::size_t block, std::uint64_t block_bytes) const;

  wire const* wire_of(std::size_t i, port_kind kind) const {
    for (auto const& w : plan_.nodes[i].wires)
      if (w.kind == kind && !is_edit(w)) return &w;
    return nullptr;
  }
  std::string title(std::size_t i, std::size_t combination = 0) const {
    plan_node const& n = plan_.nodes[i];
    std::string const which = n.name_of_combination(combination);
    return n.name + " (" + std::string(n.what->id()) + ", " + n.what->library().filename().string() +
           (which.empty() ? "" : "; " + which) + ")";
  }
  std::string scratch_folder() const { return options_.out.has_parent_path() ? options_.out.parent_path().string() : "."; }

  plan const& given_;
  plan plan_;                      // where models are the same, all that is wired to one of them is wired to the first
  std::vector<std::size_t> same_;  // see same_models
  std::vector<instance>& objects_;
  run_options const& options_;
  console& talk_;
  std::vector<node_state> states_;
  std::vector<node_record> records_;
  std::vector<possible_input> inputs_;
  std::string code_;  // digest of the program and the plugins, if blocks are kept
  result_writer writer_;
  std::exception_ptr write_failure_;
  std::mutex block_keys_mutex_;
  std::set<std::string> block_keys_;  // of the sweeps of this run
  std::size_t threads_ = 1, name_width_ = 0, plugin_width_ = 0;
};

std::string padded(std::string_view text, std::size_t width) {
  std::string out(text);
  if (out.size() < width) out.resize(width, ' ');
  return out;
}

/// A probe of a task: a node, or one combination of a swept one.
struct run::member {
  std::size_t node = 0, combination = 0;
  probe const* what = nullptr;
  hook_set const* hooks = nullptr;
  std::uint64_t seed = 0;
  std::string name{};
};

/// Results that a node reads, with what holds them for as long as they are read.
struct run::gathered {
  metric_input ports;
  std::vector<std::unique_ptr<results>> hold{};
};

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
}

std::size_t run::blocks_in_flight(std::size_t block, std::uint64_t block_bytes) const {
  std::size_t const most = 2 * threads_;
  if (block_bytes == 0) return most;
  if (options_.memory_budget == 0) {
    // No --memory-budget: use a quarter of RAM, but always allow one block.
    std::uint64_t const machine = std::uint64_t(::sysconf(_SC_PHYS_PAGES)) * std::uint64_t(::sysconf(_SC_PAGESIZE));
    return std::clamp<std::size_t>(machine / 4 / block_bytes, 1, most);
  }
  if (block_bytes > options_.memory_budget)
    throw resource_error(
        "one block of " + std::to_string(block) + " items holds up to " + format_size(block_bytes) +
        " of activations and rows, more than the memory budget of " + format_size(options_.memory_budget) +
        (block > 1 ? "; give the probe a smaller block, such as block: " + std::to_string(std::max<std::size_t>(1, block / 4))
                   : "; ask for fewer hooks or cut the items with max_tokens"));
  return std::min<std::size_t>(most, options_.memory_budget / block_bytes);
}

/// Where the blocks of a sweep are kept: under a name that holds everything that determines them.
std::optional<block_store> run::blocks_of(task const& t, std::size_t step) {
  if (!options_.resume) return {};
  std::string facts = code_ + " step " + std::to_string(step);
  for (std::size_t const i : t.nodes) facts += " " + records_[i].key;
  std::string const key = sha256_hex(facts);
  std::lock_guard const lock(block_keys_mutex_);
  block_keys_.insert(key);
  return block_store(block_folder(options_.out), key);
}

std::vector<run::member> run::members_of(task const& t) const {
  std::vector<member> all;
  for (std::size_t const i : t.nodes)
    for (std::size_t c = 0; c < plan_.nodes[i].combinations(); ++c) {
      instance const& one = objects_[i].at(c);
      all.push_back({i, c, one.probe.get(), &one.hooks, plan_.nodes[i].parameters_of(c).seed(), title(i, c)});
    }
  return all;
}

sweep_plan run::plan_of_sweep(task const& t, wayfarer::model const* m, source const* data) const {
  std::size_t const i = t.nodes.front();
  plan_node const& front = plan_.nodes[i];
  wire const *over = wire_of(i, port_kind::model), *from = wire_of(i, port_kind::source);
  sweep_plan p;
  p.over = m, p.data = data;
  p.items = data ? items_of(front, data->info()) : item_range{};
  p.model_name = over ? title(over->node) : "", p.data_name = from ? title(from->node) : "";
  p.max_tokens = front.max_tokens, p.precision = front.precision;
  p.scratch = scratch_folder();
  return p;
}

/// The lengths of the items, if any of the probes observes items through a model.
std::optional<item_lengths> run::measure(task const& t, std::vector<member> const& members, wayfarer::model const* m,
                                         source const* data) const {
  if (!m || !data) return {};
  sweep_plan const p = plan_of_sweep(t, m, data);
  item_lengths const bound = bound_of(plan_.nodes[t.nodes.front()], data->info(), m->info());
  for (auto const& one : members) {
    accumulator fields(0);
    with_place(one.name, [&] { one.what->shape(fields, {m, data, p.items, 0, bound.tokens, bound.decoder}); });
    if (fields.fields().empty()) continue;
    plan_node const& front = plan_.nodes[t.nodes.front()];
    wire const *over = wire_of(t.nodes.front(), port_kind::model), *from = wire_of(t.nodes.front(), port_kind::source);
    std::string const& model_name = plan_.nodes[over->node].name;
    bool const captures =
        std::any_of(members.begin(), members.end(), [](member const& o) { return loses_cut_text(*o.what, *o.hooks); });
    text_counts texts(captures ? most_tokens(m->info(), front.max_tokens) : 0);
    auto const longest = longest_of(p, texts);
    if (data->info().has_texts)
      for (auto const& note : notes_of(m->text_tokenizer())) talk_.warn(model_name, note);
    for (auto const& text : texts.messages(model_name + " (" + m->info().architecture + ")", ""))
      talk_.warn(plan_.nodes[from->node].name, text);
    return longest;
  }
  return {};
}

std::vector<results> run::finish_step(task const& t, std::vector<member> const& members, wayfarer::model const* m,
                                      source const* data, std::size_t step, item_lengths longest, metric_input const* inputs,
                                      edit_set const* edits, accumulator& counts, progress& report) {
  plan_node const& front = plan_.nodes[t.nodes.front()];
  sweep_plan p = plan_of_sweep(t, m, data);
  p.step = step, p.longest = longest, p.inputs = inputs, p.edits = edits;
  p.block = block_items(front, longest.tokens);
  probe_context const context(m, data, p.items, step, longest.tokens, longest.decoder, inputs);
  std::vector<observer> observers, watching;
  std::uint64_t item_rows = 0;
  for (auto const& one : members) {
    observer o{one.what, one.name, *one.hooks, one.seed};
    with_place(o.name, [&] {
      o.what->shape(o.sums, context);
      if (!o.sums.fields().empty()) item_rows += row_bytes(*o.what, context);
    });
    if (!o.sums.fields().empty()) watching.push_back(o);
    observers.push_back(std::move(o));
  }
  if (data && !watching.empty() && p.items.size() != 0) {
    hook_set captured;
    for (auto const& o : watching) captured.add(o.hooks);
    std::uint64_t const each = item_rows + (m ? item_bytes(front, m->info(), captured, longest) : 0);
    std::size_t const block = std::min(p.block, p.items.size());
    p.in_flight = with_place(members.front().name, [&] { return blocks_in_flight(block, each * block); });
    std::optional<block_store> const kept = blocks_of(t, step);
    if (kept) p.blocks = &*kept;
    accumulator of_step;
    sweep(p, watching, report, of_step);
    if (counts.fields().empty())
      counts = std::move(of_step);
    else
      counts.append(of_step);
  }
  std::vector<results> out;
  std::size_t next = 0;
  for (auto& o : observers) {
    accumulator const& sums = o.sums.fields().empty() ? o.sums : watching[next++].sums;
    results r;
    with_place(o.name, [&] { o.what->finish(sums, r, context); });
    out.push_back(std::move(r));
    // The sums are not read again, and those of other probes may be large.
    if (!o.sums.fields().empty()) watching[next - 1].sums = accumulator(0);
  }
  return out;
}

edit_set run::edits_of(task const& t, wayfarer::model const& m, source const& data, fixed_axes const& at) const {
  std::size_t const i = t.nodes.front();
  plan_node const& node = plan_.nodes[i];
  if (node.edits.empty()) return {};
  std::vector<tensor> values = objects_[i].edit_values;
  for (auto const& w : node.wires) {
    if (!is_edit(w)) continue;
    results const from = view_of(states_[w.node], at);
    auto const* one = from.find(w.dataset);
    if (!one)
      throw usage_error("'" + plan_.nodes[w.node].name + "' has no dataset '" + w.dataset + "' for an edit" +
                        did_you_mean(w.dataset, from.names()));
    if (one->is_text())
      throw usage_error("'" + plan_.nodes[w.node].name + "/" + w.dataset + "' holds texts; an edit needs numbers");
    values.at(std::stoul(w.port.substr(6))) = one->values();
  }
  return edit_set(node, std::move(values), m, data, items_of(node, data.info()));
}

void run::execute_probes(task const& t, console::part& report) {
  std::size_t const front = t.nodes.front();
  wire const *model_wire = wire_of(front, port_kind::model), *source_wire = wire_of(front, port_kind::source);
  source const* data = source_wire ? objects_[source_wire->node].source.get() : nullptr;
  auto const members = members_of(t);
  node_state const* learner = model_wire && !states_[model_wire->node].steps.empty() ? &states_[model_wire->node] : nullptr;
  // Probes with results ports stand alone in their task.
  bool const has_inputs = wire_of(front, port_kind::results) != nullptr;
  if (learner)
    for (auto const& a : axes_of_inputs(front))
      if (a.name == "step" && !(a == step_axis(learner->steps)))
        with_place(title(front), [] { throw usage_error("its inputs and its model have different steps"); });

  // Of each node the parts of all steps, its combinations fastest.
  std::map<std::size_t, std::vector<results>> parts;
  std::optional<item_lengths> longest;
  accumulator counts;  // what edits did and what the model gave, over all steps
  std::vector<std::string> misses;
  std::string spoils;
  std::size_t const steps = learner ? learner->steps.size() : 1;
  for (std::size_t s = 0; s < steps; ++s) {
    stop_if_asked();
    wayfarer::model const* const m = learner      ? learner->snapshots[s].get()
                                     : model_wire ? objects_[model_wire->node].model.get()
                                                  : nullptr;
    if (learner) report.round(s, steps, "step " + format_count(learner->steps[s]));
    fixed_axes const at = learner ? fixed_axes{{"step", s}} : fixed_axes{};
    if (s == 0) longest = measure(t, members, m, data);
    gathered const inputs = with_place(title(front), [&] { return inputs_of(front, at); });
    edit_set const edits = with_place(title(front), [&] { return m && data ? edits_of(t, *m, *data, at) : edit_set(); });
    auto made = finish_step(t, members, m, data, learner ? learner->steps[s] : 0, longest.value_or(item_lengths{}),
                            has_inputs ? &inputs.ports : nullptr, edits.empty() ? nullptr : &edits, counts, report);
    if (s + 1 == steps && !edits.empty() && !counts.fields().empty()) {
      misses = edits.misses(counts["edited"]);
      spoils = edits.spoils(counts["edited"]);
    }
    for (std::size_t k = 0; k < members.size(); ++k) parts[members[k].node].push_back(std::move(made[k]));
  }
  for (auto const& miss : misses) report.warn(miss);
  hook_set captured;
  for (auto const& one : members) captured.add(*one.hooks);
  spoiled_values const spoiled(counts, captured, data ? steps * plan_of_sweep(t, nullptr, data).items.size() : 0, spoils);
  for (std::size_t const i : t.nodes) {
    std::vector<axis> axes = axes_of_sweep(plan_.nodes[i]);
    if (learner) axes.insert(axes.begin(), step_axis(learner->steps));
    with_place(title(i), [&] { put_together(i, std::move(axes), std::move(parts[i])); });
    hook_set needed;
    for (auto const& one : members)
      if (one.node == i) needed.add(*one.hooks);
    states_[i].spoiled = spoiled.reason(needed, true);
    if (!spoiled.reached(needed)) continue;
    states_[i].why_no_reason = spoiled.reason(needed, false);
    states_[i].out = spoiled.explain(std::move(states_[i].out), needed);
  }
}

void run::put_together(std::size_t i, std::vector<axis> axes, std::vector<results> parts) {
  node_state& state = states_[i];
  if (axes.empty()) {
    state.out = std::move(parts.front());
    return;
  }
  state.out = stack_parts(axes, parts, scratch_folder());
  state.axes = std::move(axes), state.parts = std::move(parts);
}

/// The axes of what a node's ports read, each once, in the order of the ports.
std::vector<axis> run::axes_of_inputs(std::size_t i) const {
  std::vector<axis> all;
  for (auto const& w : plan_.nodes[i].wires) {
    if (w.kind != port_kind::results || is_edit(w)) continue;
    for (auto const& a : states_[w.node].axes) {
      auto const known = std::find_if(all.begin(), all.end(), [&](axis const& b) { return a.name == b.name; });
      if (known == all.end())
        all.push_back(a);
      else if (!(*known == a))
        throw usage_error(a.name == "step" ? "its inputs have different steps"
                                           : "its inputs sweep '" + a.name + "' over different values");
    }
  }
  return all;
}

/// What a node left, with some of its axes held at an index.
results run::view_of(node_state const& from, fixed_axes const& at) const {
  fixed_axes mine;
  for (auto const& f : at)
    if (std::any_of(from.axes.begin(), from.axes.end(), [&](axis const& a) { return a.name == f.first; })) mine.push_back(f);
  return slice_parts(from.axes, from.axes.empty() || mine.empty() ? std::span(&from.out, 1) : std::span(from.parts), mine,
                     scratch_folder());
}

run::gathered run::inputs_of(std::size_t i, fixed_axes const& at) const {
  gathered in;
  for (auto const& w : plan_.nodes[i].wires) {
    if (w.kind != port_kind::results || is_edit(w)) continue;
    in.hold.push_back(std::make_unique<results>(view_of(states_[w.node], at)));
    results const& node = *in.hold.back();
    dataset const* one = nullptr;
    if (!w.dataset.empty()) {
      one = node.find(w.dataset);
      if (!one)
        throw usage_error("'" + plan_.nodes[w.node].name + "' has no dataset '" + w.dataset + "'" +
                          did_you_mean(w.dataset, node.names()));
    }
    in.ports.put(w.port, plan_.nodes[w.node].name, &node, one);
  }
  return in;
}

/// Once for each combination along the axes of its inputs and of its own sweep.
void run::execute_metric(std::size_t i) {
  std::vector<axis> const given = with_place(title(i), [&] { return axes_of_inputs(i); });
  std::vector<axis> const own = axes_of_sweep(plan_.nodes[i]);
  std::vector<axis> axes;
  // Of a swept metric's objects all want the steps whole, or none does.
  for (auto const& a : given)
    if (a.name != "step" || !objects_[i].metric->over_steps()) axes.push_back(a);
  std::size_t const outer = combinations_of(axes);
  std::vector<results> parts;
  for (std::size_t part = 0; part < outer; ++part) {
    fixed_axes at;
    std::size_t rest = part;
    for (auto a = axes.rbegin(); a != axes.rend(); ++a) at.emplace_back(a->name, rest % a->size()), rest /= a->size();
    gathered const inputs = with_place(title(i), [&] { return inputs_of(i, at); });
    for (std::size_t c = 0; c < plan_.nodes[i].combinations(); ++c) {
      stop_if_asked();
      results r;
      std::string const where = name_of_part(axes, part);
      with_place(title(i, c) + (where.empty() ? "" : ", " + where), [&] { objects_[i].at(c).metric->measure(inputs.ports, r); });
      parts.push_back(std::move(r));
    }
  }
  axes.insert(axes.end(), own.begin(), own.end());
  with_place(title(i), [&] { put_together(i, std::move(axes), std::move(parts)); });
  for (auto const& w : plan_.nodes[i].wires) {
    node_state const& from = states_[w.node];
    auto const* const read = from.out.find(w.dataset);
    if (from.why_no_reason.empty() || (read && read->missing() != from.why_no_reason)) continue;
    states_[i].why_no_reason = "'" + plan_.nodes[w.node].name + "' is what it reads, where " + from.why_no_reason;
    states_[i].out = with_reason(std::move(states_[i].out), states_[i].why_no_reason, [](std::string const&) { return true; });
    break;
  }
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
    with_place(title(i), [&] { states_[i].gaps = writer_.write(records_[i], states_[i].out); });
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

/// "hook_embed", or "7 datasets (mean_entropy, entropy, divergence and 4 more)".
std::string describe_datasets(std::vector<std::string> const& names) {
  constexpr std::size_t most = 4;
  if (names.size() == 1) return names[0];
  std::string text = counted(names.size(), "dataset") + " (" + names[0];
  std::size_t const told = names.size() <= most ? names.size() : most - 1;
  for (std::size_t k = 1; k < told; ++k) text += (k + 1 == names.size() ? " and " : ", ") + names[k];
  return text + (told == names.size() ? ")" : " and " + std::to_string(names.size() - told) + " more)");
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

run_outcome run::operator()(std::size_t threads) {
  threads_ = threads;
  std::string const started = utc_now();
  inputs_ = digest_inputs(plan_);
  same_ = same_models(plan_, inputs_);
  // Other models than those of a checkpoint may make weights from their seed.
  for (std::size_t i = 0; i < same_.size(); ++i)
    if (!dynamic_cast<pretrained const*>(objects_[i].model.get())) same_[i] = i;
  for (auto& node : plan_.nodes)
    for (auto& w : node.wires) w.node = same_[w.node];
  // What will be read shows later; until then whatever may be read counts, for the names of blocks too.
  auto const keys = node_keys(plan_, inputs_);
  if (options_.resume) {
    code_ = digest_code(plan_);
    make_block_folder(block_folder(options_.out));
  }
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

  // Plan node i's results arrive as message i; the sequencer hands them to the writer in order.
  namespace flow = tbb::flow;
  flow::graph graph;
  auto const tasks = tasks_of(plan_);
  talk_.begin(static_cast<std::size_t>(std::count_if(
      tasks.begin(), tasks.end(), [&](task const& t) { return plan_.nodes[t.nodes.front()].kind != plugin_kind::source; })));
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
  stoppable_work listening;
  start.try_put(flow::continue_msg());
  graph.wait_for_all();

  if (int const signal = listening.end())
    throw stopped("stopped by " + name_of_signal(signal) +
                      (signal == SIGXFSZ ? ": a file has reached the limit of its size (ulimit -f)" : "") +
                      kept_when_stopped(plan_, options_),
                  signal);
  run_outcome outcome;
  outcome.failure = failure_of_metrics_alone();
  if (auto const failure = first_failure(); failure && !outcome.failure) std::rethrow_exception(failure);
  for (std::size_t i = 0; i < states_.size(); ++i)
    if (states_[i].failure || states_[i].skipped)
      talk_.warn(plan_.nodes[i].name, states_[i].failure ? "failed, and is left out of the result"
                                                         : "needs a node that failed, and is left out of the result");
  tell_gaps(outcome);
  outcome.verdicts = compare_with_expected(given_, [&](std::size_t i) -> results const& { return states_[i].out; });
  run_record record;
  record.pipeline_text = plan_.text;
  record.plan_json = canonical_json(given_);
  record.versions = library_versions();
  record.environment = environment();
  auto const read = inputs_read(inputs_, plan_, same_);
  for (auto const& one : read) record.inputs.push_back(one.what);
  record.warnings = talk_.warnings();
  record.expectations = tabulate(outcome.verdicts);
  record.threads = threads_;
  record.started = started;
  record.ended = utc_now();
  record.peak_memory = peak_memory_bytes();
  auto const final_keys = node_keys(plan_, read);
  for (std::size_t i = 0; i < records_.size(); ++i) records_[i].key = final_keys[i], records_[i].seconds = states_[i].seconds;
  writer_.commit(record, records_);
  if (options_.resume) remove_blocks(block_folder(options_.out), block_keys_);
  outcome.datasets = writer_.datasets();
  outcome.bytes = writer_.bytes();
  return outcome;
}

}  // namespace

std::string kept_when_stopped(plan const& p, run_options const& options) {
  std::string kept;
  if (options.resume) kept = block_folder(options.out).string() + " keeps the finished blocks";
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
  with_threads(threads, [&] { outcome = run(p, objects, options, talk)(threads); });
  return outcome;
}

}  // namespace wayfarer::host
