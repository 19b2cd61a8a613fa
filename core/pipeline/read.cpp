#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <queue>
#include <tuple>

#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/strong_components.hpp>

#include <wayfarer/array_file.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/hooks.hpp>

#include "pipeline/hub.hpp"
#include "pipeline/plan.hpp"
#include "pipeline/values.hpp"
#include "pipeline/yaml.hpp"

namespace wayfarer::host {
namespace {

namespace fs = std::filesystem;

// In order of precedence: a probe has ports called "model" and "source", so those two words name the plugin only where no other
// does.
constexpr std::array kind_words{plugin_kind::metric, plugin_kind::probe, plugin_kind::model, plugin_kind::source};
constexpr std::array<std::string_view, 4> top_keys{"title", "seed", "nodes", "expect"};
constexpr std::array<std::string_view, 7> edit_keys{"hook", "items", "positions", "heads", "set", "add", "scale"};
constexpr std::array<std::string_view, 5> value_keys{"item", "pair", "node", "file", "dataset"};
constexpr std::array<std::string_view, 7> expect_keys{"at_least", "at_most", "near", "within", "at", "source", "recalled"};
constexpr auto all_items = std::numeric_limits<std::int64_t>::max();

template <class Range>
std::vector<std::string> strings_of(Range const& range) {
  std::vector<std::string> out;
  for (auto const& r : range) out.emplace_back(r);
  return out;
}

bool is_node_name(std::string_view name) noexcept {
  auto const lower = [](char c) { return c >= 'a' && c <= 'z'; };
  if (name.empty() || !lower(name.front())) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return lower(c) || (c >= '0' && c <= '9') || c == '_'; });
}

std::string_view noun_of(port_kind k) noexcept {
  switch (k) {
    case port_kind::source:
      return "source";
    case port_kind::model:
      return "model";
    case port_kind::results:
      break;
  }
  return "probe or metric";
}

std::string a(std::string_view noun) {
  return "a " + std::string(noun);
}

class reader {
 public:
  reader(plan& out, registry& plugins, std::vector<problem>& problems) : plan_(out), plugins_(plugins), problems_(problems) {}

  void read(std::vector<std::string> const& overrides) {
    auto root = read_yaml(plan_.text, problems_);
    if (root.kind == yaml_kind::map) {
      for (auto const& o : overrides) override_with(root, o);
      read_top(root);
    } else if (problems_.empty()) {
      complain(root.from, "a pipeline is a map with the keys title, seed, nodes and expect; got " + found(root));
    }
    sort_problems(problems_);
  }

 private:
  void complain(origin const& from, std::string message, int exit_code = 2) {
    problems_.push_back({from.at, std::move(message), exit_code, from.option});
  }
  void complain(plan_node& n, origin const& from, std::string message, int exit_code = 2) {
    n.sound = false;
    complain(from, std::move(message), exit_code);
  }

  // ---- --set ----

  void override_with(yaml_value& root, std::string const& given) {
    origin const from{{}, "--set " + given};
    auto const equals = given.find('=');
    auto const path = given.substr(0, equals);
    auto const dot = path.find('.');
    if (equals == std::string::npos || path.empty() || dot == 0 || (dot != std::string::npos && dot + 1 == path.size())) {
      complain(from, "write node.key=value, seed=NUMBER or title=TEXT");
      return;
    }
    auto value = option_value(given.substr(equals + 1), from);
    if (!value) return;
    if (dot == std::string::npos) {
      if (path == "seed" || path == "title") {
        put(root, path, std::move(*value), from);
      } else {
        complain(from, "'" + path + "' is neither a node's key nor seed or title; write node.key=value" +
                           did_you_mean(path, std::array<std::string, 2>{"seed", "title"}));
      }
      return;
    }
    auto const* nodes = root.find("nodes");
    auto const node = path.substr(0, dot);
    auto* entry = nodes ? const_cast<yaml_value&>(nodes->value).find(node) : nullptr;
    if (!entry) {
      std::vector<std::string> names;
      if (nodes)
        for (auto const& e : nodes->value.entries) names.push_back(e.key);
      complain(from, "no node " + single_quoted(node) + did_you_mean(node, names));
      return;
    }
    // A node that is no map is reported where it stands.
    if (entry->value.kind == yaml_kind::map) put(entry->value, path.substr(dot + 1), std::move(*value), from);
  }

  // Brackets and quotes are YAML; everything else is taken as it is, since shells and YAML disagree enough about '*', ':' and
  // '#'.
  std::optional<yaml_value> option_value(std::string const& text, origin const& from) {
    yaml_value v;
    v.kind = yaml_kind::scalar;
    v.text = text;
    if (text.starts_with('[') || text.starts_with('"') || text.starts_with('\'')) {
      std::vector<problem> inner;
      v = read_yaml(text, inner);
      if (!inner.empty()) {
        complain(from, "at character " + std::to_string(inner.front().at.column) + " of the value: " + inner.front().message);
        return {};
      }
    }
    came_from(v, from);
    return v;
  }
  static void came_from(yaml_value& v, origin const& from) {
    v.from = from;
    for (auto& i : v.items) came_from(i, from);
    for (auto& e : v.entries) e.from = from, came_from(e.value, from);
  }

  // Replaces the value of a dotted key, however it is grouped in the file, or adds it.
  void put(yaml_value& map, std::string const& key, yaml_value value, origin const& from) {
    if (auto* e = find_dotted(map, key)) {
      e->from = from;
      e->value = std::move(value);
    } else {
      map.entries.push_back({key, from, std::move(value)});
    }
  }
  static yaml_entry* find_dotted(yaml_value& map, std::string_view key) {
    if (auto* e = map.find(key)) return e;
    for (auto dot = key.find('.'); dot != std::string_view::npos; dot = key.find('.', dot + 1)) {
      auto* group = map.find(key.substr(0, dot));
      if (!group || group->value.kind != yaml_kind::map) continue;
      if (auto* e = find_dotted(group->value, key.substr(dot + 1))) return e;
    }
    return nullptr;
  }

  // ---- the top ----

  void read_top(yaml_value const& root) {
    yaml_entry const *nodes = nullptr, *expect = nullptr;
    for (auto const& e : root.entries) {
      if (e.key == "title") {
        read_title(e);
      } else if (e.key == "seed") {
        read_seed(e);
      } else if (e.key == "nodes") {
        nodes = &e;
      } else if (e.key == "expect") {
        expect = &e;
      } else {
        complain(e.from, "a pipeline has no key " + single_quoted(e.key) + did_you_mean(e.key, strings_of(top_keys)));
      }
    }
    if (!nodes) {
      complain(root.from, "no 'nodes': a pipeline needs at least one node");
    } else {
      read_nodes(*nodes);
    }
    if (expect) read_expectations(*expect);
  }

  void read_title(yaml_entry const& e) {
    if (e.value.kind == yaml_kind::scalar) {
      plan_.title = e.value.text;
    } else {
      complain(e.value.from, "'title' must be a text, got " + found(e.value));
    }
  }

  void read_seed(yaml_entry const& e) {
    auto const n = e.value.kind == yaml_kind::scalar && !e.value.quoted ? integer_of(e.value.text) : std::nullopt;
    if (n && *n >= 0) {
      plan_.seed = static_cast<std::uint64_t>(*n);
      seed_from_ = e.value.from;
    } else {
      complain(e.value.from, "'seed' must be an integer of at least 0, got " + found(e.value));
    }
  }

  // ---- nodes ----

  struct draft {
    yaml_entry const* entry;
    yaml_entry const* kind_entry = nullptr;  // "probe: ID"
    std::vector<std::string> suggested;      // names that messages pointed to: they need not be reported as missing as well
  };

  void read_nodes(yaml_entry const& nodes) {
    if (nodes.value.kind != yaml_kind::map || nodes.value.entries.empty()) {
      complain(nodes.value.kind == yaml_kind::null ? nodes.from : nodes.value.from,
               "'nodes' must be a map of at least one node, got " +
                   (nodes.value.kind == yaml_kind::map ? std::string("an empty one") : found(nodes.value)));
      return;
    }
    std::vector<draft> drafts;
    for (auto const& e : nodes.value.entries) {
      index_.emplace(e.key, plan_.nodes.size());
      names_.push_back(e.key);
      plan_.nodes.emplace_back();
      auto& n = plan_.nodes.back();
      n.name = e.key;
      n.at = e.from.at;
      drafts.push_back({&e, nullptr, {}});
    }
    for (std::size_t i = 0; i < drafts.size(); ++i) find_plugin(plan_.nodes[i], drafts[i]);
    for (std::size_t i = 0; i < drafts.size(); ++i) {
      plan_.nodes[i].parameters.set_seed(plan_.seed);
      if (plan_.nodes[i].what) read_node(plan_.nodes[i], drafts[i]);
    }
    check_results_of_models();
    put_in_order();
  }

  void find_plugin(plan_node& n, draft& d) {
    auto const& e = *d.entry;
    if (!is_node_name(e.key))
      complain(n, e.from,
               "node name " + single_quoted(e.key) + " must be lower-case letters, digits and '_', beginning with a letter");
    if (e.value.kind != yaml_kind::map) {
      complain(n, e.value.kind == yaml_kind::null ? e.from : e.value.from,
               "node " + single_quoted(e.key) + " must be a map such as {source: ID, ...}, got " + found(e.value));
      return;
    }
    for (auto k : kind_words)
      if (!d.kind_entry && (d.kind_entry = e.value.find(name_of(k)))) n.kind = k;
    if (!d.kind_entry) {
      std::vector<std::string> words;
      for (auto k : kind_words) words.emplace_back(name_of(k));
      std::string hint;
      for (auto const& key : e.value.entries)
        if (hint.empty() && !near_names(key.key, words).empty())
          hint = "; " + single_quoted(key.key) + " is near, did you mean '" + near_names(key.key, words).front() + "'?";
      complain(
          n, e.from,
          "node " + single_quoted(e.key) + " names no plugin: it needs one of the keys source, model, probe and metric" + hint);
      return;
    }
    auto const& value = d.kind_entry->value;
    if (value.kind != yaml_kind::scalar) {
      complain(n, value.kind == yaml_kind::null ? d.kind_entry->from : value.from,
               "'" + d.kind_entry->key + "' must be the id of a plugin, got " + found(value));
      return;
    }
    load_plugin_of(n, value);
  }

  void load_plugin_of(plan_node& n, yaml_value const& id) {
    plugin const* found_plugin = nullptr;
    try {
      if (is_node_name(id.text)) found_plugin = plugins_.find(id.text);  // an id is spelled like a node, and never is a path
    } catch (plugin_error const& e) {
      complain(n, id.from, e.what(), e.exit_code());
      return;
    }
    if (!found_plugin) {
      std::string hint = did_you_mean(id.text, plugins_.ids());
      if (hint.empty() && index_.contains(id.text))
        hint = "; that is a node of this file: a node that reads it has 'probe: ID' or 'metric: ID' as well";
      if (auto const slash = id.text.find_last_of("/."); slash != std::string::npos) {
        auto const word = std::string(name_of(n.kind));
        hint = "; '" + word + "' takes the id of a plugin, and the plugin a path: " + word + ": ID, path: " + id.text;
      }
      if (hint.empty()) hint = "; 'wayfarer plugins list' shows what there is";
      complain(n, id.from, "no plugin " + single_quoted(id.text) + hint);
      return;
    }
    if (found_plugin->kind() != n.kind)
      complain(n, id.from,
               single_quoted(id.text) + " is a " + std::string(name_of(found_plugin->kind())) + ", not a " +
                   std::string(name_of(n.kind)) + "; write '" + std::string(name_of(found_plugin->kind())) + ": " + id.text +
                   "'");
    n.what = found_plugin;
  }

  void read_node(plan_node& n, draft& d) {
    read_keys(n, d, d.entry->value, "");
    add_defaults(n, d);
    expand(n, d);
    // A node whose plugin is of another kind was checked against that plugin's schema, and can't be used.
    if (n.what->kind() != n.kind) n.what = nullptr;
  }

  static bool is_host_key(plan_node const& n, std::string_view key) {
    auto const keys = host_keys_of(n.what->kind(), n.what->ports());
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  }

  static std::vector<std::string> known_keys(plan_node const& n) {
    auto known = host_keys_of(n.what->kind(), n.what->ports());
    for (auto const& p : n.what->params()) known.emplace_back(p.name);
    for (auto const& p : n.what->ports()) known.emplace_back(p.name);
    return known;
  }

  void read_keys(plan_node& n, draft& d, yaml_value const& map, std::string const& prefix) {
    for (auto const& e : map.entries) {
      if (&e == d.kind_entry) continue;
      auto const key = prefix + e.key;
      if (!n.places.emplace(key, e.from.at).second) {
        complain(n, e.from, "duplicate key " + single_quoted(key));
      } else if (auto const* port = n.what->find_port(key)) {
        read_port(n, *port, e);
      } else if (auto const* param = n.what->find_param(key)) {
        read_param(n, *param, e);
      } else if (is_host_key(n, key)) {
        read_host_key(n, d, key, e);
      } else if (key.starts_with("sweep.") && is_host_key(n, "sweep")) {
        n.places.erase(key);
        read_swept(n, d, key.substr(6), e);  // --set node.sweep.name=[...]
      } else if (auto const group = members(n, key + "."); !group.empty()) {
        if (e.value.kind == yaml_kind::map) {
          read_keys(n, d, e.value, key + ".");
        } else {
          complain(n, e.value.kind == yaml_kind::null ? e.from : e.value.from,
                   "'" + key + "' is a group with the keys " + enumerate_words(group) + "; write " + e.key + ": {" +
                       group.front() + ": ...}, got " + found(e.value));
        }
      } else {
        unknown_key(n, d, key, e);
      }
    }
  }

  // What may stand in a group: the names in the schema that begin with "train.", without it.
  static std::vector<std::string> members(plan_node const& n, std::string const& prefix) {
    std::vector<std::string> names;
    for (auto const& k : known_keys(n))
      if (k.starts_with(prefix)) names.push_back(k.substr(prefix.size()));
    return names;
  }

  void unknown_key(plan_node& n, draft& d, std::string const& key, yaml_entry const& e) {
    auto const known = known_keys(n);
    auto const id = std::string(n.what->id());
    bool const kind_word = std::any_of(kind_words.begin(), kind_words.end(), [&](auto k) { return name_of(k) == key; });
    if (kind_word) {
      complain(n, e.from,
               id + " has no port '" + key + "', and '" + d.kind_entry->key + "' names the plugin of this node already");
      return;
    }
    for (auto const& near : near_names(key, known)) d.suggested.push_back(near);
    if (std::find(host_keys.begin(), host_keys.end(), key) != host_keys.end()) {
      complain(n, e.from,
               "'" + key + "' is for " +
                   (key == "sweep"                         ? "probes and metrics"
                    : key == "edits" || key == "precision" ? "probes that run a model over a source"
                                                           : "probes that read a source") +
                   ", and " + id + " is none");
      return;
    }
    std::string hint = did_you_mean(key, known);
    // Behind a comma between braces: `{hooks: a, b}`.
    if (hint.empty() && e.value.kind == yaml_kind::null)
      hint = "; if it is one of several values, write a list: [..., " + key + "]";
    complain(n, e.from, id + " has no parameter " + single_quoted(key) + hint);
  }

  static yaml_value list_of(yaml_value const& one) {
    yaml_value list;
    list.kind = yaml_kind::list, list.items = {one}, list.from = one.from;
    return list;
  }

  void read_param(plan_node& n, param_descriptor const& p, yaml_entry const& e) {
    std::vector<value_problem> wrong;
    auto value = convert(p, e.value, wrong);
    // A value that isn't there has no place of its own.
    for (auto& w : wrong) complain(n, e.value.kind == yaml_kind::null ? e.from : w.from, std::move(w.message));
    auto& origins = n.origins[p.name];
    yaml_value good = e.value;
    if (!value && good.kind == yaml_kind::list) {
      // The other elements are looked at beside those that are refused.
      std::vector<value_problem> ignored;
      std::erase_if(good.items, [&](yaml_value const& one) { return !convert(p, list_of(one), ignored); });
      if (!good.items.empty()) value = convert(p, good, ignored);
    }
    for (auto const& one : good.items) origins.push_back(one.from);
    if (origins.empty()) origins.push_back(e.value.from);
    if (!value) return;
    if (p.type == param_type::path && p.required && value->text().empty())
      return complain(n, e.value.from, "'" + std::string(p.name) + "' is empty; give a path: " + p.doc);
    if (p.type == param_type::path && !value->text().empty()) {
      n.given_paths.insert_or_assign(p.name, value->text());
      std::string path = resolve(value->text(), !e.from.option.empty());
      if (n.kind == plugin_kind::model) {
        try {
          path = model_folder(value->text(), path);
        } catch (error const& missing) {
          complain(n, e.value.from, missing.what(), missing.exit_code());
        }
      }
      value = param_value(std::move(path));
    }
    n.parameters.set(p.name, std::move(*value));
  }

  // Paths in the file start from its folder, those on the command line from where the user stands.
  std::string resolve(fs::path const& path, bool from_command_line) const {
    if (path.is_absolute()) return path.lexically_normal().string();
    std::error_code ignored;
    auto const here = fs::current_path(ignored);
    auto const base = from_command_line ? here : (here / plan_.file).parent_path();
    return (base / path).lexically_normal().string();
  }

  void read_port(plan_node& n, port_descriptor const& p, yaml_entry const& e) {
    auto const name = "'" + std::string(p.name) + "'";
    auto const& from = e.value.kind == yaml_kind::null ? e.from : e.value.from;
    if (e.value.kind != yaml_kind::scalar) {
      complain(n, from, name + " must name " + a(noun_of(p.kind)) + ", got " + found(e.value));
      return;
    }
    auto const slash = e.value.text.find('/');
    auto const node = e.value.text.substr(0, slash);
    auto const dataset = slash == std::string::npos ? "" : e.value.text.substr(slash + 1);
    auto const at = index_.find(node);
    if (at == index_.end()) {
      auto hint = did_you_mean(node, names_);
      if (auto const ids = plugins_.ids();
          hint.empty() && p.kind == port_kind::model && std::find(ids.begin(), ids.end(), node) != ids.end())
        hint = "; that is a plugin, which needs a node of its own, such as " + node + ": {model: " + node + "}";
      complain(n, from, name + " names " + single_quoted(node) + ", but there is no such node" + hint);
      return;
    }
    if (slash != std::string::npos && (p.kind != port_kind::results || dataset.empty())) {
      complain(n, from,
               name + (dataset.empty() ? " lacks a dataset after '/'" : " needs a whole node") + "; write '" + node + "'");
      return;
    }
    // The kind that the file gives is what counts here; whether the plugin is of that kind is reported with that node.
    auto const& other = plan_.nodes[at->second];
    bool const unknown = other.kind == plugin_kind{};
    bool const fits = p.kind == port_kind::source  ? other.kind == plugin_kind::source
                      : p.kind == port_kind::model ? other.kind == plugin_kind::model
                                                   : other.kind != plugin_kind::source;
    if (!unknown && !fits) {
      complain(n, from,
               name + " needs " +
                   (p.kind == port_kind::results ? "results (of a probe, a metric or a trained model)" : a(noun_of(p.kind))) +
                   ", but '" + node + "' is a " + std::string(name_of(other.kind)));
      return;
    }
    n.wires.push_back({p.name, p.kind, at->second, dataset, e.value.from.at});
    wire_from_.emplace(std::pair(n.name, std::string(p.name)), e.value.from);
  }

  static origin const& place_of(yaml_entry const& e) { return e.value.kind == yaml_kind::null ? e.from : e.value.from; }
  static std::optional<std::int64_t> plain_integer(yaml_value const& v) {
    return v.kind == yaml_kind::scalar && !v.quoted ? integer_of(v.text) : std::nullopt;
  }

  void read_host_key(plan_node& n, draft& d, std::string const& key, yaml_entry const& e) {
    if (key == "items") {
      n.items = read_items(n, e);
    } else if (key == "edits") {
      read_edits(n, e);
    } else if (key == "precision") {
      read_precision(n, e);
    } else if (key == "sweep") {
      if (e.value.kind == yaml_kind::map && e.value.entries.empty())
        complain(n, place_of(e), "'sweep' is empty; name parameters in it, {parameter: [first, second]}, or leave it out");
      else if (e.value.kind == yaml_kind::map)
        for (auto const& one : e.value.entries) read_swept(n, d, one.key, one);
      else
        complain(n, place_of(e), "'sweep' must be a map such as {parameter: [first, second]}, got " + found(e.value));
    } else {
      auto const v = plain_integer(e.value);
      if (!v || *v < 1 || *v > all_items)
        complain(n, place_of(e), "'" + key + "' must be an integer of at least 1, got " + found(e.value));
      else
        (key == "block" ? n.block : n.max_tokens) = static_cast<std::size_t>(*v);
    }
  }

  std::optional<item_range> read_items(plan_node& n, yaml_entry const& e) {
    auto const& text = e.value.text;
    if (e.value.kind == yaml_kind::scalar && text == "all") return {};
    auto const colon = text.find(':');
    auto const first = colon == std::string::npos ? std::optional<std::int64_t>(0) : integer_of(text.substr(0, colon));
    auto const last = integer_of(colon == std::string::npos ? text : text.substr(colon + 1));
    if (e.value.kind == yaml_kind::scalar && first && last && *first >= 0 && *last > *first)
      return item_range{static_cast<std::size_t>(*first), static_cast<std::size_t>(*last)};
    complain(n, place_of(e),
             "'items' must be a number of items such as 500, or a range such as 100:500 that holds at least one, got " +
                 found(e.value));
    return {};
  }

  void read_precision(plan_node& n, yaml_entry const& e) {
    static std::vector<std::string> const names{"f32", "f64", "bf16"};
    auto const at = std::find(names.begin(), names.end(), e.value.kind == yaml_kind::scalar ? e.value.text : "");
    if (at == names.end())
      complain(n, place_of(e), "'precision' must be f32, f64 or bf16, got " + found(e.value) + meant_precision(e.value, names));
    else
      n.precision = std::array{dtype::f32, dtype::f64, dtype::bf16}[static_cast<std::size_t>(at - names.begin())];
  }

  /// Other names of the same types.
  static std::string meant_precision(yaml_value const& v, std::vector<std::string> const& names) {
    static std::map<std::string, std::string, std::less<>> const others{
        {"float32", "f32"}, {"fp32", "f32"}, {"float", "f32"},  {"single", "f32"}, {"32", "f32"},
        {"float64", "f64"}, {"fp64", "f64"}, {"double", "f64"}, {"64", "f64"},     {"bfloat16", "bf16"}};
    auto const other = others.find(v.text);
    return other == others.end() ? did_you_mean(v.text, names) : "; write " + other->second;
  }

  // ---- edits ----

  void read_edits(plan_node& n, yaml_entry const& e) {
    if (e.value.kind == yaml_kind::list && e.value.items.empty()) {
      complain(n, place_of(e), "'edits' is an empty list; leave it out for none");
      return;
    }
    if (e.value.kind != yaml_kind::list) {
      complain(n, place_of(e),
               "'edits' must be a list such as [{hook: blocks.0.hook_mlp_out, set: zero}], got " + found(e.value));
      return;
    }
    for (auto const& one : e.value.items) {
      if (one.kind != yaml_kind::map) {
        complain(n, one.from, "an edit must be a map such as {hook: blocks.0.hook_mlp_out, set: zero}, got " + found(one));
        continue;
      }
      read_edit(n, one);
    }
  }

  void read_edit(plan_node& n, yaml_value const& v) {
    edit_spec x;
    x.at = v.from.at, x.option = v.from.option;
    for (auto const& k : v.entries) {
      auto& places = x.places[k.key];
      places = {place_of(k).at};
      if (k.key == "hook") {
        if (k.value.kind != yaml_kind::scalar || k.value.text.empty())
          complain(n, place_of(k),
                   "'hook' must be the name of a hook, or a pattern such as blocks.*.hook_mlp_out, got " + found(k.value));
        x.hook = k.value.text;
      } else if (k.key == "items") {
        x.items = read_items(n, k);
      } else if (k.key == "positions") {
        x.positions = integers(n, k, std::numeric_limits<std::int64_t>::min(),
                               "integers; those below 0 count from the end: write -1 for the last", places);
      } else if (k.key == "heads") {
        for (auto const h : integers(n, k, 0, "integers of at least 0", places)) x.heads.push_back(static_cast<std::size_t>(h));
      } else if (k.key == "set" || k.key == "add") {
        x.adds = k.key == "add";
        read_edit_value(n, x, k);
      } else if (k.key == "scale") {
        auto const scale = number(k);
        if (!scale) n.sound = false;
        x.scale = scale.value_or(1);
      } else {
        complain(n, k.from, "an edit has no key " + single_quoted(k.key) + did_you_mean(k.key, strings_of(edit_keys)));
      }
    }
    if (!v.find("hook")) complain(n, v.from, "an edit needs 'hook': where it is made");
    if (!v.find("set") == !v.find("add"))
      complain(n, v.from,
               v.find("set") ? "an edit has 'set' or 'add', not both" : "an edit needs 'set' or 'add': what is to be done");
    if (auto const* scale = v.find("scale"); scale && !v.find("add"))
      complain(n, scale->from, "'scale' belongs to 'add', which is not given");
    n.edits.push_back(std::move(x));
  }

  std::vector<std::int64_t> integers(plan_node& n, yaml_entry const& k, std::int64_t least, std::string const& what,
                                     std::vector<place>& places) {
    std::vector<std::int64_t> all;
    places.clear();
    auto const add = [&](yaml_value const& one) {
      auto const i = plain_integer(one);
      if (!i || *i < least)
        complain(n, one.kind == yaml_kind::null ? k.from : one.from, "'" + k.key + "' must be " + what + ", got " + found(one));
      else if (std::find(all.begin(), all.end(), *i) != all.end())
        complain(n, one.from, "'" + k.key + "' has " + std::to_string(*i) + " twice");
      else
        all.push_back(*i), places.push_back(one.from.at);
    };
    if (k.value.kind != yaml_kind::list) {
      add(k.value);
    } else if (k.value.items.empty()) {
      complain(n, k.value.from, "'" + k.key + "' is an empty list; leave it out for all");
    } else {
      for (auto const& one : k.value.items) add(one);
    }
    return all;
  }

  void read_edit_value(plan_node& n, edit_spec& x, yaml_entry const& k) {
    auto const& v = k.value;
    if (!x.adds && v.kind == yaml_kind::scalar && (v.text == "zero" || number_of(v) == 0.0)) return;
    auto const refuse = [&] {
      std::string hint;
      if (v.kind == yaml_kind::scalar && is_array_file(v.text)) hint = "; write {file: " + v.text + "}";
      if (v.kind == yaml_kind::scalar && v.text.find('/') != std::string::npos &&
          index_.contains(v.text.substr(0, v.text.find('/'))))
        hint = "; write {node: " + v.text + "}";
      complain(n, place_of(k),
               "'" + k.key + "' must be " + (x.adds ? "" : "zero, ") +
                   "{item: NUMBER}, {pair: ITEMS_FURTHER_ON}, {node: NODE/DATASET} or {file: F.npy} (with .safetensors and .h5 "
                   "files: dataset: NAME), got " +
                   found(v) + hint);
    };
    if (v.kind != yaml_kind::map) return refuse();
    std::size_t ways = 0;
    for (auto const& e : v.entries) {
      ways += e.key != "dataset";
      if (e.key == "item" || e.key == "pair") {
        x.from = e.key == "item" ? edit_spec::value_kind::item : edit_spec::value_kind::pair;
        auto const i = plain_integer(e.value);
        if (!i || (e.key == "item" ? *i < 0 : *i == 0))
          complain(n, place_of(e),
                   e.key == "item"
                       ? "'item' must be the number of an item, of at least 0, got " + found(e.value)
                       : "'pair' must say how many items further on the pair is, such as 1 or -1, got " + found(e.value));
        x.number = i.value_or(0);
      } else if (e.key == "node") {
        x.from = edit_spec::value_kind::node;
        read_edit_node(n, x, e);
      } else if (e.key == "file") {
        x.from = edit_spec::value_kind::file;
        x.places["file"] = {place_of(e).at};
        std::string why;
        if (e.value.kind != yaml_kind::scalar || e.value.text.empty()) {
          complain(n, place_of(e), "'file' must be the path of a file that holds arrays, got " + found(e.value));
        } else if (!is_array_file(e.value.text, &why)) {
          complain(n, place_of(e), single_quoted(e.value.text) + ": " + why);
        } else {
          x.given_file = e.value.text;
          x.file = resolve(e.value.text, !e.from.option.empty());
        }
        if (!v.find("dataset") && (x.file.ends_with(".h5") || x.file.ends_with(".hdf5")))
          complain(n, e.from,
                   "'file' needs 'dataset': which values of the file, as NODE/DATASET (of another program's file: the dataset's "
                   "path)");
      } else if (e.key == "dataset") {
        if (!v.find("file")) complain(n, e.from, "'dataset' belongs to 'file', which is not given");
        auto const text = e.value.text.substr(e.value.text.starts_with('/') ? 1 : 0);
        if (e.value.kind != yaml_kind::scalar || text.empty() || text.ends_with('/'))
          complain(n, place_of(e),
                   "'dataset' must be the name of values of the file, such as NODE/DATASET, got " + found(e.value));
        else
          x.dataset = text;
      } else {
        complain(n, e.from, "'" + k.key + "' has no key " + single_quoted(e.key) + did_you_mean(e.key, strings_of(value_keys)));
      }
    }
    if (ways != 1) refuse();
  }

  void read_edit_node(plan_node& n, edit_spec& x, yaml_entry const& e) {
    port_descriptor p{};
    std::string const name = "edits." + std::to_string(n.edits.size());
    p.name = name.c_str(), p.kind = port_kind::results;
    auto const wires = n.wires.size();
    read_port(n, p, e);
    if (n.wires.size() == wires) return;  // said why already
    if (n.wires.back().dataset.empty()) {
      complain(n, place_of(e), "'node' must name one dataset, as NODE/DATASET, got " + found(e.value));
      return;
    }
    x.node = plan_.nodes[n.wires.back().node].name, x.dataset = n.wires.back().dataset;
  }

  // ---- sweep ----

  static std::string text_of(yaml_value const& v) {
    if (v.kind != yaml_kind::list) return v.text;
    std::string all;
    for (auto const& one : v.items) all += (all.empty() ? "" : ",") + text_of(one);
    return all;
  }

  void read_swept(plan_node& n, draft& d, std::string const& name, yaml_entry const& e) {
    auto const* p = n.what->find_param(name);
    if (!p) {
      std::vector<std::string> known;
      for (auto const& one : n.what->params()) known.emplace_back(one.name);
      for (auto const& near : near_names(name, known)) d.suggested.push_back(near);
      complain(n, e.from,
               std::string(n.what->id()) + " has no parameter " + single_quoted(name) + " to sweep" + did_you_mean(name, known));
      return;
    }
    bool const twice = !n.places.emplace(name, e.from.at).second;
    if (twice) complain(n, e.from, "'" + name + "' has a value and is swept; leave one out");
    if (e.value.kind == yaml_kind::list && e.value.items.empty()) {
      complain(n, place_of(e),
               "'sweep' has an empty list for '" + name + "'; give the values that it is to take, or leave it out");
      return;
    }
    if (e.value.kind != yaml_kind::list) {
      complain(n, place_of(e), "'sweep' needs a list of values for '" + name + "', got " + found(e.value));
      return;
    }
    swept_parameter s{name, {}, {}, {}};
    for (auto const& one : e.value.items) {
      std::vector<value_problem> wrong;
      auto value = convert(*p, one, wrong);
      for (auto& w : wrong) complain(n, one.kind == yaml_kind::null ? e.from : w.from, std::move(w.message));
      if (!value) continue;
      if (p->type == param_type::path && !value->text().empty())
        value = param_value(resolve(value->text(), !e.from.option.empty()));
      if (std::find(s.values.begin(), s.values.end(), *value) != s.values.end()) {
        complain(n, one.from, "'" + name + "' takes the value " + single_quoted(text_of(one)) + " twice in 'sweep'");
        continue;
      }
      s.values.push_back(std::move(*value));
      s.given.push_back(text_of(one));
      s.origins.push_back(one.from);
    }
    // Of a parameter that has no good value the others' combinations are left.
    if (!twice && !s.values.empty()) n.sweep.push_back(std::move(s));
  }

  /// Every combination of the swept values as parameters of its own.
  void expand(plan_node& n, draft const& d) {
    if (n.sweep.empty()) return;
    std::size_t count = 1;
    for (auto const& s : n.sweep)
      if (__builtin_mul_overflow(count, s.values.size(), &count) || count > max_combinations) {
        complain(n, d.entry->from,
                 "'sweep' makes more than " + std::to_string(max_combinations) + " combinations; sweep fewer values");
        return;
      }
    for (std::size_t i = 0; i < count; ++i) {
      config c = n.parameters;
      std::size_t rest = i;
      for (auto s = n.sweep.rbegin(); s != n.sweep.rend(); ++s) {
        c.set(s->name, s->values[rest % s->values.size()]);
        rest /= s->values.size();
      }
      if (c.has("seed") && n.what->find_param("seed")->type == param_type::integer)
        c.set_seed(static_cast<std::uint64_t>(c["seed"].integer()));
      n.variants.push_back(std::move(c));
    }
  }

  void add_defaults(plan_node& n, draft const& d) {
    origin const here = d.entry->from;
    auto const is_suggested = [&](std::string_view name) {
      return std::find(d.suggested.begin(), d.suggested.end(), name) != d.suggested.end();
    };
    auto const id = std::string(n.what->id());
    for (auto const& p : n.what->params()) {
      if (n.places.contains(p.name)) continue;
      if (std::string_view(p.name) == "seed" && p.type == param_type::integer) {
        inherit_seed(n, p, here);
      } else if (p.required) {
        if (!is_suggested(p.name))
          complain(n, here,
                   "'" + n.name + "' lacks '" + p.name + "', which " + id + " requires: " + p.doc + " (" + expected(p) + ")");
      } else {
        try {
          n.parameters.set(p.name, default_of(p));
          if (p.type == param_type::path && *p.default_text != '\0') {
            n.given_paths.insert_or_assign(p.name, p.default_text);
            n.parameters.set(p.name, param_value(resolve(p.default_text, false)));
          }
        } catch (plugin_error const& e) {
          complain(n, here, id + " (" + n.what->library().string() + "): " + e.what(), e.exit_code());
        }
      }
    }
    for (auto const& p : n.what->ports())
      if (!p.optional && !n.places.contains(p.name) && !is_suggested(p.name))
        complain(n, here,
                 "'" + n.name + "' lacks '" + p.name + "', which " + id + " requires: the name of a " +
                     std::string(noun_of(p.kind)) + " (" + p.doc + ")");
    if (n.parameters.has("seed") && n.what->find_param("seed")->type == param_type::integer)
      n.parameters.set_seed(static_cast<std::uint64_t>(n.parameters["seed"].integer()));
  }

  void inherit_seed(plan_node& n, param_descriptor const& p, origin const& here) {
    auto const s = static_cast<double>(plan_.seed);
    if (s >= p.minimum && s <= p.maximum) {
      n.parameters.set(p.name, param_value(static_cast<std::int64_t>(plan_.seed)));
    } else {
      complain(n, seed_from_.at.line || !seed_from_.option.empty() ? seed_from_ : here,
               "'" + n.name + "' gets the pipeline's seed, but its own must be " + expected(p) + ", got " +
                   std::to_string(plan_.seed) + "; give the node a seed");
    }
  }

  // A model leaves results only while it is trained, for which it needs data.
  static bool leaves_results(plan_node const& n) {
    return n.kind != plugin_kind::model || !n.what ||
           std::any_of(n.wires.begin(), n.wires.end(), [](wire const& w) { return w.kind == port_kind::source; });
  }

  void check_results_of_models() {
    for (auto& n : plan_.nodes)
      for (auto const& w : n.wires)
        if (auto const& other = plan_.nodes[w.node]; w.kind == port_kind::results && other.sound && !leaves_results(other))
          complain(n, wire_from_.at({n.name, w.port}),
                   "'" + w.port + "' needs results, but '" + other.name + "' is a model that is not trained and so leaves none");
  }

  // ---- order ----

  void put_in_order() {
    auto const count = plan_.nodes.size();
    // Edges go from what is read to who reads it.
    boost::adjacency_list<boost::vecS, boost::vecS, boost::bidirectionalS> graph(count);
    for (std::size_t i = 0; i < count; ++i)
      for (auto const& w : plan_.nodes[i].wires) boost::add_edge(w.node, i, graph);
    report_cycles(graph);

    std::vector<std::size_t> order, waiting(count);
    std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
    for (std::size_t i = 0; i < count; ++i) {
      waiting[i] = boost::in_degree(i, graph);
      if (waiting[i] == 0) ready.push(i);
    }
    while (!ready.empty()) {
      auto const i = ready.top();
      ready.pop();
      order.push_back(i);
      for (auto [e, end] = boost::out_edges(i, graph); e != end; ++e)
        if (--waiting[boost::target(*e, graph)] == 0) ready.push(boost::target(*e, graph));
    }
    for (std::size_t i = 0; i < count; ++i)
      if (waiting[i] > 0) {  // on a cycle or behind one
        plan_.nodes[i].sound = false;
        order.push_back(i);
      }

    std::vector<std::size_t> new_place(count);
    for (std::size_t i = 0; i < count; ++i) new_place[order[i]] = i;
    std::vector<plan_node> sorted;
    sorted.reserve(count);
    for (auto const i : order) sorted.push_back(std::move(plan_.nodes[i]));
    plan_.nodes = std::move(sorted);
    for (auto& n : plan_.nodes)
      for (auto& w : n.wires) w.node = new_place[w.node];
    for (auto& [name, i] : index_) i = new_place[i];
    for (auto& n : plan_.nodes)
      for (auto const& w : n.wires) n.sound = n.sound && plan_.nodes[w.node].sound;
  }

  template <class Graph>
  void report_cycles(Graph const& graph) {
    auto const count = plan_.nodes.size();
    std::vector<int> part(count);
    auto const parts =
        boost::strong_components(graph, boost::make_iterator_property_map(part.begin(), boost::get(boost::vertex_index, graph)));
    std::vector<bool> seen(static_cast<std::size_t>(parts), false);
    for (std::size_t i = 0; i < count; ++i) {
      if (seen[static_cast<std::size_t>(part[i])]) continue;
      seen[static_cast<std::size_t>(part[i])] = true;
      auto const round = way_back(i, part);
      if (round.empty()) continue;
      auto& n = plan_.nodes[i];
      std::string names;
      for (auto const r : round) names += plan_.nodes[r].name + " -> ";
      // The first wire of the way: from i to the node that it reads.
      auto const next = round.size() > 1 ? round[1] : i;
      auto const w = std::find_if(n.wires.begin(), n.wires.end(), [&](wire const& x) { return x.node == next; });
      complain(
          n, wire_from_.at({n.name, w->port}),
          round.size() == 1 ? "'" + n.name + "' is wired to itself" : "nodes read each other in a circle: " + names + n.name);
    }
  }

  // A shortest way along wires from node i within its component back to it; empty if there is none.
  std::vector<std::size_t> way_back(std::size_t i, std::vector<int> const& part) const {
    constexpr auto nobody = std::numeric_limits<std::size_t>::max();
    std::vector<std::size_t> from(plan_.nodes.size(), nobody);
    std::queue<std::size_t> next;
    next.push(i);
    while (!next.empty()) {
      auto const at = next.front();
      next.pop();
      for (auto const& w : plan_.nodes[at].wires) {
        if (part[w.node] != part[i]) continue;
        if (w.node == i) {
          std::vector<std::size_t> way;
          for (auto x = at; x != i; x = from[x]) way.push_back(x);
          way.push_back(i);
          std::reverse(way.begin(), way.end());
          return way;
        }
        if (from[w.node] != nobody) continue;
        from[w.node] = at;
        next.push(w.node);
      }
    }
    return {};
  }

  // ---- expect ----

  void read_expectations(yaml_entry const& expect) {
    if (expect.value.kind != yaml_kind::map) {
      complain(expect.value.kind == yaml_kind::null ? expect.from : expect.value.from,
               "'expect' must be a map such as {contrast/ratio: {at_least: 1.5}}, got " + found(expect.value));
      return;
    }
    for (auto const& e : expect.value.entries) {
      if (e.value.kind != yaml_kind::list) {
        read_expectation(e, e.value);
      } else if (e.value.items.empty()) {
        complain(e.value.from, "nothing is expected of '" + e.key + "'");
      } else {
        for (auto const& one : e.value.items) read_expectation(e, one);
      }
    }
  }

  void read_expectation(yaml_entry const& e, yaml_value const& v) {
    expectation x;
    x.what = e.key;
    x.at = e.from.at;
    auto const before = problems_.size();
    find_expected(x, e);
    if (v.kind != yaml_kind::map) {
      complain(v.kind == yaml_kind::null ? e.from : v.from,
               single_quoted(e.key) + " must have a map with at_least, at_most or near (with within), got " + found(v));
      return;
    }
    bool const has_within = v.find("within") != nullptr;
    for (auto const& k : v.entries) read_expectation_key(x, k);
    if (!v.find("at_least") && !v.find("at_most") && !v.find("near"))
      complain(e.from, "nothing to compare " + single_quoted(e.key) + " with: give at_least, at_most, or near with within");
    if (auto const* near = v.find("near"); near && !has_within)
      complain(near->from, "'near' needs 'within': how far from it is still right");
    if (auto const* within = v.find("within"); within && !v.find("near"))
      complain(within->from, "'within' belongs to 'near', which is not given");
    if (x.at_least && x.at_most && *x.at_least > *x.at_most)
      complain(v.find("at_most")->value.from, "no number is both at_least and at_most these");
    if (problems_.size() == before) plan_.expectations.push_back(std::move(x));
  }

  void find_expected(expectation& x, yaml_entry const& e) {
    auto const slash = e.key.find('/');
    if (slash == std::string::npos || slash + 1 == e.key.size()) {
      complain(e.from, "expect names a scalar as node/dataset, got " + single_quoted(e.key));
      return;
    }
    auto const node = e.key.substr(0, slash);
    x.dataset = e.key.substr(slash + 1);
    auto const at = index_.find(node);
    if (at == index_.end()) {
      complain(e.from, "expect names " + single_quoted(node) + ", but there is no such node" + did_you_mean(node, names_));
      return;
    }
    x.node = at->second;
    auto const& n = plan_.nodes[x.node];
    if (n.kind == plugin_kind::source || (n.sound && !leaves_results(n)))
      complain(e.from, "expect needs results, but '" + node + "' is a " + std::string(name_of(n.kind)) + ", which leaves none");
  }

  void read_expectation_key(expectation& x, yaml_entry const& k) {
    if (k.key == "at_least") {
      x.at_least = number(k);
    } else if (k.key == "at_most") {
      x.at_most = number(k);
    } else if (k.key == "near") {
      x.near = number(k);
    } else if (k.key == "within") {
      auto const w = number(k);
      if (w && *w < 0) complain(k.value.from, "'within' must be at least 0, got " + found(k.value));
      x.within = w.value_or(0);
    } else if (k.key == "source") {
      if (k.value.kind != yaml_kind::scalar) complain(k.value.from, "'source' must be a text, got " + found(k.value));
      x.source = k.value.text;
    } else if (k.key == "recalled") {
      auto const b = k.value.kind == yaml_kind::scalar ? boolean_of(k.value.text) : std::nullopt;
      if (!b) complain(k.value.from, "'recalled' must be true or false, got " + found(k.value));
      x.recalled = b.value_or(false);
    } else if (k.key == "at") {
      if (k.value.kind != yaml_kind::map)
        complain(k.value.from, "'at' must be a map such as {step: 1001}, got " + found(k.value));
      for (auto const& dimension : k.value.entries)
        if (auto const c = number(dimension)) x.select.emplace_back(dimension.key, *c);
    } else {
      complain(k.from, "an expectation has no key " + single_quoted(k.key) + did_you_mean(k.key, strings_of(expect_keys)));
    }
  }

  static std::optional<double> number_of(yaml_value const& v) {
    return v.kind == yaml_kind::scalar && !v.quoted ? real_of(v.text) : std::nullopt;
  }
  std::optional<double> number(yaml_entry const& k) {
    auto const r = number_of(k.value);
    if (!r)
      complain(k.value.kind == yaml_kind::null ? k.from : k.value.from,
               single_quoted(k.key) + " must be a number, got " + found(k.value));
    return r;
  }

  plan& plan_;
  registry& plugins_;
  std::vector<problem>& problems_;
  std::vector<std::string> names_;                                   // of all nodes, in file order
  std::map<std::string, std::size_t, std::less<>> index_;            // into plan_.nodes
  std::map<std::pair<std::string, std::string>, origin> wire_from_;  // node and port: where its value stands
  origin seed_from_;
};

}  // namespace

wire const* plan_node::find_wire(std::string_view port) const noexcept {
  for (auto const& w : wires)
    if (w.port == port) return &w;
  return nullptr;
}

origin plan_node::origin_of(std::string_view parameter, std::size_t i, std::size_t combination) const {
  for (auto s = sweep.rbegin(); s != sweep.rend(); combination /= s->given.size(), ++s)
    if (s->name == parameter) return s->origins[combination % s->given.size()];
  auto const found = origins.find(parameter);
  if (found == origins.end() || found->second.empty()) return {at, {}};
  return found->second[std::min(i, found->second.size() - 1)];
}

std::string plan_node::name_of_combination(std::size_t i) const {
  std::string all;
  for (auto s = sweep.rbegin(); s != sweep.rend(); ++s) {
    all = s->name + "=" + s->given[i % s->given.size()] + (all.empty() ? "" : ", ") + all;
    i /= s->given.size();
  }
  return all;
}

plan plan_of_text(fs::path const& file, std::string text, std::vector<std::string> const& overrides, registry& plugins,
                  std::vector<problem>& problems) {
  plan p;
  p.file = file;
  p.text = std::move(text);
  for (auto const& o : overrides) {
    auto const equals = std::min(o.find('='), o.size());
    p.overrides.emplace_back(o.substr(0, equals), o.substr(std::min(equals + 1, o.size())));
  }
  std::vector<problem> mine;
  reader(p, plugins, mine).read(overrides);
  problems.insert(problems.end(), std::make_move_iterator(mine.begin()), std::make_move_iterator(mine.end()));
  return p;
}

plan read_plan(fs::path const& file, std::vector<std::string> const& overrides, registry& plugins,
               std::vector<problem>& problems) {
  return plan_of_text(file, read_text(file.string(), max_pipeline_bytes), overrides, plugins, problems);
}

}  // namespace wayfarer::host
