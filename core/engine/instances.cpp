#include "engine/instances.hpp"

#include <algorithm>
#include <utility>

#include <wayfarer/parameter_error.hpp>
#include <wayfarer/pretrained.hpp>

#include "engine/node_problems.hpp"
#include "pipeline/facts.hpp"

namespace wayfarer::host {
namespace {

template <class T>
T* at_port(std::vector<instance>& all, plan_node const& node, port_kind kind, std::unique_ptr<T> instance::*which) {
  for (auto const& w : node.wires)
    if (w.kind == kind && w.port.find('.') == std::string::npos) return (all[w.node].*which).get();
  return nullptr;
}

void make(plan_node const& node, config const& parameters, std::vector<instance>& all, instance& mine) {
  switch (node.what->kind()) {
    case plugin_kind::source:
      mine.source = node.what->create<source>(parameters);
      return;
    case plugin_kind::metric:
      mine.metric = node.what->create<metric>(parameters);
      return;
    case plugin_kind::model:
      mine.model = node.what->create<model>(parameters);
      for (auto const& w : node.wires) mine.trains = mine.trains || w.port == "train.source";
      if (mine.trains && !dynamic_cast<trainable_model const*>(mine.model.get()))
        throw plugin_error("it declares the port train.source but is not a trainable_model");
      return;
    case plugin_kind::probe:
      mine.probe = node.what->create<probe>(parameters);
      if (auto const* m = at_port(all, node, port_kind::model, &instance::model)) mine.hooks = mine.probe->needs(m->info());
      return;
  }
}

fact_map own_facts(instance const& one) {
  return one.source ? one.source->info().facts : one.model ? one.model->info().facts : fact_map{};
}

/// Whether all combinations of a swept probe measure things of one shape, as their results are put together. Seen from what they
/// gather of each item, before any is read.
void check_sweep(plan_node const& node, instance const& mine, model const* m, source const* data) {
  if (node.combinations() < 2 || !mine.probe || !data) return;
  item_lengths longest = m ? bound_of(node, data->info(), m->info()) : item_lengths{};
  // Any length will do, as long as it is the same for all.
  if (longest.tokens == 0) longest.tokens = 64;
  if (longest.decoder == 0) longest.decoder = 64;
  probe_context const context(m, data, items_of(node, data->info()), 0, longest.tokens, longest.decoder);
  // What can't be shaped before a run is left to it.
  auto const shaped = [&](instance const& one, accumulator& fields) {
    try {
      one.probe->shape(fields, context);
      return true;
    } catch (std::exception const&) {
      return false;
    }
  };
  accumulator first(0);
  if (!shaped(mine, first)) return;
  for (std::size_t c = 1; c < node.combinations(); ++c) {
    instance const& other = mine.at(c);
    accumulator next(0);
    if (!shaped(other, next)) return;
    auto const refuse = [&](std::string const& what) {
      throw usage_error("'sweep' changes " + what + " between " + node.name_of_combination(0) + " and " +
                        node.name_of_combination(c) + ", so their results can't be combined; make separate nodes of them");
    };
    for (auto const* side : {&first, &next})
      for (auto const& [name, f] : side->fields()) {
        auto const here = first.fields().find(name), there = next.fields().find(name);
        if (here == first.fields().end() || there == next.fields().end()) refuse("whether there is '" + name + "'");
        bool const counts = f.rows || mine.hooks.size() != other.hooks.size();
        if (counts && here->second.values.shape() != there->second.values.shape())
          refuse("the shape of '" + name + "', [" + describe(here->second.values.shape()) + "] and [" +
                 describe(there->second.values.shape()) + "],");
      }
  }
}

/// What a probe can tell of its model and its items before a run. `shapes`: its needs are met, so that it can say what it
/// gathers.
void check_reader(plan_node const& node, probe const& one, model const* m, source const* data, bool shapes) {
  auto const* checker = dynamic_cast<plan_checker const*>(&one);
  if (!data) {
    if (checker) checker->check_plan(probe_context(m, nullptr, {0, 0}, 0));
    return;
  }
  source_info const& info = data->info();
  if (node.items && node.items->size() != 0 && info.items <= node.items->first)
    throw usage_error("'items' " + std::to_string(node.items->first) + ":" + std::to_string(node.items->last) +
                      " names none of the " + std::to_string(info.items) + " items of its source; they count from 0");
  item_range const items = items_of(node, info);
  item_lengths const longest = m ? bound_of(node, info, m->info()) : item_lengths{};
  probe_context const context(m, data, items, 0, longest.tokens, longest.decoder);
  if (checker) checker->check_plan(context);
  if (!shapes) return;
  accumulator fields(0);
  one.shape(fields, context);
}

/// Makes what it can of a combination of a probe with mistakes, and looks at it: each time without the values that were told.
void look_at_remainder(plan_node const& node, std::size_t c, instance& mine, model const* m, source const* data,
                       node_problems& wrong) {
  remaining_values left(node, c);
  left.leave_out(wrong.told_of(c));
  for (bool again = true; again && left.complete();) {
    probe_remainder one{c, left, nullptr, {}};
    bool needs_met = false;
    wrong.none_in(c, left, [&] {
      one.probe = node.what->create<probe>(left.values());
      if (m) one.hooks = one.probe->needs(m->info());
      needs_met = true;
      check_reader(node, *one.probe, m, data, true);
    });
    again = left.leave_out(wrong.told_of(c));
    if (!again && needs_met) mine.remainders.push_back(std::move(one));
  }
}

/// Whether all that a node needs is wired to it.
bool is_wired(plan_node const& node) {
  return std::all_of(node.what->ports().begin(), node.what->ports().end(),
                     [&](port_descriptor const& p) { return p.optional || node.find_wire(p.name); });
}

/// Reads the values of a node's edits and checks the edits. `mine`: the node's probe, if it could be made.
void look_at_edits(plan_node const& node, instance& mine, model const* m, source const* data, std::vector<problem>& problems) {
  if (node.edits.empty() || !m || !data) return;
  mine.edit_values = read_edit_values(node, problems);
  item_lengths const longest = mine.asks_for_hooks() ? bound_of(node, data->info(), m->info()) : item_lengths{};
  check_edits(node, m->info(), data->info(), mine.edit_values, longest, problems);
}

/// What a model that learns can tell of the items that it learns from, before it does.
void check_training(plan_node const& node, instance const& mine, source const* data) {
  if (!mine.trains || !data || data->info().items == 0) return;
  for (std::size_t c = 0; c < node.combinations(); ++c)
    if (auto const* checker = dynamic_cast<plan_checker const*>(mine.at(c).model.get()))
      checker->check_plan(probe_context(mine.at(c).model.get(), data, {0, data->info().items}, 0, 0, 0));
}

source const* taught_by(plan_node const& node, std::vector<instance> const& all) {
  for (auto const& w : node.wires)
    if (w.port == "train.source") return all[w.node].source.get();
  return nullptr;
}

/// Tokens that one block is to hold: enough for the matrix products, few enough for memory.
constexpr std::size_t block_tokens = 4096, most_block_items = 64;

std::uint64_t bytes_of_item(hook_info const& h, item_lengths const& longest, std::uint64_t width, std::uint64_t heads) {
  auto const length = [&](positions p) { return std::uint64_t{p == positions::tokens ? longest.tokens : longest.decoder}; };
  std::uint64_t n = width * length(h.along);
  if (h.per_pair) n *= length(h.keys) * std::max<std::uint64_t>(1, heads);
  for (auto const& d : h.row) n *= d.size;
  return n;
}

/// The order in which nodes are made: that of the plan, but models that wait for nothing but sources before all probes, as facts
/// of those who learn from a source reach who else reads it.
std::vector<std::size_t> models_first(plan const& p) {
  std::vector<std::size_t> order;
  std::vector<bool> early(p.nodes.size());
  for (bool const now : {true, false})
    for (std::size_t i = 0; i < p.nodes.size(); ++i) {
      plan_node const& n = p.nodes[i];
      bool const front = n.kind == plugin_kind::source || n.kind == plugin_kind::model;
      if (now) early[i] = front && std::all_of(n.wires.begin(), n.wires.end(), [&](wire const& w) { return early[w.node]; });
      if (early[i] == now) order.push_back(i);
    }
  return order;
}

}  // namespace

bool instance::asks_for_hooks() const noexcept {
  return !hooks.empty() ||
         std::any_of(remainders.begin(), remainders.end(), [](probe_remainder const& r) { return !r.hooks.empty(); });
}

std::vector<instance> make_instances(plan& p, std::vector<problem>& problems) {
  std::vector<instance> all(p.nodes.size());
  std::vector<known_facts> facts(p.nodes.size());
  for (std::size_t const i : models_first(p)) {
    plan_node const& node = p.nodes[i];
    bool const fed = node.what && std::all_of(node.wires.begin(), node.wires.end(), [&](wire const& w) {
                       instance const& from = all[w.node];
                       return from.source || from.model || from.probe || from.metric;
                     });
    bool const ready = fed && node.sound;
    auto const* m = at_port(all, node, port_kind::model, &instance::model);
    auto const* data = at_port(all, node, port_kind::source, &instance::source);
    node_problems wrong(node, m, problems);
    auto const look_at_rest = [&] {
      for (std::size_t c = 0; fed && is_wired(node) && node.kind == plugin_kind::probe && c < node.combinations(); ++c)
        look_at_remainder(node, c, all[i], m, data, wrong);
    };
    if (!ready) {
      // What can be seen of a node with other mistakes is said beside them.
      if (!node.what || node.sound) continue;
      wrong.report_hooks();
      look_at_rest();
      wrong.none_in(0, [&] { look_at_edits(node, all[i], m, data, problems); });
      continue;
    }
    take_facts(p, i, facts, problems);
    bool made = true;
    for (std::size_t c = 0; c < node.combinations(); ++c) {
      if (c != 0) all[i].more.emplace_back();
      made &= wrong.none_in(c, [&] { make(node, node.parameters_of(c), all, c == 0 ? all[i] : all[i].more.back()); });
    }
    bool good = made;
    for (std::size_t c = 0; c < node.combinations(); ++c)
      if (all[i].at(c).probe) good &= wrong.none_in(c, [&] { check_reader(node, *all[i].at(c).probe, m, data, made); });
    if (!good) look_at_rest();
    good &= wrong.none_in(0, [&] { look_at_edits(node, all[i], m, data, problems); });
    if (made) {
      facts[i] = facts_of(p, i, facts, own_facts(all[i]));
      good &= wrong.none_in(0, [&] { check_training(node, all[i], taught_by(node, all)); });
      good = good && wrong.none_in(0, [&] { check_sweep(node, all[i], m, data); });
    }
    if (!good) {
      instance rest;
      rest.edit_values = std::move(all[i].edit_values), rest.remainders = std::move(all[i].remainders);
      all[i] = std::move(rest);
    }
  }
  return all;
}

std::vector<file_remark> look_at_files(plan const& p, std::vector<instance> const& all, std::vector<problem>& problems) {
  std::vector<file_remark> remarks;
  auto const report = [&](std::size_t i, error const& e) {
    plan_node const& node = p.nodes[i];
    problems.push_back({node.at, node.name + " (" + std::string(node.what->id()) + "): " + e.what(), e.exit_code()});
  };
  for (std::size_t i = 0; i < p.nodes.size(); ++i) {
    auto* const files = dynamic_cast<pretrained*>(all[i].model.get());
    if (!files) continue;
    hook_set needed;
    std::vector<std::size_t> readers;  // probes that give it texts
    for (std::size_t k = 0; k < p.nodes.size(); ++k) {
      source const* data = nullptr;
      bool mine = false;
      for (auto const& w : p.nodes[k].wires) {
        if (is_edit(w) || w.port.find('.') != std::string::npos) continue;
        if (w.kind == port_kind::source) data = all[w.node].source.get();
        mine = mine || (w.kind == port_kind::model && w.node == i);
      }
      if (!mine || !all[k].probe) continue;
      for (std::size_t c = 0; data && c < p.nodes[k].combinations(); ++c) needed.add(all[k].at(c).hooks);
      if (data && data->info().has_texts && !data->info().has_tokens && !all[k].hooks.empty()) readers.push_back(k);
    }
    try {
      files->look(needed);
    } catch (error const& e) {
      report(i, e);
    }
    if (!readers.empty()) {
      try {
        require_tokenizer(all[i].model->info(), all[i].model->text_tokenizer());
      } catch (error const& e) {
        report(readers.front(), e);
      }
    }
    try {
      for (auto& text : files->remarks()) remarks.push_back({i, std::move(text)});
    } catch (error const& e) {
      report(i, e);
    }
  }
  return remarks;
}

std::vector<task> tasks_of(plan const& p) {
  auto const wire_of = [&](std::size_t i, port_kind kind) -> wire const* {
    for (auto const& w : p.nodes[i].wires)
      if (w.kind == kind && !is_edit(w)) return &w;
    return nullptr;
  };
  std::vector<task> tasks;
  for (std::size_t i = 0; i < p.nodes.size(); ++i) {
    plan_node const& node = p.nodes[i];
    auto same_sweep = [&](task const& t) {
      std::size_t const k = t.nodes.front();
      plan_node const& other = p.nodes[k];
      auto same = [&](port_kind kind) {
        wire const *a = wire_of(i, kind), *b = wire_of(k, kind);
        return (!a && !b) || (a && b && a->node == b->node);
      };
      return other.kind == plugin_kind::probe && same(port_kind::model) && same(port_kind::source) &&
             !wire_of(i, port_kind::results) && !wire_of(k, port_kind::results) && other.items == node.items &&
             other.max_tokens == node.max_tokens && other.block == node.block && other.precision == node.precision &&
             other.edits == node.edits;
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

std::size_t block_items(plan_node const& node, std::size_t longest) noexcept {
  if (node.block != 0) return node.block;
  return longest == 0 ? most_block_items : std::clamp<std::size_t>(block_tokens / longest, 1, most_block_items);
}

item_range items_of(plan_node const& node, source_info const& info) noexcept {
  item_range r = node.items.value_or(item_range{0, info.items});
  r.last = std::min(r.last, info.items);
  r.first = std::min(r.first, r.last);
  return r;
}

item_lengths bound_of(plan_node const& node, source_info const& data, model_info const& m) noexcept {
  auto const cut = [&](std::size_t n) {
    for (std::size_t const limit : {node.max_tokens, m.longest})
      if (limit != 0 && (n == 0 || limit < n)) n = limit;
    return n;
  };
  // Tokens are taken as they are; around words models may put a token at either end. How many tokens a text has, only its
  // tokenizer knows.
  bool const counted = data.longest != 0 && (data.has_words || data.has_tokens);
  return {cut(counted ? data.longest + (data.has_tokens ? 0 : 2) : 0), m.family == model_family::encoder_decoder ? cut(0) : 0};
}

std::uint64_t item_bytes(plan_node const& node, model_info const& m, hook_set const& hooks,
                         item_lengths const& longest) noexcept {
  std::uint64_t bytes = 0;
  for (auto const& name : hooks.names())
    if (auto const* h = m.find_hook(name))
      bytes += bytes_of_item(*h, longest, node.precision == dtype::f64 ? sizeof(double) : sizeof(float), m.heads);
  return bytes;
}

std::uint64_t row_bytes(probe const& what, probe_context const& context) {
  // Without items, so that nothing is allocated: shapes tell all.
  accumulator none(0);
  what.shape(none, context);
  std::uint64_t bytes = 0;
  for (auto const& [name, f] : none.fields()) {
    if (!f.rows) continue;
    auto const& shape = f.values.shape();
    bytes += element_count({shape.begin() + 1, shape.end()}) * size_of(f.values.type());
  }
  return bytes;
}

forecast predict(plan const& p, std::vector<instance> const& all) {
  forecast f;
  for (auto const& t : tasks_of(p)) {
    plan_node const& front = p.nodes[t.nodes.front()];
    source const* data = nullptr;
    model const* m = nullptr;
    for (auto const& w : front.wires) {
      if (is_edit(w)) continue;
      if (w.kind == port_kind::source && w.port.find('.') == std::string::npos) data = all[w.node].source.get();
      if (w.kind == port_kind::model) m = all[w.node].model.get();
    }
    if (front.kind != plugin_kind::probe || !data) continue;
    item_range const items = items_of(front, data->info());
    item_lengths const longest = m ? bound_of(front, data->info(), m->info()) : item_lengths{};
    forecast::pass pass;
    pass.nodes = t.nodes, pass.items = items.size(), pass.tokens = longest.tokens;
    pass.block = std::min(block_items(front, longest.tokens), std::max<std::size_t>(1, items.size()));
    hook_set captured;
    std::uint64_t rows_of_item = 0;
    for (std::size_t const i : t.nodes) {
      forecast::part part{i, items.size()};
      for (std::size_t c = 0; c < p.nodes[i].combinations(); ++c) {
        instance const& one = all[i].at(c);
        if (!one.probe) continue;
        captured.add(one.hooks);
        std::uint64_t const bytes = row_bytes(*one.probe, probe_context(m, data, items, 0, longest.tokens, longest.decoder));
        // Rows that depend on the longest item show it.
        std::uint64_t const longer =
            m ? row_bytes(*one.probe, probe_context(m, data, items, 0, longest.tokens + 1, longest.decoder + 1)) : bytes;
        part.at_most = part.at_most || longer != bytes;
        part.unknown = part.unknown || (longer != bytes && longest.tokens == 0);
        part.file_bytes += bytes * items.size();
        rows_of_item += bytes;
      }
      f.parts.push_back(part);
    }
    pass.hooks = captured.size();
    pass.unknown = m && longest.tokens == 0 && pass.hooks != 0;
    pass.block_bytes = rows_of_item * pass.block;
    if (m) pass.block_bytes += item_bytes(front, m->info(), captured, longest) * pass.block;
    f.passes.push_back(std::move(pass));
  }
  return f;
}

}  // namespace wayfarer::host
