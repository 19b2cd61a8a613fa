// Passes over items: what a probe's task is made of.
#include <unistd.h>

#include <algorithm>

#include <wayfarer/digest.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/stopping.hpp>

#include "engine/equal_steps.hpp"
#include "engine/run.hpp"
#include "engine/spoiled.hpp"
#include "engine/texts.hpp"
#include "text/numbers.hpp"

namespace wayfarer::host {

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
  if (!options_.resume && !work_) return {};
  std::string const key = unit_of(t, "step " + std::to_string(step));
  if (work_) return block_store(work_->folder().path(), key, block_store::places::spread);
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

/// Whether any of the probes observes items through a model, so that their lengths must be known.
bool run::reads_items(task const& t, std::vector<member> const& members, wayfarer::model const* m, source const* data) const {
  if (!m || !data) return false;
  item_range const items = plan_of_sweep(t, m, data).items;
  item_lengths const bound = bound_of(plan_.nodes[t.nodes.front()], data->info(), m->info());
  return std::any_of(members.begin(), members.end(), [&](member const& one) {
    accumulator fields(0);
    with_place(one.name, [&] { one.what->shape(fields, {m, data, items, 0, bound.tokens, bound.decoder}); });
    return !fields.fields().empty();
  });
}

/// The tokens beyond which an item counts as cut; 0: none does.
std::size_t run::most_tokens_of(task const& t, std::vector<member> const& members, wayfarer::model const& m) const {
  bool const captures =
      std::any_of(members.begin(), members.end(), [](member const& o) { return loses_cut_text(*o.what, *o.hooks); });
  return captures ? most_tokens(m.info(), plan_.nodes[t.nodes.front()].max_tokens) : 0;
}

/// The lengths of the items, if any of the probes observes items through a model.
std::optional<item_lengths> run::measure(task const& t, std::vector<member> const& members, wayfarer::model const* m,
                                         source const* data) const {
  if (!reads_items(t, members, m, data)) return {};
  wire const *over = wire_of(t.nodes.front(), port_kind::model), *from = wire_of(t.nodes.front(), port_kind::source);
  std::string const& model_name = plan_.nodes[over->node].name;
  std::size_t const most = most_tokens_of(t, members, *m);
  text_counts texts(most);
  item_lengths longest;
  if (!work_) {
    longest = longest_of(plan_of_sweep(t, m, data), texts);
  } else {
    for (item_range const r : measured_ranges(t, *data)) {
      item_lengths const some = measure_range(t, r, most, texts);
      longest = {std::max(longest.tokens, some.tokens), std::max(longest.decoder, some.decoder)};
    }
  }
  if (data->info().has_texts)
    for (auto const& note : notes_of(m->text_tokenizer())) talk_.warn(model_name, note);
  for (auto const& text : texts.messages(model_name + " (" + m->info().architecture + ")", ""))
    talk_.warn(plan_.nodes[from->node].name, text);
  return longest;
}

void run::prepare_pass(step_pass& pass, task const& t, std::vector<member> const& members, step_input const& in,
                       item_lengths longest) {
  plan_node const& front = plan_.nodes[t.nodes.front()];
  sweep_plan& p = pass.plan;
  p = plan_of_sweep(t, in.over, in.data);
  p.step = in.step, p.longest = longest;
  p.inputs = in.has_inputs ? &in.inputs.ports : nullptr, p.edits = in.edits.empty() ? nullptr : &in.edits;
  p.block = block_items(front, longest.tokens);
  probe_context const context = context_of(p);
  std::uint64_t item_rows = 0;
  for (auto const& one : members) {
    observer o{one.what, one.name, *one.hooks, one.seed};
    with_place(o.name, [&] {
      o.what->shape(o.sums, context);
      if (!o.sums.fields().empty()) item_rows += row_bytes(*o.what, context);
    });
    if (!o.sums.fields().empty()) pass.watching.push_back(o);
    pass.observers.push_back(std::move(o));
  }
  pass.passes = in.data && !pass.watching.empty() && p.items.size() != 0;
  if (!pass.passes) return;
  hook_set const captured = captured_by(pass.watching);
  std::uint64_t const each = item_rows + (in.over ? item_bytes(front, in.over->info(), captured, longest) : 0);
  std::size_t const block = std::min(p.block, p.items.size());
  p.in_flight = with_place(members.front().name, [&] { return blocks_in_flight(block, each * block); });
  pass.kept = blocks_of(t, in.step);
  if (pass.kept) p.blocks = &*pass.kept;
  if (work_) pass.kept->group({p.items, p.block, std::max<std::size_t>(1, work_->folder().blocks_a_unit(pass.kept->key()))});
  bool const rows = std::any_of(pass.watching.begin(), pass.watching.end(), [](observer const& o) { return has_rows(o.sums); });
  if (work_ && !rows && merge_levels(p) != 0) {
    pass.merged.emplace(work_->folder().path(), unit_of(t, "merged step " + std::to_string(in.step)), block_store::places::spread,
                        ".merged");
    p.merged = &*pass.merged;
  }
  use_store(pass, t, in);
  // A file's warnings are the same for every number of processes; what this one met is not.
  if (work_) p.tell = [this](std::string const& text) { talk_.note(text); };
}

std::vector<results> run::finish_step(step_pass& pass, accumulator& counts, progress& report) {
  probe_context const context = context_of(pass.plan);
  auto& watching = pass.watching;
  if (pass.passes) sweep(pass.plan, watching, report, counts);
  std::vector<results> out;
  std::size_t next = 0;
  for (auto& o : pass.observers) {
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

std::size_t run::steps_of(task const& t) const {
  wire const* const model_wire = wire_of(t.nodes.front(), port_kind::model);
  return model_wire ? std::max<std::size_t>(1, states_[model_wire->node].steps.size()) : 1;
}

run::step_input run::input_of_step(task const& t, std::size_t s) const {
  std::size_t const front = t.nodes.front();
  wire const *model_wire = wire_of(front, port_kind::model), *source_wire = wire_of(front, port_kind::source);
  node_state const* learner = model_wire && !states_[model_wire->node].steps.empty() ? &states_[model_wire->node] : nullptr;
  step_input in;
  in.data = source_wire ? objects_[source_wire->node].source.get() : nullptr;
  in.over = learner ? learner->snapshots[s].get() : model_wire ? objects_[model_wire->node].model.get() : nullptr;
  if (learner) in.step = learner->steps[s], in.name = "step " + format_count(learner->steps[s]);
  fixed_axes const at = learner ? fixed_axes{{"step", s}} : fixed_axes{};
  // Probes with results ports stand alone in their task.
  in.has_inputs = wire_of(front, port_kind::results) != nullptr;
  in.inputs = with_place(title(front), [&] { return inputs_of(front, at); });
  in.edits = with_place(title(front), [&] { return in.over && in.data ? edits_of(t, *in.over, *in.data, at) : edit_set(); });
  return in;
}

/// For each step at which a node is run the first one at which all that it reads is the same. Empty if nothing that it reads has
/// steps.
std::vector<std::size_t> run::equal_steps_of(std::size_t i) const {
  std::map<std::size_t, std::vector<std::size_t>> all;
  for (std::size_t const k : with_inputs(plan_, {i})) {  // in the plan's order
    auto& mine = all[k] = states_[k].first_equal;
    if (!mine.empty()) continue;  // what a model learned from has no steps
    for (auto const& w : plan_.nodes[k].wires) {
      auto const& one = all.at(w.node);
      if (!one.empty()) mine = mine.empty() ? one : first_equal_in_both(mine, one);
    }
  }
  return all.at(i);
}

namespace {

accumulator sum_of(std::vector<accumulator> const& all) {
  accumulator sum;
  for (auto const& one : all) {
    if (one.fields().empty()) continue;
    if (sum.fields().empty())
      for (auto const& [name, f] : one.fields()) sum.define(name, f.values.shape());
    sum.append(one);
  }
  return sum;
}

}  // namespace

run::step_results run::measure_steps(task const& t, std::vector<member> const& members, console::part& report) {
  step_results out;
  std::optional<item_lengths> longest;
  std::vector<std::size_t> first = equal_steps_of(t.nodes.front());
  std::size_t const steps = steps_of(t);
  if (steps == 1) first = {0};
  std::vector<accumulator> counts(steps);
  edit_set edits;  // of the last step
  for (std::size_t s = 0; s < steps; ++s) {
    stop_if_asked();
    if (first[s] != s) {
      counts[s] = counts[first[s]];
      for (auto& [node, parts] : out.parts) {
        std::size_t const each = plan_.nodes[node].combinations();
        for (std::size_t c = 0; c < each; ++c) parts.push_back(copy_of(parts[first[s] * each + c]));
      }
      continue;
    }
    step_input in = input_of_step(t, s);
    if (!in.name.empty()) report.round(s, steps, in.name);
    if (s == 0) longest = measure(t, members, in.over, in.data);
    step_pass pass;
    prepare_pass(pass, t, members, in, longest.value_or(item_lengths{}));
    out.items = in.data ? steps * pass.plan.items.size() : 0;
    auto made = finish_step(pass, counts[s], report);
    for (std::size_t k = 0; k < members.size(); ++k) out.parts[members[k].node].push_back(std::move(made[k]));
    if (s == first.back()) edits = std::move(in.edits);
  }
  out.counts = sum_of(counts);
  if (!edits.empty() && !out.counts.fields().empty()) {
    out.misses = edits.misses(out.counts["edited"]);
    out.spoils = edits.spoils(out.counts["edited"]);
  }
  return out;
}

void run::execute_probes(task const& t, console::part& report) {
  std::size_t const front = t.nodes.front();
  wire const* const model_wire = wire_of(front, port_kind::model);
  auto const members = members_of(t);
  node_state const* learner = model_wire && !states_[model_wire->node].steps.empty() ? &states_[model_wire->node] : nullptr;
  if (learner)
    for (auto const& a : axes_of_inputs(front))
      if (a.name == "step" && !(a == step_axis(learner->steps)))
        with_place(title(front), [] { throw usage_error("its inputs and its model have different steps"); });

  step_results found = measure_steps(t, members, report);
  for (auto const& miss : found.misses) report.warn(miss);
  hook_set captured;
  for (auto const& one : members) captured.add(*one.hooks);
  spoiled_values const spoiled(found.counts, captured, found.items, found.spoils);
  for (std::size_t const i : t.nodes) {
    std::vector<axis> axes = axes_of_sweep(plan_.nodes[i]);
    if (learner) axes.insert(axes.begin(), step_axis(learner->steps));
    with_place(title(i), [&] { put_together(i, std::move(axes), std::move(found.parts[i])); });
    hook_set needed;
    for (auto const& one : members)
      if (one.node == i) needed.add(*one.hooks);
    states_[i].spoiled = spoiled.reason(needed, true);
    if (!spoiled.reached(needed)) continue;
    states_[i].why_no_reason = spoiled.reason(needed, false);
    states_[i].out = spoiled.explain(std::move(states_[i].out), needed);
  }
}

}  // namespace wayfarer::host
