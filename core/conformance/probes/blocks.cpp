// The rules split_invariance and merge_order: sums depend on the items, not on their blocks.
#include <cmath>

#include "conformance/probes/probe_case.hpp"

namespace wayfarer::host::conformance {
namespace {

/// What of the accumulators of single items is a sum: magnitudes, see compare().
accumulator magnitudes_of(probe_case const& c, transform const& change) {
  accumulator const total = c.on->nothing(c.what());
  for (auto const& b : c.on->blocks(c.on->items().size(), change)) {
    accumulator const one = c.on->observe(c.what(), b);
    for (auto const& [name, field] : one.fields()) {
      if (field.rows || !total.fields().contains(name) || total[name].shape() != one[name].shape()) continue;
      auto const from = one[name].values<double const>();
      auto const to = total[name].values<double>();
      for (std::size_t i = 0; i < to.size(); ++i) to[i] += std::abs(from[i]);
    }
  }
  return total;
}

/// Equal to rounding, or what to say.
void require_same(char const* rule, difference const& d, std::string const& how, reporter& out) {
  if (d.worst <= rounding64) return;
  if (d.worst <= rounding32)
    out.note(rule, how + ": " + d.what + ", as far apart as sums in float32 are; add up in float64");
  else
    throw violation(rule, how + ": " + d.what);
}

}  // namespace

void check_split(probe_case const& c, transform const& change, reporter& out) {
  accumulator const magnitudes = magnitudes_of(c, change);
  accumulator const one = c.on->sums(c.what(), c.on->blocks(1, change));
  for (std::size_t const n : {std::size_t{2}, std::size_t{7}, c.on->items().size()}) {
    accumulator const many = c.on->sums(c.what(), c.on->blocks(n, change));
    require_same("split_invariance", compare(one, many, magnitudes), "in one block, then in " + std::to_string(n), out);
    std::string const shape = first_difference(c.on->finish(c.what(), one), c.on->finish(c.what(), many), false);
    if (!shape.empty())
      throw violation("split_invariance", "the shape of '" + shape + "' depends on how items are cut into blocks");
  }
}

void check_merge_order(probe_case const& c, transform const& change, reporter& out) {
  accumulator const magnitudes = magnitudes_of(c, change);
  auto const blocks = c.on->blocks(7, change);
  accumulator const left = c.on->sums(c.what(), blocks);
  auto parts = c.on->observe_all(c.what(), blocks);
  while (parts.size() > 1) {
    c.what().merge(parts[parts.size() - 2], parts.back());
    parts.pop_back();
  }
  require_same("merge_order", compare(left, parts.front(), magnitudes), "((a b) c), then (a (b c))", out);
  // Nothing, before and after: what a process without work brings.
  for (bool const before : {true, false}) {
    auto with = c.on->observe_all(c.what(), blocks);
    with.insert(before ? with.begin() : with.end(), c.on->nothing(c.what()));
    require_same("merge_order", compare(left, rig::fold(c.what(), std::move(with)), magnitudes),
                 std::string("an accumulator of no items merged ") + (before ? "first" : "last"), out);
  }
}

}  // namespace wayfarer::host::conformance
