#include "pipeline/reading.hpp"

#include <array>

#include <wayfarer/hooks.hpp>

namespace wayfarer::host {
namespace {

void came_from(yaml_value& v, origin const& from) {
  v.from = from;
  for (auto& i : v.items) came_from(i, from);
  for (auto& e : v.entries) e.from = from, came_from(e.value, from);
}

// Brackets and quotes are YAML; everything else is taken as it is, since shells and YAML disagree enough about '*', ':' and
// '#'.
std::optional<yaml_value> option_value(reading& file, std::string const& text, origin const& from) {
  yaml_value v;
  v.kind = yaml_kind::scalar;
  v.text = text;
  if (text.starts_with('[') || text.starts_with('"') || text.starts_with('\'')) {
    std::vector<problem> inner;
    v = read_yaml(text, inner);
    if (!inner.empty()) {
      file.complain(from, "at character " + std::to_string(inner.front().at.column) + " of the value: " + inner.front().message);
      return {};
    }
  }
  came_from(v, from);
  return v;
}

yaml_entry* find_dotted(yaml_value& map, std::string_view key) {
  if (auto* e = map.find(key)) return e;
  for (auto dot = key.find('.'); dot != std::string_view::npos; dot = key.find('.', dot + 1)) {
    auto* group = map.find(key.substr(0, dot));
    if (!group || group->value.kind != yaml_kind::map) continue;
    if (auto* e = find_dotted(group->value, key.substr(dot + 1))) return e;
  }
  return nullptr;
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

}  // namespace

void override_with(reading& file, yaml_value& root, std::string const& given) {
  origin const from{{}, "--set " + given};
  auto const equals = given.find('=');
  auto const path = given.substr(0, equals);
  auto const dot = path.find('.');
  if (equals == std::string::npos || path.empty() || dot == 0 || (dot != std::string::npos && dot + 1 == path.size())) {
    file.complain(from, "write node.key=value, seed=NUMBER, title=TEXT or keep=activations");
    return;
  }
  auto value = option_value(file, given.substr(equals + 1), from);
  if (!value) return;
  if (dot == std::string::npos) {
    if (path == "seed" || path == "title" || path == "keep") {
      put(root, path, std::move(*value), from);
    } else {
      file.complain(from, "'" + path + "' is neither a node's key nor seed, title or keep; write node.key=value" +
                              did_you_mean(path, std::array<std::string, 3>{"seed", "title", "keep"}));
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
    file.complain(from, "no node " + single_quoted(node) + did_you_mean(node, names));
    return;
  }
  // A node that is no map is reported where it stands.
  if (entry->value.kind == yaml_kind::map) put(entry->value, path.substr(dot + 1), std::move(*value), from);
}

}  // namespace wayfarer::host
