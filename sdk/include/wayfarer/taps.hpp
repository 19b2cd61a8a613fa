// How a forward pass gives access to activations: each passes through a tap, which captures or edits it on request.
//
//     taps at(info(), request);
//     auto const here = at.block("blocks", 3);                 // "blocks.3."
//     x = here("hook_resid_pre", std::move(x));                // a name within the block
//     layer_norm(x, ln1, here.in("ln1"));                      // the layer taps "blocks.3.ln1.hook_scale" and so on
//
// Names are resolved once a run, into a sorted table; `block` and `in` narrow the table, so a tap in a part without requested
// hooks costs one comparison. A pass whose gradients are wanted has a tape (tape.hpp), on which its taps watch hooks and mark
// those that gradients begin at. One object a run, used by the thread that runs the pass; edits of different items run in
// parallel.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/tape.hpp>

namespace wayfarer {

class taps;

/// The taps of one part of a model. A small handle; the `taps` that it came from must outlive it.
class WAYFARER_API tap_scope {
 public:
  /// Returns the activation: edited, then captured, if that was requested.
  rows operator()(std::string_view name, rows x) const { return first_ == last_ ? std::move(x) : visit(name, std::move(x)); }
  pairs operator()(std::string_view name, pairs x) const { return first_ == last_ ? std::move(x) : visit(name, std::move(x)); }
  /// Whether this hook was asked for, to be captured, edited or for its gradient, so that it must be computed exactly.
  bool wants(std::string_view name) const noexcept { return first_ != last_ && find(name) != last_; }
  bool edits(std::string_view name) const noexcept;
  /// Whether any hook in this part was asked for.
  bool any() const noexcept { return first_ != last_; }
  tap_scope in(std::string_view part) const noexcept;
  tap_scope block(std::string_view stack, std::size_t i) const noexcept;

  /// The whole name of a hook that was asked for, for messages.
  std::string name_of(std::string_view name) const;
  /// The tape of this pass; null if it has none, or if no hook in this part was asked for.
  tape* on_tape() const noexcept;
  /// For the layer that makes a hook over pairs: where its gradient goes, zeros once the hook was tapped. Null if it is not
  /// wanted.
  std::shared_ptr<pairs> gradient_of_pairs(std::string_view name) const;

 private:
  template <class>
  friend struct layout_of;
  friend class taps;
  rows visit(std::string_view name, rows x) const;
  pairs visit(std::string_view name, pairs x) const;
  std::size_t find(std::string_view name) const noexcept;
  taps* of_ = nullptr;
  std::size_t first_ = 0, last_ = 0, prefix_ = 0;  // entries [first_, last_) share this many characters
};

/// What a pass is asked for beside a run_request, if gradients are wanted.
struct gradient_taps {
  hook_set watched{};       ///< hooks whose gradients are wanted
  hook_set seeded{};        ///< hooks at which gradients begin
  bool to_the_end = false;  ///< the pass must reach its last state, whatever hooks were asked for
};

class WAYFARER_API taps {
 public:
  /// Throws usage_error, with near names, for a hook that the model does not have. `record`: the tape that the pass is recorded
  /// on, which must outlive it.
  taps(model_info const&, run_request const&, tape* record = nullptr, gradient_taps const& = {});
  taps(taps const&) = delete;
  taps& operator=(taps const&) = delete;

  tap_scope all() noexcept;
  rows operator()(std::string_view name, rows x) { return all()(name, std::move(x)); }
  tap_scope in(std::string_view part) noexcept { return all().in(part); }
  tap_scope block(std::string_view stack, std::size_t i) noexcept { return all().block(stack, i); }
  bool wants(std::string_view name) noexcept { return all().wants(name); }
  tape* on_tape() const noexcept { return on_; }

  /// Whether all that was asked for has been reached: the rest of the pass need not run.
  bool done() const noexcept { return left_ == 0; }
  /// What was captured. Throws plugin_error for a hook that was asked for and not reached.
  activations take();
  /// Begins a gradient at a hook that was asked for as `seeded`: one tensor an item, of the shape in which it is captured.
  void seed(std::string_view hook, std::vector<tensor> const& per_item);
  /// The gradients of the hooks that were watched, once the tape was walked. Throws usage_error for one that has none yet.
  activations gradients();

 private:
  template <class>
  friend struct layout_of;
  friend class tap_scope;
  struct entry {
    std::string name;
    hook_info const* hook;
    bool capture;
    std::vector<hook_edit const*> edits;
    bool fired;
    std::vector<tensor> kept;
    bool watched, seeded, served;
    recorded_value value;
    std::shared_ptr<pairs> gradient;  // of a hook over pairs; `served` once the layer that makes them has asked for it
    bool needed() const noexcept { return capture || watched || seeded; }
  };
  void take_note(entry&, rows& x);
  std::vector<entry> entries_;  // by name
  std::size_t left_ = 0;
  tape* on_ = nullptr;
};

WAYFARER_LAYOUT(tap_scope, of_, first_, last_, prefix_);
WAYFARER_LAYOUT(gradient_taps, watched, seeded, to_the_end);
WAYFARER_INNER_LAYOUT(taps, 1, entry, name, hook, capture, edits, fired, kept, watched, seeded, served, value, gradient);
WAYFARER_LAYOUT(taps, entries_, left_, on_);

}  // namespace wayfarer
