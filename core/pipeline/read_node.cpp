#include "pipeline/reading.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include <wayfarer/hooks.hpp>

#include "pipeline/hub.hpp"
#include "pipeline/values.hpp"

namespace wayfarer::host {
namespace {

constexpr auto all_items = std::numeric_limits<std::int64_t>::max();

std::string_view noun_of(port_kind k) noexcept {
  return k == port_kind::results ? "probe or metric" : name_of(k);
}

std::string a(std::string_view noun) {
  return "a " + std::string(noun);
}

bool is_host_key(plan_node const& n, std::string_view key) {
  auto const keys = host_keys_of(n.what->kind(), n.what->ports());
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

std::vector<std::string> known_keys(plan_node const& n) {
  auto known = host_keys_of(n.what->kind(), n.what->ports());
  for (auto const& p : n.what->params()) known.emplace_back(p.name);
  for (auto const& p : n.what->ports()) known.emplace_back(p.name);
  return known;
}

// What may stand in a group: the names in the schema that begin with "train.", without it.
std::vector<std::string> members(plan_node const& n, std::string const& prefix) {
  std::vector<std::string> names;
  for (auto const& k : known_keys(n))
    if (k.starts_with(prefix)) names.push_back(k.substr(prefix.size()));
  return names;
}

yaml_value list_of(yaml_value const& one) {
  yaml_value list;
  list.kind = yaml_kind::list, list.items = {one}, list.from = one.from;
  return list;
}

void read_param(reading& file, plan_node& n, param_descriptor const& p, yaml_entry const& e) {
  std::vector<value_problem> wrong;
  auto value = convert(p, e.value, wrong);
  // A value that isn't there has no place of its own.
  for (auto& w : wrong) file.complain(n, e.value.kind == yaml_kind::null ? e.from : w.from, std::move(w.message));
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
    return file.complain(n, e.value.from, "'" + std::string(p.name) + "' is empty; give a path: " + p.doc);
  if (p.type == param_type::path && !value->text().empty()) {
    n.given_paths.insert_or_assign(p.name, value->text());
    std::string path = file.resolve(value->text(), !e.from.option.empty());
    if (n.kind == plugin_kind::model) {
      try {
        path = model_folder(value->text(), path);
      } catch (error const& missing) {
        file.complain(n, e.value.from, missing.what(), missing.exit_code());
      }
    }
    value = param_value(std::move(path));
  }
  n.parameters.set(p.name, std::move(*value));
}

/// Other names of the same types.
std::string meant_precision(yaml_value const& v, std::vector<std::string> const& names) {
  static std::map<std::string, std::string, std::less<>> const others{
      {"float32", "f32"}, {"fp32", "f32"}, {"float", "f32"},  {"single", "f32"}, {"32", "f32"},
      {"float64", "f64"}, {"fp64", "f64"}, {"double", "f64"}, {"64", "f64"},     {"bfloat16", "bf16"}};
  auto const other = others.find(v.text);
  return other == others.end() ? did_you_mean(v.text, names) : "; write " + other->second;
}

void read_precision(reading& file, plan_node& n, yaml_entry const& e) {
  static std::vector<std::string> const names{"f32", "f64", "bf16"};
  auto const at = std::find(names.begin(), names.end(), e.value.kind == yaml_kind::scalar ? e.value.text : "");
  if (at == names.end())
    file.complain(n, place_of(e),
                  "'precision' must be f32, f64 or bf16, got " + found(e.value) + meant_precision(e.value, names));
  else
    n.precision = std::array{dtype::f32, dtype::f64, dtype::bf16}[static_cast<std::size_t>(at - names.begin())];
}

void read_host_key(reading& file, plan_node& n, draft& d, std::string const& key, yaml_entry const& e) {
  if (key == "items") {
    n.items = read_items(file, n, e);
  } else if (key == "edits") {
    read_edits(file, n, e);
  } else if (key == "precision") {
    read_precision(file, n, e);
  } else if (key == "sweep") {
    if (e.value.kind == yaml_kind::map && e.value.entries.empty())
      file.complain(n, place_of(e), "'sweep' is empty; name parameters in it, {parameter: [first, second]}, or leave it out");
    else if (e.value.kind == yaml_kind::map)
      for (auto const& one : e.value.entries) read_swept(file, n, d, one.key, one);
    else
      file.complain(n, place_of(e), "'sweep' must be a map such as {parameter: [first, second]}, got " + found(e.value));
  } else {
    auto const v = plain_integer(e.value);
    if (!v || *v < 1 || *v > all_items)
      file.complain(n, place_of(e), "'" + key + "' must be an integer of at least 1, got " + found(e.value));
    else
      (key == "block" ? n.block : n.max_tokens) = static_cast<std::size_t>(*v);
  }
}

void unknown_key(reading& file, plan_node& n, draft& d, std::string const& key, yaml_entry const& e) {
  auto const known = known_keys(n);
  auto const id = std::string(n.what->id());
  bool const kind_word = std::any_of(kind_words.begin(), kind_words.end(), [&](auto k) { return name_of(k) == key; });
  if (kind_word) {
    file.complain(n, e.from,
                  id + " has no port '" + key + "', and '" + d.kind_entry->key + "' names the plugin of this node already");
    return;
  }
  for (auto const& near : near_names(key, known)) d.suggested.push_back(near);
  if (std::find(host_keys.begin(), host_keys.end(), key) != host_keys.end()) {
    file.complain(n, e.from,
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
  file.complain(n, e.from, id + " has no parameter " + single_quoted(key) + hint);
}

void read_keys(reading& file, plan_node& n, draft& d, yaml_value const& map, std::string const& prefix) {
  for (auto const& e : map.entries) {
    if (&e == d.kind_entry) continue;
    auto const key = prefix + e.key;
    if (!n.places.emplace(key, e.from.at).second) {
      file.complain(n, e.from, "duplicate key " + single_quoted(key));
    } else if (auto const* port = n.what->find_port(key)) {
      read_port(file, n, *port, e);
    } else if (auto const* param = n.what->find_param(key)) {
      read_param(file, n, *param, e);
    } else if (is_host_key(n, key)) {
      read_host_key(file, n, d, key, e);
    } else if (key.starts_with("sweep.") && is_host_key(n, "sweep")) {
      n.places.erase(key);
      read_swept(file, n, d, key.substr(6), e);  // --set node.sweep.name=[...]
    } else if (auto const group = members(n, key + "."); !group.empty()) {
      if (e.value.kind == yaml_kind::map) {
        read_keys(file, n, d, e.value, key + ".");
      } else {
        file.complain(n, e.value.kind == yaml_kind::null ? e.from : e.value.from,
                      "'" + key + "' is a group with the keys " + enumerate_words(group) + "; write " + e.key + ": {" +
                          group.front() + ": ...}, got " + found(e.value));
      }
    } else {
      unknown_key(file, n, d, key, e);
    }
  }
}

void inherit_seed(reading& file, plan_node& n, param_descriptor const& p, origin const& here) {
  auto const s = static_cast<double>(file.out.seed);
  if (s >= p.minimum && s <= p.maximum) {
    n.parameters.set(p.name, param_value(static_cast<std::int64_t>(file.out.seed)));
  } else {
    file.complain(n, file.seed_from.at.line || !file.seed_from.option.empty() ? file.seed_from : here,
                  "'" + n.name + "' gets the pipeline's seed, but its own must be " + expected(p) + ", got " +
                      std::to_string(file.out.seed) + "; give the node a seed");
  }
}

void add_defaults(reading& file, plan_node& n, draft const& d) {
  origin const here = d.entry->from;
  auto const is_suggested = [&](std::string_view name) {
    return std::find(d.suggested.begin(), d.suggested.end(), name) != d.suggested.end();
  };
  auto const id = std::string(n.what->id());
  for (auto const& p : n.what->params()) {
    if (n.places.contains(p.name)) continue;
    if (std::string_view(p.name) == "seed" && p.type == param_type::integer) {
      inherit_seed(file, n, p, here);
    } else if (p.required) {
      if (!is_suggested(p.name))
        file.complain(n, here,
                      "'" + n.name + "' lacks '" + p.name + "', which " + id + " requires: " + p.doc + " (" + expected(p) + ")");
    } else {
      try {
        n.parameters.set(p.name, default_of(p));
        if (p.type == param_type::path && *p.default_text != '\0') {
          n.given_paths.insert_or_assign(p.name, p.default_text);
          n.parameters.set(p.name, param_value(file.resolve(p.default_text, false)));
        }
      } catch (plugin_error const& e) {
        file.complain(n, here, id + " (" + n.what->library().string() + "): " + e.what(), e.exit_code());
      }
    }
  }
  for (auto const& p : n.what->ports())
    if (!p.optional && !n.places.contains(p.name) && !is_suggested(p.name))
      file.complain(n, here,
                    "'" + n.name + "' lacks '" + p.name + "', which " + id + " requires: the name of a " +
                        std::string(noun_of(p.kind)) + " (" + p.doc + ")");
  if (n.parameters.has("seed") && n.what->find_param("seed")->type == param_type::integer)
    n.parameters.set_seed(static_cast<std::uint64_t>(n.parameters["seed"].integer()));
}

}  // namespace

std::optional<item_range> read_items(reading& file, plan_node& n, yaml_entry const& e) {
  auto const& text = e.value.text;
  if (e.value.kind == yaml_kind::scalar && text == "all") return {};
  auto const colon = text.find(':');
  auto const first = colon == std::string::npos ? std::optional<std::int64_t>(0) : integer_of(text.substr(0, colon));
  auto const last = integer_of(colon == std::string::npos ? text : text.substr(colon + 1));
  if (e.value.kind == yaml_kind::scalar && first && last && *first >= 0 && *last > *first)
    return item_range{static_cast<std::size_t>(*first), static_cast<std::size_t>(*last)};
  file.complain(
      n, place_of(e),
      "'items' must be a number of items such as 500, or a range such as 100:500 that holds at least one, got " + found(e.value));
  return {};
}

void read_port(reading& file, plan_node& n, port_descriptor const& p, yaml_entry const& e) {
  auto const name = "'" + std::string(p.name) + "'";
  auto const& from = e.value.kind == yaml_kind::null ? e.from : e.value.from;
  if (e.value.kind != yaml_kind::scalar) {
    file.complain(n, from, name + " must name " + a(noun_of(p.kind)) + ", got " + found(e.value));
    return;
  }
  auto const slash = e.value.text.find('/');
  auto const node = e.value.text.substr(0, slash);
  auto const dataset = slash == std::string::npos ? "" : e.value.text.substr(slash + 1);
  auto const at = file.index.find(node);
  if (at == file.index.end()) {
    auto hint = did_you_mean(node, file.names);
    if (auto const ids = file.plugins.ids();
        hint.empty() && p.kind == port_kind::model && std::find(ids.begin(), ids.end(), node) != ids.end())
      hint = "; that is a plugin, which needs a node of its own, such as " + node + ": {model: " + node + "}";
    file.complain(n, from, name + " names " + single_quoted(node) + ", but there is no such node" + hint);
    return;
  }
  if (slash != std::string::npos && (p.kind != port_kind::results || dataset.empty())) {
    file.complain(n, from,
                  name + (dataset.empty() ? " lacks a dataset after '/'" : " needs a whole node") + "; write '" + node + "'");
    return;
  }
  // The kind that the file gives is what counts here; whether the plugin is of that kind is reported with that node.
  auto const& other = file.out.nodes[at->second];
  bool const unknown = other.kind == plugin_kind{};
  bool const fits = p.kind == port_kind::source  ? other.kind == plugin_kind::source
                    : p.kind == port_kind::model ? other.kind == plugin_kind::model
                                                 : other.kind != plugin_kind::source;
  if (!unknown && !fits) {
    file.complain(n, from,
                  name + " needs " +
                      (p.kind == port_kind::results ? "results (of a probe, a metric or a trained model)" : a(noun_of(p.kind))) +
                      ", but '" + node + "' is a " + std::string(name_of(other.kind)));
    return;
  }
  n.wires.push_back({p.name, p.kind, at->second, dataset, e.value.from.at});
  file.wire_from.emplace(std::pair(n.name, std::string(p.name)), e.value.from);
}

void read_node(reading& file, plan_node& n, draft& d) {
  read_keys(file, n, d, d.entry->value, "");
  add_defaults(file, n, d);
  expand(file, n, d);
  // A node whose plugin is of another kind was checked against that plugin's schema, and can't be used.
  if (n.what->kind() != n.kind) n.what = nullptr;
}

}  // namespace wayfarer::host
