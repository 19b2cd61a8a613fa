// What reads other nodes' results, once for each combination of the axes along which those were run.
#include <algorithm>
#include <span>

#include <wayfarer/hooks.hpp>
#include <wayfarer/stopping.hpp>

#include "engine/run.hpp"
#include "engine/spoiled.hpp"

namespace wayfarer::host {

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

}  // namespace wayfarer::host
