// A small subset of YAML as a bounded tree that knows the place of every value.
//
// Used by the main thread while a plan is read. yaml-cpp's own nodes lose duplicate keys and expand aliases, and its parser
// recurses; this listens to the parser's events instead and stops them at the limits below. Aliases and tags are refused: a
// pipeline has no use for them. The tree owns its text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/plan.hpp"

namespace wayfarer::host {

inline constexpr std::size_t max_yaml_depth = 32;
inline constexpr std::size_t max_yaml_values = 100'000;

enum class yaml_kind { null, scalar, list, map };

struct yaml_entry;

struct yaml_value {
  yaml_kind kind = yaml_kind::null;
  origin from;
  bool quoted = false;              ///< a scalar in quotes or a block scalar: a text whatever it looks like
  std::string text;                 ///< of a scalar
  std::vector<yaml_value> items;    ///< of a list
  std::vector<yaml_entry> entries;  ///< of a map, in file order; keys differ

  yaml_entry* find(std::string_view key) noexcept;
  yaml_entry const* find(std::string_view key) const noexcept;
};

struct yaml_entry {
  std::string key;
  origin from;
  yaml_value value;
};

/// 'text' for a message: control characters escaped, the middle left out if it is long.
std::string single_quoted(std::string_view text);

/// The document, or null with at least one problem added. Duplicate keys, aliases, tags and keys that are no words are problems
/// that leave the rest readable.
yaml_value read_yaml(std::string_view text, std::vector<problem>& problems);

}  // namespace wayfarer::host
