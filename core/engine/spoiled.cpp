#include "engine/spoiled.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <wayfarer/findings.hpp>
#include <wayfarer/parallel.hpp>

#include "text/numbers.hpp"

namespace wayfarer::host {
namespace {

constexpr char field[] = "spoiled";

template <class T>
oddity oddity_among(std::span<T const> values, bool masked) {
  // Squares and products of what is larger leave float32; float64 has room.
  T const most = sizeof(T) == 4 ? T(1e18) : std::numeric_limits<T>::max();
  // What is not seen has the lowest score.
  T const least = masked ? -std::numeric_limits<T>::infinity() : -most;
  std::size_t odd = 0;
  for (T const v : values) odd += v >= least && v <= most ? 0 : 1;
  oddity out;
  if (odd == 0) return out;
  for (T const v : values) {
    if (v >= least && v <= most) continue;
    (std::isfinite(v) ? out.too_large : out.not_finite) = true;
  }
  return out;
}

}  // namespace

oddity oddity_of(tensor const& given, bool masked) {
  tensor const t = given.contiguous() ? given : given.clone();
  switch (t.type()) {
    case dtype::f32:
      return oddity_among(t.values<float const>(), masked);
    case dtype::f64:
      return oddity_among(t.values<double const>(), masked);
    default:
      return {};
  }
}

void define_spoiled(accumulator& counts, hook_set const& captured) {
  counts.define(field, {{"hook", captured.size()}, {"what", 2}});
}

void count_spoiled(activations const& seen, hook_set const& captured, model_info const& m, std::size_t items,
                   accumulator& counts) {
  auto const to = counts[field].view<double>();
  parallel_for(captured.size(), [&](std::size_t h) {
    std::string const& name = captured.names()[h];
    hook_info const* const info = m.find_hook(name);
    for (std::size_t i = 0; i < items; ++i) {
      oddity const odd = oddity_of(seen.at(name, i), info && info->per_pair);
      to(h, 0) += odd.not_finite ? 1 : 0;
      to(h, 1) += odd.any() ? 1 : 0;
    }
  });
}

spoiled_values::spoiled_values(accumulator const& counts, hook_set const& captured, std::size_t items, std::string from_edits)
    : items_(items), from_edits_(std::move(from_edits)) {
  // Nothing was captured by a sweep where probes make their own passes, or read weights alone.
  if (counts.fields().find(field) == counts.fields().end()) return;
  auto const n = counts[field].view<double const>();
  for (std::size_t h = 0; h < captured.size(); ++h)
    if (n(h, 1) != 0)
      hooks_.push_back({captured.names()[h], static_cast<std::size_t>(n(h, 0)), static_cast<std::size_t>(n(h, 1))});
}

bool spoiled_values::reached(hook_set const& needed) const {
  return !from_edits_.empty() || std::any_of(hooks_.begin(), hooks_.end(), [&](of_hook const& h) { return needed.has(h.name); });
}

std::string spoiled_values::reason(hook_set const& needed, bool surely) const {
  if (!from_edits_.empty()) return from_edits_;
  of_hook const* first = nullptr;
  std::size_t others = 0;
  for (auto const& h : hooks_) {
    if (!needed.has(h.name) || (surely && h.not_finite == 0)) continue;
    if (first)
      ++others;
    else
      first = &h;
  }
  if (!first) return "";
  std::size_t const n = first->not_finite != 0 ? first->not_finite : first->odd;
  return "values of " + first->name + (others == 0 ? "" : " and of " + counted(others, "more hook")) +
         (first->not_finite != 0 ? " are not finite in " : " are beyond 1e18 in ") + format_count(n) + " of " +
         counted(items_, "item");
}

results with_reason(results&& from, std::string const& why, std::function<bool(std::string const& dataset)> const& gets) {
  results out;
  out.summarise(from.summary());
  for (auto const& name : from.names()) {
    dataset d = from.at(name);
    if (!d.is_text() && gets(name)) d.missing(why);
    out.add(name, std::move(d));
  }
  return out;
}

results spoiled_values::explain(results&& from, hook_set const& needed) const {
  std::string const why = reason(needed, false);
  if (!from.summary().empty()) from.summarise(from.summary() + "; but " + why);
  return with_reason(std::move(from), why, [&](std::string const& dataset) {
    return !needed.has(dataset) || std::any_of(hooks_.begin(), hooks_.end(), [&](of_hook const& h) { return h.name == dataset; });
  });
}

}  // namespace wayfarer::host
