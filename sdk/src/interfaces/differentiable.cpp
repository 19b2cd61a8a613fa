#include <wayfarer/differentiable.hpp>

#include <span>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/tape.hpp>

namespace wayfarer {

differentiable_model::~differentiable_model() = default;

namespace {

void check(batch const& items, gradient_request const& request) {
  if (request.forward.precision != dtype::f32 && request.forward.precision != dtype::f64)
    throw usage_error("gradients are computed in float32 or float64, not in " + std::string(name_of(request.forward.precision)));
  bool const loss = !request.loss.targets.values.empty();
  if (!loss && request.from.empty())
    throw plugin_error("gradients were asked for, but of no scalar: give targets of a loss, or gradients by a hook");
  if (!loss) return;
  if (request.forward.last_logits_only) throw plugin_error("a loss is taken at all positions: last_logits_only can't be set");
  auto const &a = items.tokens, &b = request.loss.targets;
  bool fits = a.size() == b.size();
  for (std::size_t i = 0; fits && i < a.size(); ++i) fits = a[i].size() == b[i].size();
  if (!fits) throw plugin_error("a loss needs a target for each token of the batch, or a number below 0");
}

/// The scalar's loss, and its gradient on the tape.
void add_loss(gradients& out, tape& on, token_loss const& loss, pass_end const& end, logit_head const& head, bool backward) {
  auto const* const first = loss.targets.values.data() + loss.targets.offsets.front();
  std::span<std::int32_t const> const targets(first, loss.targets.offsets.back() - loss.targets.offsets.front());
  cross_entropy_result one;
  if (end.logits.defined()) {
    one = cross_entropy(end.logits.bare(), targets, loss.weight);
    on.seed(end.logits.recorded(), std::move(one.dx));
  } else {
    linear_weights const& w = head.weights;
    bool const of_matrix = on.wants(w.w), of_bias = on.wants(w.b);
    backward = backward && (of_matrix || of_bias || end.state.recorded().id != 0);
    one =
        cross_entropy(end.state.bare(), head, targets, loss.weight, {on.weight_gradient(w.w), on.weight_gradient(w.b)}, backward);
    if (backward) on.seed(end.state.recorded(), std::move(one.dx));
  }
  out.loss = one.loss, out.count = one.count, out.losses = std::move(one.losses);
}

}  // namespace

gradients differentiate(model_info const& info, batch const& items, gradient_request const& request,
                        std::function<pass_end(taps&)> const& forward, logit_head const& head) {
  check(items, request);
  bool const loss = !request.loss.targets.values.empty(), backward = !request.of.empty() || !request.weights.empty();
  tape on;
  for (auto const& w : request.weights) on.want(w.weight, w.gradient);
  std::vector<std::string> seeded;
  for (auto const& one : request.from) seeded.push_back(one.hook);
  taps at(info, request.forward, &on, {request.of, hook_set(std::move(seeded)), loss});
  gradients out;
  pass_end end = forward(at);
  out.captured = at.take();
  if (loss) add_loss(out, on, request.loss, end, head, backward);
  for (auto const& one : request.from) at.seed(one.hook, one.items);
  end = {};  // what the way back does not read need not stay
  if (backward) on.back();
  out.by_hook = at.gradients();
  return out;
}

}  // namespace wayfarer
