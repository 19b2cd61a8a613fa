#include "pipeline/reading.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include <wayfarer/array_file.hpp>
#include <wayfarer/hooks.hpp>

#include "pipeline/values.hpp"

namespace wayfarer::host {
namespace {

constexpr std::array<std::string_view, 7> edit_keys{"hook", "items", "positions", "heads", "set", "add", "scale"};
constexpr std::array<std::string_view, 5> value_keys{"item", "pair", "node", "file", "dataset"};

std::vector<std::int64_t> integers(reading& file, plan_node& n, yaml_entry const& k, std::int64_t least, std::string const& what,
                                   std::vector<place>& places) {
  std::vector<std::int64_t> all;
  places.clear();
  auto const add = [&](yaml_value const& one) {
    auto const i = plain_integer(one);
    if (!i || *i < least)
      file.complain(n, one.kind == yaml_kind::null ? k.from : one.from,
                    "'" + k.key + "' must be " + what + ", got " + found(one));
    else if (std::find(all.begin(), all.end(), *i) != all.end())
      file.complain(n, one.from, "'" + k.key + "' has " + std::to_string(*i) + " twice");
    else
      all.push_back(*i), places.push_back(one.from.at);
  };
  if (k.value.kind != yaml_kind::list) {
    add(k.value);
  } else if (k.value.items.empty()) {
    file.complain(n, k.value.from, "'" + k.key + "' is an empty list; leave it out for all");
  } else {
    for (auto const& one : k.value.items) add(one);
  }
  return all;
}

void read_edit_node(reading& file, plan_node& n, edit_spec& x, yaml_entry const& e) {
  port_descriptor p{};
  std::string const name = "edits." + std::to_string(n.edits.size());
  p.name = name.c_str(), p.kind = port_kind::results;
  auto const wires = n.wires.size();
  read_port(file, n, p, e);
  if (n.wires.size() == wires) return;  // said why already
  if (n.wires.back().dataset.empty()) {
    file.complain(n, place_of(e), "'node' must name one dataset, as NODE/DATASET, got " + found(e.value));
    return;
  }
  x.node = file.out.nodes[n.wires.back().node].name, x.dataset = n.wires.back().dataset;
}

void read_edit_file(reading& file, plan_node& n, edit_spec& x, yaml_value const& v, yaml_entry const& e) {
  x.from = edit_spec::value_kind::file;
  x.places["file"] = {place_of(e).at};
  std::string why;
  if (e.value.kind != yaml_kind::scalar || e.value.text.empty()) {
    file.complain(n, place_of(e), "'file' must be the path of a file that holds arrays, got " + found(e.value));
  } else if (!is_array_file(e.value.text, &why)) {
    file.complain(n, place_of(e), single_quoted(e.value.text) + ": " + why);
  } else {
    x.given_file = e.value.text;
    x.file = file.resolve(e.value.text, !e.from.option.empty());
  }
  if (!v.find("dataset") && (x.file.ends_with(".h5") || x.file.ends_with(".hdf5")))
    file.complain(n, e.from,
                  "'file' needs 'dataset': which values of the file, as NODE/DATASET (of another program's file: the dataset's "
                  "path)");
}

void read_edit_dataset(reading& file, plan_node& n, edit_spec& x, yaml_value const& v, yaml_entry const& e) {
  if (!v.find("file")) file.complain(n, e.from, "'dataset' belongs to 'file', which is not given");
  auto const text = e.value.text.substr(e.value.text.starts_with('/') ? 1 : 0);
  if (e.value.kind != yaml_kind::scalar || text.empty() || text.ends_with('/'))
    file.complain(n, place_of(e),
                  "'dataset' must be the name of values of the file, such as NODE/DATASET, got " + found(e.value));
  else
    x.dataset = text;
}

void read_edit_value(reading& file, plan_node& n, edit_spec& x, yaml_entry const& k) {
  auto const& v = k.value;
  if (!x.adds && v.kind == yaml_kind::scalar && (v.text == "zero" || number_of(v) == 0.0)) return;
  auto const refuse = [&] {
    std::string hint;
    if (v.kind == yaml_kind::scalar && is_array_file(v.text)) hint = "; write {file: " + v.text + "}";
    if (v.kind == yaml_kind::scalar && v.text.find('/') != std::string::npos &&
        file.index.contains(v.text.substr(0, v.text.find('/'))))
      hint = "; write {node: " + v.text + "}";
    file.complain(
        n, place_of(k),
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
        file.complain(n, place_of(e),
                      e.key == "item"
                          ? "'item' must be the number of an item, of at least 0, got " + found(e.value)
                          : "'pair' must say how many items further on the pair is, such as 1 or -1, got " + found(e.value));
      x.number = i.value_or(0);
    } else if (e.key == "node") {
      x.from = edit_spec::value_kind::node;
      read_edit_node(file, n, x, e);
    } else if (e.key == "file") {
      read_edit_file(file, n, x, v, e);
    } else if (e.key == "dataset") {
      read_edit_dataset(file, n, x, v, e);
    } else {
      file.complain(n, e.from,
                    "'" + k.key + "' has no key " + single_quoted(e.key) + did_you_mean(e.key, strings_of(value_keys)));
    }
  }
  if (ways != 1) refuse();
}

void read_edit(reading& file, plan_node& n, yaml_value const& v) {
  edit_spec x;
  x.at = v.from.at, x.option = v.from.option;
  for (auto const& k : v.entries) {
    auto& places = x.places[k.key];
    places = {place_of(k).at};
    if (k.key == "hook") {
      if (k.value.kind != yaml_kind::scalar || k.value.text.empty())
        file.complain(n, place_of(k),
                      "'hook' must be the name of a hook, or a pattern such as blocks.*.hook_mlp_out, got " + found(k.value));
      x.hook = k.value.text;
    } else if (k.key == "items") {
      x.items = read_items(file, n, k);
    } else if (k.key == "positions") {
      x.positions = integers(file, n, k, std::numeric_limits<std::int64_t>::min(),
                             "integers; those below 0 count from the end: write -1 for the last", places);
    } else if (k.key == "heads") {
      for (auto const h : integers(file, n, k, 0, "integers of at least 0", places))
        x.heads.push_back(static_cast<std::size_t>(h));
    } else if (k.key == "set" || k.key == "add") {
      x.adds = k.key == "add";
      read_edit_value(file, n, x, k);
    } else if (k.key == "scale") {
      auto const scale = file.number(k);
      if (!scale) n.sound = false;
      x.scale = scale.value_or(1);
    } else {
      file.complain(n, k.from, "an edit has no key " + single_quoted(k.key) + did_you_mean(k.key, strings_of(edit_keys)));
    }
  }
  if (!v.find("hook")) file.complain(n, v.from, "an edit needs 'hook': where it is made");
  if (!v.find("set") == !v.find("add"))
    file.complain(n, v.from,
                  v.find("set") ? "an edit has 'set' or 'add', not both" : "an edit needs 'set' or 'add': what is to be done");
  if (auto const* scale = v.find("scale"); scale && !v.find("add"))
    file.complain(n, scale->from, "'scale' belongs to 'add', which is not given");
  n.edits.push_back(std::move(x));
}

}  // namespace

void read_edits(reading& file, plan_node& n, yaml_entry const& e) {
  if (e.value.kind == yaml_kind::list && e.value.items.empty()) {
    file.complain(n, place_of(e), "'edits' is an empty list; leave it out for none");
    return;
  }
  if (e.value.kind != yaml_kind::list) {
    file.complain(n, place_of(e),
                  "'edits' must be a list such as [{hook: blocks.0.hook_mlp_out, set: zero}], got " + found(e.value));
    return;
  }
  for (auto const& one : e.value.items) {
    if (one.kind != yaml_kind::map) {
      file.complain(n, one.from, "an edit must be a map such as {hook: blocks.0.hook_mlp_out, set: zero}, got " + found(one));
      continue;
    }
    read_edit(file, n, one);
  }
}

}  // namespace wayfarer::host
