#include "pipeline/reading.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>

#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/strong_components.hpp>

namespace wayfarer::host {
namespace {

// A shortest way along wires from node i within its component back to it; empty if there is none.
std::vector<std::size_t> way_back(reading& file, std::size_t i, std::vector<int> const& part) {
  constexpr auto nobody = std::numeric_limits<std::size_t>::max();
  std::vector<std::size_t> from(file.out.nodes.size(), nobody);
  std::queue<std::size_t> next;
  next.push(i);
  while (!next.empty()) {
    auto const at = next.front();
    next.pop();
    for (auto const& w : file.out.nodes[at].wires) {
      if (part[w.node] != part[i]) continue;
      if (w.node == i) {
        std::vector<std::size_t> way;
        for (auto x = at; x != i; x = from[x]) way.push_back(x);
        way.push_back(i);
        std::reverse(way.begin(), way.end());
        return way;
      }
      if (from[w.node] != nobody) continue;
      from[w.node] = at;
      next.push(w.node);
    }
  }
  return {};
}

template <class Graph>
void report_cycles(reading& file, Graph const& graph) {
  auto const count = file.out.nodes.size();
  std::vector<int> part(count);
  auto const parts =
      boost::strong_components(graph, boost::make_iterator_property_map(part.begin(), boost::get(boost::vertex_index, graph)));
  std::vector<bool> seen(static_cast<std::size_t>(parts), false);
  for (std::size_t i = 0; i < count; ++i) {
    if (seen[static_cast<std::size_t>(part[i])]) continue;
    seen[static_cast<std::size_t>(part[i])] = true;
    auto const round = way_back(file, i, part);
    if (round.empty()) continue;
    auto& n = file.out.nodes[i];
    std::string names;
    for (auto const r : round) names += file.out.nodes[r].name + " -> ";
    // The first wire of the way: from i to the node that it reads.
    auto const next = round.size() > 1 ? round[1] : i;
    auto const w = std::find_if(n.wires.begin(), n.wires.end(), [&](wire const& x) { return x.node == next; });
    file.complain(
        n, file.wire_from.at({n.name, w->port}),
        round.size() == 1 ? "'" + n.name + "' is wired to itself" : "nodes read each other in a circle: " + names + n.name);
  }
}

}  // namespace

void put_in_order(reading& file) {
  auto const count = file.out.nodes.size();
  // Edges go from what is read to who reads it.
  boost::adjacency_list<boost::vecS, boost::vecS, boost::bidirectionalS> graph(count);
  for (std::size_t i = 0; i < count; ++i)
    for (auto const& w : file.out.nodes[i].wires) boost::add_edge(w.node, i, graph);
  report_cycles(file, graph);

  std::vector<std::size_t> order, waiting(count);
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  for (std::size_t i = 0; i < count; ++i) {
    waiting[i] = boost::in_degree(i, graph);
    if (waiting[i] == 0) ready.push(i);
  }
  while (!ready.empty()) {
    auto const i = ready.top();
    ready.pop();
    order.push_back(i);
    for (auto [e, end] = boost::out_edges(i, graph); e != end; ++e)
      if (--waiting[boost::target(*e, graph)] == 0) ready.push(boost::target(*e, graph));
  }
  for (std::size_t i = 0; i < count; ++i)
    if (waiting[i] > 0) {  // on a cycle or behind one
      file.out.nodes[i].sound = false;
      order.push_back(i);
    }

  std::vector<std::size_t> new_place(count);
  for (std::size_t i = 0; i < count; ++i) new_place[order[i]] = i;
  std::vector<plan_node> sorted;
  sorted.reserve(count);
  for (auto const i : order) sorted.push_back(std::move(file.out.nodes[i]));
  file.out.nodes = std::move(sorted);
  for (auto& n : file.out.nodes)
    for (auto& w : n.wires) w.node = new_place[w.node];
  for (auto& [name, i] : file.index) i = new_place[i];
  for (auto& n : file.out.nodes)
    for (auto const& w : n.wires) n.sound = n.sound && file.out.nodes[w.node].sound;
}

}  // namespace wayfarer::host
