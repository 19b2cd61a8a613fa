// The rules that `wayfarer plugins check` holds a plugin to. Names are stable: messages quote them, and docs/conformance.md has a
// section of that name for each. Pure data.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace wayfarer::host::conformance {

struct rule {
  char const* name;
  char const* says;  ///< in one line
};

/// All rules, in the order of docs/conformance.md.
std::span<rule const> all_rules() noexcept;
/// "docs/conformance.md#split_invariance". Throws plugin_error for a name that is no rule: every finding must be looked up.
std::string documentation_of(std::string_view rule);

}  // namespace wayfarer::host::conformance
