// Values of a model's activations that a probe's reasons don't explain: not finite, or so large that float32 can't hold results
// computed from them. Edits or damaged weights cause them.
//
// Counted by the threads of a sweep, block by block, in fields of an accumulator that is merged and kept like those of the
// probes. Read by the engine's task when the sweep is over.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/results.hpp>

namespace wayfarer::host {

/// The kinds of bad values among some numbers.
struct oddity {
  bool not_finite = false, too_large = false;  ///< the second: finite, but beyond 1e18 in float32
  bool any() const noexcept { return not_finite || too_large; }
};

/// `masked`: scores of pairs, in which minus infinity stands for what is not seen.
oddity oddity_of(tensor const&, bool masked);

/// A field for the hooks that a sweep captures.
void define_spoiled(accumulator&, hook_set const& captured);
/// Counts the items of a block, hook by hook.
void count_spoiled(activations const&, hook_set const& captured, model_info const&, std::size_t items, accumulator& counts);

/// The same results, with another reason for values that are not finite in the datasets selected by `gets`.
results with_reason(results&&, std::string const& why, std::function<bool(std::string const& dataset)> const& gets);

/// What a sweep found.
class spoiled_values {
 public:
  spoiled_values() = default;
  /// `from_edits`: what the edits have to say for themselves, "" for nothing.
  spoiled_values(accumulator const& counts, hook_set const& captured, std::size_t items, std::string from_edits);

  /// Whether a probe that needs these hooks saw any of it.
  bool reached(hook_set const& needed) const;
  /// "values of hook_embed are not finite in 2 of 3 items", of the hooks that a probe needs. `surely`: only what is not finite.
  std::string reason(hook_set const& needed, bool surely) const;
  /// Puts that reason in the place of those of the results' datasets, except of those that show one sound hook as it is.
  results explain(results&&, hook_set const& needed) const;

 private:
  struct of_hook {
    std::string name;
    std::size_t not_finite = 0, odd = 0;  ///< items
  };
  std::vector<of_hook> hooks_;  // in which there is any
  std::size_t items_ = 0;
  std::string from_edits_;
};

}  // namespace wayfarer::host
