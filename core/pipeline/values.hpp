// Converts values of a pipeline file into the types of a plugin's schema.
//
// Used by the main thread while a plan is read. Error messages have no place in the file; the caller adds it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/descriptor.hpp>

#include "pipeline/yaml.hpp"

namespace wayfarer::host {

/// "10000", "10_000", "1e4": a number without fraction that fits 64 bits. Nothing otherwise.
std::optional<std::int64_t> integer_of(std::string_view text);
/// Any finite number; '_' may stand between digits.
std::optional<double> real_of(std::string_view text);
/// true, false, yes, no, on, off.
std::optional<bool> boolean_of(std::string_view text);

/// The given value, for "..., got 'ten'".
std::string found(yaml_value const&);
/// What a parameter takes: "an integer from 1 to 1000000".
std::string expected(param_descriptor const&);

/// What is wrong with a value, and where: list elements have places of their own.
struct value_problem {
  origin from;
  std::string message;
};

/// The value as the schema wants it. Nothing, with at least one problem added, if it does not fit.
std::optional<param_value> convert(param_descriptor const&, yaml_value const&, std::vector<value_problem>& problems);
/// The schema's default. Throws plugin_error if the plugin's own text can't be read.
param_value default_of(param_descriptor const&);

/// A key that the host itself takes from a node, for pages and `plugins describe`.
struct host_key {
  std::string_view name, type, preset, doc;
};
/// Those of a plugin, in the order of `host_keys_of`.
std::vector<host_key> host_key_table(plugin_kind, std::span<port_descriptor const>);

/// "a, b and c".
std::string enumerate_words(std::vector<std::string> const& words, std::string_view last = " and ");

}  // namespace wayfarer::host
