#include "pipeline/reading.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include <wayfarer/file.hpp>
#include <wayfarer/hooks.hpp>

#include "pipeline/values.hpp"

namespace wayfarer::host {

namespace fs = std::filesystem;

namespace {

constexpr std::array<std::string_view, 5> top_keys{"title", "seed", "keep", "nodes", "expect"};

bool is_node_name(std::string_view name) noexcept {
  auto const lower = [](char c) { return c >= 'a' && c <= 'z'; };
  if (name.empty() || !lower(name.front())) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return lower(c) || (c >= '0' && c <= '9') || c == '_'; });
}

void load_plugin_of(reading& file, plan_node& n, yaml_value const& id) {
  plugin const* found_plugin = nullptr;
  try {
    if (is_node_name(id.text)) found_plugin = file.plugins.find(id.text);  // an id is spelled like a node, and never is a path
  } catch (plugin_error const& e) {
    file.complain(n, id.from, e.what(), e.exit_code());
    return;
  }
  if (!found_plugin) {
    std::string hint = did_you_mean(id.text, file.plugins.ids());
    if (hint.empty() && file.index.contains(id.text))
      hint = "; that is a node of this file: a node that reads it has 'probe: ID' or 'metric: ID' as well";
    if (auto const slash = id.text.find_last_of("/."); slash != std::string::npos) {
      auto const word = std::string(name_of(n.kind));
      hint = "; '" + word + "' takes the id of a plugin, and the plugin a path: " + word + ": ID, path: " + id.text;
    }
    if (hint.empty()) hint = "; 'wayfarer plugins list' shows what there is";
    file.complain(n, id.from, "no plugin " + single_quoted(id.text) + hint);
    return;
  }
  if (found_plugin->kind() != n.kind)
    file.complain(n, id.from,
                  single_quoted(id.text) + " is a " + std::string(name_of(found_plugin->kind())) + ", not a " +
                      std::string(name_of(n.kind)) + "; write '" + std::string(name_of(found_plugin->kind())) + ": " + id.text +
                      "'");
  n.what = found_plugin;
}

void find_plugin(reading& file, plan_node& n, draft& d) {
  auto const& e = *d.entry;
  if (!is_node_name(e.key))
    file.complain(n, e.from,
                  "node name " + single_quoted(e.key) + " must be lower-case letters, digits and '_', beginning with a letter");
  if (e.value.kind != yaml_kind::map) {
    file.complain(n, e.value.kind == yaml_kind::null ? e.from : e.value.from,
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
    file.complain(
        n, e.from,
        "node " + single_quoted(e.key) + " names no plugin: it needs one of the keys source, model, probe and metric" + hint);
    return;
  }
  auto const& value = d.kind_entry->value;
  if (value.kind != yaml_kind::scalar) {
    file.complain(n, value.kind == yaml_kind::null ? d.kind_entry->from : value.from,
                  "'" + d.kind_entry->key + "' must be the id of a plugin, got " + found(value));
    return;
  }
  load_plugin_of(file, n, value);
}

void check_results_of_models(reading& file) {
  for (auto& n : file.out.nodes)
    for (auto const& w : n.wires)
      if (auto const& other = file.out.nodes[w.node]; w.kind == port_kind::results && other.sound && !leaves_results(other))
        file.complain(
            n, file.wire_from.at({n.name, w.port}),
            "'" + w.port + "' needs results, but '" + other.name + "' is a model that is not trained and so leaves none");
}

void read_nodes(reading& file, yaml_entry const& nodes) {
  if (nodes.value.kind != yaml_kind::map || nodes.value.entries.empty()) {
    file.complain(nodes.value.kind == yaml_kind::null ? nodes.from : nodes.value.from,
                  "'nodes' must be a map of at least one node, got " +
                      (nodes.value.kind == yaml_kind::map ? std::string("an empty one") : found(nodes.value)));
    return;
  }
  std::vector<draft> drafts;
  for (auto const& e : nodes.value.entries) {
    file.index.emplace(e.key, file.out.nodes.size());
    file.names.push_back(e.key);
    file.out.nodes.emplace_back();
    auto& n = file.out.nodes.back();
    n.name = e.key;
    n.at = e.from.at;
    drafts.push_back({&e, nullptr, {}});
  }
  for (std::size_t i = 0; i < drafts.size(); ++i) find_plugin(file, file.out.nodes[i], drafts[i]);
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    file.out.nodes[i].parameters.set_seed(file.out.seed);
    if (file.out.nodes[i].what) read_node(file, file.out.nodes[i], drafts[i]);
  }
  check_results_of_models(file);
  put_in_order(file);
}

void read_title(reading& file, yaml_entry const& e) {
  if (e.value.kind == yaml_kind::scalar) {
    file.out.title = e.value.text;
  } else {
    file.complain(e.value.from, "'title' must be a text, got " + found(e.value));
  }
}

void read_seed(reading& file, yaml_entry const& e) {
  auto const n = e.value.kind == yaml_kind::scalar && !e.value.quoted ? integer_of(e.value.text) : std::nullopt;
  if (n && *n >= 0) {
    file.out.seed = static_cast<std::uint64_t>(*n);
    file.seed_from = e.value.from;
  } else {
    file.complain(e.value.from, "'seed' must be an integer of at least 0, got " + found(e.value));
  }
}

void read_keep(reading& file, yaml_entry const& e) {
  static std::array<std::string, 2> const words{"activations", "nothing"};
  std::string const text = e.value.kind == yaml_kind::scalar ? e.value.text : "";
  file.out.keeps_activations = text == words[0];
  if (text != words[0] && text != words[1])
    file.complain(e.value.kind == yaml_kind::null ? e.from : e.value.from,
                  "'keep' must be activations or nothing, got " + found(e.value) + did_you_mean(text, words));
}

void read_top(reading& file, yaml_value const& root) {
  yaml_entry const *nodes = nullptr, *expect = nullptr;
  for (auto const& e : root.entries) {
    if (e.key == "title") {
      read_title(file, e);
    } else if (e.key == "seed") {
      read_seed(file, e);
    } else if (e.key == "keep") {
      read_keep(file, e);
    } else if (e.key == "nodes") {
      nodes = &e;
    } else if (e.key == "expect") {
      expect = &e;
    } else {
      file.complain(e.from, "a pipeline has no key " + single_quoted(e.key) + did_you_mean(e.key, strings_of(top_keys)));
    }
  }
  if (!nodes) {
    file.complain(root.from, "no 'nodes': a pipeline needs at least one node");
  } else {
    read_nodes(file, *nodes);
  }
  if (expect) read_expectations(file, *expect);
}

void read_file(reading& file, std::vector<std::string> const& overrides) {
  auto root = read_yaml(file.out.text, file.problems);
  if (root.kind == yaml_kind::map) {
    for (auto const& o : overrides) override_with(file, root, o);
    read_top(file, root);
  } else if (file.problems.empty()) {
    file.complain(root.from, "a pipeline is a map with the keys title, seed, keep, nodes and expect; got " + found(root));
  }
  sort_problems(file.problems);
}

}  // namespace

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
  reading of{p, plugins, mine};
  read_file(of, overrides);
  problems.insert(problems.end(), std::make_move_iterator(mine.begin()), std::make_move_iterator(mine.end()));
  return p;
}

plan read_plan(fs::path const& file, std::vector<std::string> const& overrides, registry& plugins,
               std::vector<problem>& problems) {
  return plan_of_text(file, read_text(file.string(), max_pipeline_bytes), overrides, plugins, problems);
}

}  // namespace wayfarer::host
