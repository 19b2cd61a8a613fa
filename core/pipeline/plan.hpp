// A pipeline file as a typed, checked plan: what runs, with which parameters, fed by what.
//
// Made by the main thread before anything is loaded; immutable afterwards and shared freely. Reading collects every problem with its
// place in the file instead of stopping at the first, so that one look shows them all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/source.hpp>

#include "registry/registry.hpp"

namespace wayfarer::host {

/// Where something stands in the pipeline file, counted from 1; 0 where it came from --set.
struct place {
  std::size_t line = 0, column = 0;
};

struct problem {
  place at;
  std::string message;
};

/// A port and what it is wired to.
struct wire {
  std::string port;
  port_kind kind{};
  std::size_t node = 0;  ///< index into plan::nodes
  std::string dataset;   ///< "of: structure/value_blocks" -> "value_blocks"; "" for the whole node
  place at;
};

struct plan_node {
  std::string name;
  place at;
  plugin const* what = nullptr;  ///< null if the node has a problem that leaves it unknown
  config parameters;             ///< complete: defaults are in
  std::vector<wire> wires;
  /// Keys that the host itself takes from a probe that reads items.
  std::optional<item_range> items;  ///< `items: 0:500`; absent: all. last may exceed the source's size: cut with no error
  std::size_t max_tokens = 0;       ///< `max_tokens: 100`
  std::size_t block = 0;            ///< `block: 64`, items a block; 0: the host chooses
  std::map<std::string, place, std::less<>> places;  ///< of each key, for later messages
  bool sound = true;  ///< false if any problem was reported for it or for what it is wired to

  wire const* find_wire(std::string_view port) const noexcept;
};

/// `expect:` compares a scalar of the result with a published or derived figure.
struct expectation {
  std::string what;  ///< "contrast/ratio"
  std::size_t node = 0;
  std::string dataset;
  std::vector<std::pair<std::string, double>> select;  ///< `at: {step: 1001}`: coordinate of each other dimension; none: the last step
  std::optional<double> at_least, at_most, near;       ///< near +- within
  double within = 0;
  std::string source;     ///< where the figure is from
  bool recalled = false;  ///< reported, never a miss
  place at;
};

struct plan {
  std::filesystem::path file;
  std::string text;  ///< the file as given
  std::string title;
  std::uint64_t seed = 0;
  std::vector<plan_node> nodes;  ///< in an order in which everything comes after what it is wired to; ties in file order
  std::vector<expectation> expectations;
  std::vector<std::pair<std::string, std::string>> overrides;  ///< --set, as given
};

/// Reads and checks a pipeline file. Problems, sorted by place, are added to `problems`; the plan holds whatever was sound.
/// Throws data_error only if the file can't be read at all.
plan read_plan(std::filesystem::path const& file, std::vector<std::string> const& overrides, registry& plugins,
               std::vector<problem>& problems);

/// "bad.yaml:4:22: lda has no parameter 'topcs'; did you mean 'topics'?" for each, and a last line with their number.
std::string format_problems(std::filesystem::path const& file, std::vector<problem> const&);

/// The complete configuration as JSON with sorted keys: same plan, same text.
std::string canonical_json(plan const&);
std::string canonical_json(config const&);

/// Graphviz DOT of the plan.
std::string to_dot(plan const&);

}  // namespace wayfarer::host
