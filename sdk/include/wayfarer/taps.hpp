// How a forward pass gives access to activations: each passes through a tap, which captures or edits it on request.
//
//     taps at(info(), request);
//     auto const here = at.block("blocks", 3);                 // "blocks.3."
//     x = here("hook_resid_pre", std::move(x));                // a name within the block
//     layer_norm(x, ln1, here.in("ln1"));                      // the layer taps "blocks.3.ln1.hook_scale" and so on
//
// Names are resolved once a run, into a sorted table; `block` and `in` narrow the table, so a tap in a part without requested
// hooks costs one comparison. One object a run, used by the thread that runs the pass; edits of different items run in parallel.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/rows.hpp>

namespace wayfarer {

class taps;

/// The taps of one part of a model. A small handle; the `taps` that it came from must outlive it.
class WAYFARER_API tap_scope {
 public:
  /// Returns the activation: edited, then captured, if that was requested.
  rows operator()(std::string_view name, rows x) const { return first_ == last_ ? std::move(x) : visit(name, std::move(x)); }
  pairs operator()(std::string_view name, pairs x) const { return first_ == last_ ? std::move(x) : visit(name, std::move(x)); }
  /// Whether this hook is captured or edited, so that it must be computed exactly.
  bool wants(std::string_view name) const noexcept { return first_ != last_ && find(name) != last_; }
  bool edits(std::string_view name) const noexcept;
  /// Whether any hook in this part was asked for.
  bool any() const noexcept { return first_ != last_; }
  tap_scope in(std::string_view part) const noexcept;
  tap_scope block(std::string_view stack, std::size_t i) const noexcept;

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

class WAYFARER_API taps {
 public:
  /// Throws usage_error, with near names, for a hook that the model does not have.
  taps(model_info const&, run_request const&);
  taps(taps const&) = delete;
  taps& operator=(taps const&) = delete;

  tap_scope all() noexcept;
  rows operator()(std::string_view name, rows x) { return all()(name, std::move(x)); }
  tap_scope in(std::string_view part) noexcept { return all().in(part); }
  tap_scope block(std::string_view stack, std::size_t i) noexcept { return all().block(stack, i); }
  bool wants(std::string_view name) noexcept { return all().wants(name); }

  /// Whether all that was to be captured has been: the rest of the pass need not run.
  bool done() const noexcept { return left_ == 0; }
  /// What was captured. Throws plugin_error for a hook that was asked for and not reached.
  activations take();

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
  };
  std::vector<entry> entries_;  // by name
  std::size_t left_ = 0;
};

WAYFARER_LAYOUT(tap_scope, of_, first_, last_, prefix_);
WAYFARER_INNER_LAYOUT(taps, 1, entry, name, hook, capture, edits, fired, kept);
WAYFARER_LAYOUT(taps, entries_, left_);

}  // namespace wayfarer
