// A pipeline file as a typed, checked plan: what runs, with which parameters, fed by what.
//
// Made by the main thread before anything is loaded; immutable afterwards and shared freely. Reading collects every problem with
// its place in the file instead of stopping at the first, so that one look shows them all.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/source.hpp>

#include "registry/registry.hpp"

namespace wayfarer::host {

/// A place in the pipeline file, counted from 1; 0 for a value from --set.
struct place {
  std::size_t line = 0, column = 0;
};

/// Where a key or value was written: a place in the file, or a --set on the command line.
struct origin {
  place at;
  std::string option;
};

struct problem {
  place at;
  std::string message;
  int exit_code = 2;        ///< 4: the plugin is at fault, not the file
  std::string option = {};  ///< "--set node.key=value" if that is where it came from; `at` is 0 then
};

/// A port and what it is wired to.
struct wire {
  std::string port;
  port_kind kind{};
  std::size_t node = 0;  ///< index into plan::nodes
  std::string dataset;   ///< "of: structure/value_blocks" -> "value_blocks"; "" for the whole node
  place at;
};

/// One entry of a probe's `edits:`: what is written over an activation, where.
struct edit_spec {
  enum class value_kind { zero, item, pair, node, file };

  std::string hook;                     ///< a name or a pattern
  std::optional<item_range> items;      ///< absent: all that are observed
  std::vector<std::int64_t> positions;  ///< below 0: from the end; empty: all
  std::vector<std::size_t> heads;       ///< empty: all
  bool adds = false;                    ///< adds the value, else puts it in place
  double scale = 1;                     ///< of what is added
  value_kind from = value_kind::zero;   ///< where the value comes from
  std::int64_t number = 0;              ///< item: which; pair: how many items further on
  std::string node, dataset;            ///< node: of this pipeline (a wire "edits.N" as well); file: the dataset alone
  std::string given_file, file;         ///< a file that holds arrays, as written and resolved
  place at;
  std::string option{};                                           ///< "--set ..." if that is where it came from
  std::map<std::string, std::vector<place>, std::less<>> places;  ///< of its keys' values; of a list, of each element

  /// Where element `i` of a key's value stands; the edit itself if it is not there.
  place place_of(std::string_view key, std::size_t i = 0) const {
    auto const found = places.find(key);
    return found == places.end() || i >= found->second.size() ? at : found->second[i];
  }

  /// Whether they do the same; where they stand does not matter.
  friend bool operator==(edit_spec const& x, edit_spec const& y) {
    auto const all = [](edit_spec const& e) {
      return std::tie(e.hook, e.items, e.positions, e.heads, e.adds, e.scale, e.from, e.number, e.node, e.dataset, e.file);
    };
    return all(x) == all(y);
  }
};

/// One parameter of a node's `sweep:`, and the values that it takes.
struct swept_parameter {
  std::string name;
  std::vector<param_value> values;
  std::vector<std::string> given;  ///< as they were written, for labels and messages
  std::vector<origin> origins{};   ///< where each stands
};

/// Limit of the combinations of a node's `sweep:`.
inline constexpr std::size_t max_combinations = 1000;

struct plan_node {
  std::string name;
  place at;
  plugin_kind kind{};            ///< what the file says it is, even where `what` is null
  plugin const* what = nullptr;  ///< null if the node has a problem that leaves it unknown
  config parameters;             ///< complete: defaults are in, paths are resolved, and the seed is set
  std::map<std::string, std::string, std::less<>> given_paths;  ///< parameters of type path as they were written
  std::vector<wire> wires;
  /// Keys that the host itself takes from a probe that reads items.
  std::optional<item_range> items;  ///< `items: 0:500`; absent: all. last may exceed the source's size: cut with no error
  std::size_t max_tokens = 0;       ///< `max_tokens: 100`
  std::size_t block = 0;            ///< `block: 64`, items a block; 0: the host chooses
  std::vector<edit_spec> edits;     ///< of a node that is not `sound` also those with mistakes, as far as they could be read
  dtype precision = dtype::f32;     ///< of the forward pass
  /// `sweep:` of a probe or metric. `parameters` lacks what is swept; each variant is complete, the last parameter changes
  /// fastest.
  std::vector<swept_parameter> sweep;
  std::vector<config> variants;
  std::map<std::string, place, std::less<>> places;  ///< of each key, for later messages
  /// Of each parameter that was given, where its value stands; of a list, where each element does.
  std::map<std::string, std::vector<origin>, std::less<>> origins;
  bool sound = true;  ///< false if any problem was reported for it or for what it is wired to

  wire const* find_wire(std::string_view port) const noexcept;
  /// Where element `i` of a parameter stands, or its value in a combination if it is swept; the node itself if it was not given.
  origin origin_of(std::string_view parameter, std::size_t i = 0, std::size_t combination = 0) const;
  /// 1 without `sweep:`.
  std::size_t combinations() const noexcept { return variants.empty() ? 1 : variants.size(); }
  config const& parameters_of(std::size_t combination) const { return variants.empty() ? parameters : variants[combination]; }
  /// "norm=l2, layer=top"; "" without `sweep:`.
  std::string name_of_combination(std::size_t) const;
};

/// Whether a wire brings the value of an edit, and is no port of the plugin.
inline bool is_edit(wire const& w) noexcept {
  return w.port.starts_with("edits.");
}

/// `expect:` compares a scalar of the result with a published or derived figure.
struct expectation {
  std::string what;  ///< "contrast/ratio"
  std::size_t node = 0;
  std::string dataset;
  std::vector<std::pair<std::string, double>>
      select;                                     ///< `at: {step: 1001}`: coordinate of each other dimension; none: the last step
  std::optional<double> at_least, at_most, near;  ///< near +- within
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
  bool keeps_activations = false;  ///< `keep: activations`: what models give is left in the store, for other pipelines
  std::vector<plan_node> nodes;    ///< in an order in which everything comes after what it is wired to; ties in file order
  std::vector<expectation> expectations;
  std::vector<std::pair<std::string, std::string>> overrides;  ///< --set, as given
};

/// Limit of a pipeline file's size in bytes.
inline constexpr std::size_t max_pipeline_bytes = std::size_t{4} << 20;

/// Reads and checks a pipeline file. Problems, sorted by place, are added to `problems`; the plan holds whatever was sound.
/// `overrides` are the values of --set: "node.key=value", "seed=N", "title=TEXT" or "keep=activations". Throws data_error only if
/// the file can't be read at all.
plan read_plan(std::filesystem::path const& file, std::vector<std::string> const& overrides, registry& plugins,
               std::vector<problem>& problems);
/// The same for text that is at hand; `file` is what messages say and what relative paths start from.
plan plan_of_text(std::filesystem::path const& file, std::string text, std::vector<std::string> const& overrides,
                  registry& plugins, std::vector<problem>& problems);

/// "bad.yaml:4:22: lda has no parameter 'topcs'; did you mean 'topics'?" for each, and the last line
/// "3 errors; nothing was run", without a line end.
std::string format_problems(std::filesystem::path const& file, std::vector<problem> const&);
/// By place in the file; what came from --set last.
void sort_problems(std::vector<problem>&);
/// The program's exit code: 0 if there are no problems, else the lowest, since a wrong pipeline (2) may be the cause of the
/// others.
int exit_code_of(std::vector<problem> const&) noexcept;

/// The complete configuration as JSON with sorted keys: same plan, same text. Paths stand as they were written, so that the text
/// does not depend on the machine.
std::string canonical_json(plan const&);
/// The parameters of one node, with paths as they were written: what the result file keeps.
std::string canonical_json(plan_node const&);
/// The parameters and edits of one node as JSON, with each path as its index in `paths`, null where it is not there: what holds
/// on every machine.
std::string json_without_paths(plan_node const&, std::vector<std::string> const& paths);
/// Values as they are, with paths resolved.
std::string canonical_json(config const&);

/// Graphviz DOT of the plan.
std::string to_dot(plan const&);

}  // namespace wayfarer::host
