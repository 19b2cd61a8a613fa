// What the parts that read a pipeline file share: the plan that they fill, the problems that they find, and where they are.
//
// Used by the main thread while a plan is read (plan.hpp); inside the room only. A part reports what is wrong and continues, so
// that one reading finds everything.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/plan.hpp"
#include "pipeline/yaml.hpp"

namespace wayfarer::host {

struct reading {
  plan& out;
  registry& plugins;
  std::vector<problem>& problems;
  std::vector<std::string> names{};                                   ///< of all nodes, in file order
  std::map<std::string, std::size_t, std::less<>> index{};            ///< into out.nodes
  std::map<std::pair<std::string, std::string>, origin> wire_from{};  ///< node and port: where its value stands
  origin seed_from{};

  void complain(origin const& from, std::string message, int exit_code = 2);
  /// The node is not sound either.
  void complain(plan_node&, origin const& from, std::string message, int exit_code = 2);
  /// Paths in the file start from its folder, those on the command line from where the user stands.
  std::string resolve(std::filesystem::path const&, bool from_command_line) const;
  /// The number that the key has, or a problem.
  std::optional<double> number(yaml_entry const&);
};

/// A node while it is read.
struct draft {
  yaml_entry const* entry;
  yaml_entry const* kind_entry = nullptr;  ///< "probe: ID"
  std::vector<std::string> suggested{};    ///< names that messages pointed to: they need not be reported as missing as well
};

// In order of precedence: a probe has ports called "model" and "source", so those two words name the plugin only where no other
// does.
inline constexpr std::array kind_words{plugin_kind::metric, plugin_kind::probe, plugin_kind::model, plugin_kind::source};

/// Of the value, or of the key if there is none.
origin const& place_of(yaml_entry const&);
std::optional<std::int64_t> plain_integer(yaml_value const&);
std::optional<double> number_of(yaml_value const&);
/// A model leaves results only while it is trained, for which it needs data.
bool leaves_results(plan_node const&);

template <class Range>
std::vector<std::string> strings_of(Range const& range) {
  std::vector<std::string> out;
  for (auto const& r : range) out.emplace_back(r);
  return out;
}

/// Applies "node.key=value" of a --set to the tree.
void override_with(reading& file, yaml_value& root, std::string const& given);
/// All keys of a node whose plugin is known, its defaults and its sweep.
void read_node(reading& file, plan_node& n, draft& d);
void read_port(reading& file, plan_node& n, port_descriptor const& p, yaml_entry const& e);
std::optional<item_range> read_items(reading& file, plan_node& n, yaml_entry const& e);
void read_edits(reading& file, plan_node& n, yaml_entry const& e);
/// One parameter of a sweep.
void read_swept(reading& file, plan_node& n, draft& d, std::string const& name, yaml_entry const& e);
/// Every combination of the swept values as parameters of its own.
void expand(reading& file, plan_node& n, draft const& d);
/// Sorts the nodes so that each stands behind those that it reads; circles are problems.
void put_in_order(reading& file);
void read_expectations(reading& file, yaml_entry const& expect);

}  // namespace wayfarer::host
