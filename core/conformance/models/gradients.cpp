// The rule gradients: what a model says of its gradients is what small edits do.
#include <algorithm>
#include <cmath>
#include <utility>

#include <wayfarer/differentiable.hpp>
#include <wayfarer/random.hpp>

#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {
namespace {

constexpr std::size_t most_hooks = 8;  // each costs two passes

/// Some hooks of the list, the first and the last among them.
std::vector<std::string> some_of(std::vector<std::string> const& all) {
  if (all.size() <= most_hooks) return all;
  std::vector<std::string> some;
  for (std::size_t i = 0; i < most_hooks; ++i) some.push_back(all[i * (all.size() - 1) / (most_hooks - 1)]);
  return some;
}

/// Each token should predict the one after it.
gradient_request ask_for_loss(batch const& b, std::vector<std::string> const& hooks) {
  gradient_request ask;
  ask.forward.precision = dtype::f64;
  ask.of = hook_set(hooks);
  for (std::size_t i = 0; i < b.items(); ++i) {
    auto const tokens = b.tokens[i];
    std::vector<std::int32_t> next(tokens.begin() + std::min<std::ptrdiff_t>(1, std::ssize(tokens)), tokens.end());
    next.resize(tokens.size(), -1);
    ask.loss.targets.push_back(next);
  }
  return ask;
}

/// The loss when a hook is moved along random directions, so far.
double loss_when_moved(differentiable_model const& m, model_case const& c, std::string const& hook, double by) {
  auto ask = ask_for_loss(c.tokens(), {});
  ask.forward.edits.push_back({hook, [&](edit_site const& at, tensor const& x) {
                                 random_stream draw(c.seed(), hook, at.item);
                                 for (double& v : x.values<double>()) {
                                   double const step = by * draw.normal();
                                   if (std::isfinite(v)) v += step;
                                 }
                               }});
  return m.differentiate(c.tokens(), ask).loss;
}

}  // namespace

void check_gradients(model_case const& c, reporter&) {
  auto const* const m = dynamic_cast<differentiable_model const*>(&c.m());
  if (!m) throw unmet_need("it gives no gradients");
  auto const hooks = some_of(c.every.names());
  batch const& b = c.tokens();
  gradients const got = m->differentiate(b, ask_for_loss(b, hooks)), again = m->differentiate(b, ask_for_loss(b, hooks));
  constexpr double step = 1e-6;
  for (auto const& hook : hooks) {
    double expected = 0, size = 0, length = 0;
    for (std::size_t i = 0; i < b.items(); ++i) {
      tensor const& g = got.by_hook.at(hook, i);
      if (!same_bytes(g, again.by_hook.at(hook, i)))
        throw violation("gradients", "asked for twice, the gradient by '" + hook + "' has other bytes");
      random_stream draw(c.seed(), hook, i);
      tensor const wide = g.to(dtype::f64);
      for (double const v : wide.values<double const>()) {
        double const along = draw.normal();
        expected += v * along, size += v * v, length += along * along;
      }
    }
    double const found = (loss_when_moved(*m, c, hook, step) - loss_when_moved(*m, c, hook, -step)) / (2 * step);
    if (!(std::abs(found - expected) <= 1e-5 * std::sqrt(size * length) + 1e-6))
      throw violation("gradients", "a small edit of '" + hook + "' changes the loss by " + std::to_string(found) +
                                       " for each unit, and the gradient says " + std::to_string(expected));
  }
}

}  // namespace wayfarer::host::conformance
