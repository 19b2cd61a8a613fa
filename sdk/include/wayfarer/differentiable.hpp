// Gradients of a model: what a model offers whose forward pass records itself (tape.hpp).
//
// The caller says what the scalar is: a loss of next tokens, or any scalar whose gradients by some hooks (by the logits, say) it
// knows, or a sum of both. It gets the scalar's gradients by other hooks and by weights, beside what the same pass captured. A
// gradient by a hook is the one by its activation, everything else held: what a small edit there would change. Gradients pass no
// edit but may begin behind one. What has no gradient yet is an error that names it.
//
//     gradient_request ask;
//     ask.loss.targets = next_tokens;
//     ask.of = m.info().hooks_for("blocks.*.hook_resid_post");
//     auto const got = dynamic_cast<differentiable_model const&>(m).differentiate(batch, ask);
//     tensor const g = got.by_hook.at("blocks.3.hook_resid_post", 0);     // [pos, d_model]
//
// Any thread; the same bytes for any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <wayfarer/backward.hpp>
#include <wayfarer/export.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/source.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// `weight` times the sum of -log probability of the targets, in nats.
struct token_loss {
  /// What each position should predict, in the packing of the batch's tokens; below 0: does not count. Empty: no loss.
  ragged<std::int32_t> targets{};
  double weight = 1;
};
/// The scalar's gradient by a hook: one tensor an item, of the shape in which the hook is captured.
struct hook_gradient {
  std::string hook;
  std::vector<tensor> items;
};
/// A weight as the model holds it in memory, and where its gradient is added: both contiguous, of as many numbers; the gradient
/// is of the precision of the pass.
struct weight_slot {
  tensor weight, gradient;
};

struct gradient_request {
  run_request forward{};  ///< captured and edited on the way; float32 or float64
  token_loss loss{};
  std::vector<hook_gradient> from{};
  hook_set of{};                       ///< hooks whose gradients are wanted
  std::vector<weight_slot> weights{};  ///< weights whose gradients are wanted
};

struct gradients {
  activations captured{}, by_hook{};
  double loss = 0;               ///< sum over the targets, without `weight`; nats
  std::size_t count = 0;         ///< targets that counted
  std::vector<double> losses{};  ///< of each token of the batch, without `weight`; 0 where its target does not count
};

/// Derive a model from it as well. Found by dynamic_cast.
struct WAYFARER_API differentiable_model {
  virtual ~differentiable_model();
  /// Throws what model::run throws; usage_error for what has no gradient; plugin_error for a request that does not fit.
  virtual gradients differentiate(batch const&, gradient_request const&) const = 0;
};

// ---- for models --------------------------------------------------------------------------------------------------------------

/// What a forward pass came to.
struct pass_end {
  rows state{};   ///< what the head's matrix reads; undefined if the pass stopped before
  rows logits{};  ///< at all positions, if the hook "logits" was asked for
};
/// `differentiate` of a model with this head, by its forward pass. The pass begins its rows on `taps::on_tape`, if there is one.
WAYFARER_API gradients differentiate(model_info const&, batch const&, gradient_request const&,
                                     std::function<pass_end(taps&)> const& forward, logit_head const&);

WAYFARER_LAYOUT(token_loss, targets, weight);
WAYFARER_LAYOUT(hook_gradient, hook, items);
WAYFARER_LAYOUT(weight_slot, weight, gradient);
WAYFARER_LAYOUT(gradient_request, forward, loss, from, of, weights);
WAYFARER_LAYOUT(gradients, captured, by_hook, loss, count, losses);
WAYFARER_INTERFACE_LAYOUT(differentiable_model, differentiate);
WAYFARER_LAYOUT(pass_end, state, logits);

}  // namespace wayfarer
