// Hook points: the named places in a forward pass where an activation can be read or changed.
//
// Names are TransformerLens's: "blocks.3.attn.hook_pattern". A probe asks for a set of them, by name or pattern ("*" stands for
// any text); the model captures exactly those.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// Whose positions a hook's dimension runs over: those of `batch::tokens` or of `batch::decoder_tokens`.
enum class positions { tokens, decoder };

/// A hook that a model has. `row` is the shape for one item without the positions that come first:
/// [d_model] for a residual state, captured as [pos, d_model]. Patterns have per_pair set and are [head, query, key].
struct hook_info {
  std::string name;
  dims row;
  bool per_pair = false;
  std::string about{};                  ///< the exact point of computation
  positions along = positions::tokens;  ///< of pos or query
  positions keys = positions::tokens;   ///< of key, where per_pair
};

/// Hooks asked for, in the model's order, by index into model_info::hooks.
class WAYFARER_API hook_set {
 public:
  hook_set() = default;
  explicit hook_set(std::vector<std::string> names) : names_(std::move(names)) {}

  std::vector<std::string> const& names() const noexcept { return names_; }
  std::size_t size() const noexcept { return names_.size(); }
  bool empty() const noexcept { return names_.empty(); }
  bool has(std::string_view name) const noexcept;
  void add(hook_set const& other);

 private:
  template <class>
  friend struct layout_of;
  std::vector<std::string> names_;
};

/// Whether `name` fits `pattern`, in which '*' stands for any text.
WAYFARER_API bool matches(std::string_view pattern, std::string_view name) noexcept;
/// The names nearest to `wanted` by edit distance, best first, near enough to be a slip; for "did you mean".
WAYFARER_API std::vector<std::string> near_names(std::string_view wanted, std::span<std::string const> known,
                                                 std::size_t most = 1);
/// "; did you mean 'topics'?" or "".
WAYFARER_API std::string did_you_mean(std::string_view wanted, std::span<std::string const> known);

WAYFARER_ENUM_LAYOUT(positions, tokens, decoder);
WAYFARER_LAYOUT(hook_info, name, row, per_pair, about, along, keys);
WAYFARER_LAYOUT(hook_set, names_);

}  // namespace wayfarer
