#include "pipeline/plan.hpp"

#include <algorithm>

namespace wayfarer::host {

wire const* plan_node::find_wire(std::string_view port) const noexcept {
  for (auto const& w : wires)
    if (w.port == port) return &w;
  return nullptr;
}

origin plan_node::origin_of(std::string_view parameter, std::size_t i, std::size_t combination) const {
  for (auto s = sweep.rbegin(); s != sweep.rend(); combination /= s->given.size(), ++s)
    if (s->name == parameter) return s->origins[combination % s->given.size()];
  auto const found = origins.find(parameter);
  if (found == origins.end() || found->second.empty()) return {at, {}};
  return found->second[std::min(i, found->second.size() - 1)];
}

std::string plan_node::name_of_combination(std::size_t i) const {
  std::string all;
  for (auto s = sweep.rbegin(); s != sweep.rend(); ++s) {
    all = s->name + "=" + s->given[i % s->given.size()] + (all.empty() ? "" : ", ") + all;
    i /= s->given.size();
  }
  return all;
}

}  // namespace wayfarer::host
