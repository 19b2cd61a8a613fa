// The rules of `wayfarer plugins check`. Names are stable: messages quote them, and docs/conformance.md has a
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
/// "docs/conformance.md#split_invariance". Throws plugin_error for an unknown rule: every finding must have a section.
std::string documentation_of(std::string_view rule);

}  // namespace wayfarer::host::conformance
