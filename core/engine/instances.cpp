#include "engine/instances.hpp"

#include <algorithm>

namespace wayfarer::host {
namespace {

template <class T>
T* at_port(std::vector<instance>& all, plan_node const& node, port_kind kind, std::unique_ptr<T> instance::*which) {
  for (auto const& w : node.wires)
    if (w.kind == kind && w.port.find('.') == std::string::npos) return (all[w.node].*which).get();
  return nullptr;
}

void make(plan_node const& node, std::vector<instance>& all, instance& mine) {
  switch (node.what->kind()) {
    case plugin_kind::source:
      mine.source = node.what->create<source>(node.parameters);
      return;
    case plugin_kind::metric:
      mine.metric = node.what->create<metric>(node.parameters);
      return;
    case plugin_kind::model:
      mine.model = node.what->create<model>(node.parameters);
      for (auto const& w : node.wires) mine.trains = mine.trains || w.port == "train.source";
      if (mine.trains && !dynamic_cast<trainable_model const*>(mine.model.get()))
        throw plugin_error("it declares the port train.source but is no trainable_model");
      return;
    case plugin_kind::probe:
      mine.probe = node.what->create<probe>(node.parameters);
      if (auto const* m = at_port(all, node, port_kind::model, &instance::model)) mine.hooks = mine.probe->needs(m->info());
      return;
  }
}

std::uint64_t bytes_of_item(hook_info const& h, std::uint64_t positions) {
  std::uint64_t n = sizeof(float) * positions * (h.per_pair ? positions : 1);
  for (auto const& d : h.row) n *= d.size;
  return n;
}

}  // namespace

std::vector<instance> make_instances(plan const& p, std::vector<problem>& problems) {
  std::vector<instance> all(p.nodes.size());
  for (std::size_t i = 0; i < p.nodes.size(); ++i) {
    plan_node const& node = p.nodes[i];
    bool const ready = node.sound && node.what && std::all_of(node.wires.begin(), node.wires.end(), [&](wire const& w) {
                         instance const& from = all[w.node];
                         return from.source || from.model || from.probe || from.metric;
                       });
    if (!ready) continue;
    auto report = [&](std::string_view text, int code) {
      problems.push_back({node.at, node.name + " (" + std::string(node.what->id()) + "): " + std::string(text), code});
      all[i] = {};
    };
    try {
      make(node, all, all[i]);
    } catch (error const& e) {
      report(e.what(), e.exit_code());
    } catch (std::exception const& e) {
      report(std::string("the plugin failed: ") + e.what() + " (" + node.what->library().string() + ")", 4);
    } catch (...) {
      report("the plugin threw something that is no exception (" + node.what->library().string() + ")", 4);
    }
  }
  return all;
}

std::size_t block_items(plan_node const& node) noexcept {
  return node.block != 0 ? node.block : 64;
}

item_range items_of(plan_node const& node, source_info const& info) noexcept {
  item_range r = node.items.value_or(item_range{0, info.items});
  r.last = std::min(r.last, info.items);
  r.first = std::min(r.first, r.last);
  return r;
}

std::uint64_t block_bytes(plan_node const& node, source_info const& data, model_info const& m, hook_set const& hooks) noexcept {
  std::uint64_t positions = data.longest + 2;  // models may put a token at either end
  if (node.max_tokens != 0) positions = std::min<std::uint64_t>(positions, node.max_tokens);
  std::uint64_t bytes = 0;
  for (auto const& name : hooks.names())
    if (auto const* h = m.find_hook(name)) bytes += bytes_of_item(*h, positions);
  return bytes * std::min(block_items(node), items_of(node, data).size());
}

forecast predict(plan const& p, std::vector<instance> const& all) {
  forecast f;
  for (std::size_t i = 0; i < p.nodes.size(); ++i) {
    plan_node const& node = p.nodes[i];
    source const* data = nullptr;
    model const* m = nullptr;
    for (auto const& w : node.wires) {
      if (w.kind == port_kind::source) data = all[w.node].source.get();
      if (w.kind == port_kind::model) m = all[w.node].model.get();
    }
    if (!all[i].probe || !data) continue;
    item_range const items = items_of(node, data->info());
    if (m) f.block_bytes = std::max(f.block_bytes, block_bytes(node, data->info(), m->info(), all[i].hooks));
    accumulator one(1);
    all[i].probe->shape(one, probe_context(m, data, items, 0));
    for (auto const& [name, field] : one.fields())
      if (field.rows) f.row_bytes += field.values.bytes() * items.size();
  }
  return f;
}

}  // namespace wayfarer::host
