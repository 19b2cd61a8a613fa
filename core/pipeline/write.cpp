#include <algorithm>
#include <functional>
#include <span>
#include <tuple>
#include <type_traits>

#include <wayfarer/json.hpp>

#include "pipeline/plan.hpp"

namespace wayfarer::host {
namespace {

json_value json_of(param_value const& v) {
  return std::visit(
      [](auto const& x) {
        using value = std::remove_cvref_t<decltype(x)>;
        if constexpr (std::is_arithmetic_v<value> || std::is_same_v<value, std::string>) {
          return json_value(x);
        } else {
          auto list = json_value::array();
          for (auto const& one : x) list.push_back(json_value(one));
          return list;
        }
      },
      v.get());
}

json_value json_of(config const& c) {
  auto out = json_value::object();
  for (auto const& [name, value] : c.values()) out.set(name, json_of(value));
  return out;
}

/// How a path is written: of what was given and what it was resolved to.
using path_text = std::function<json_value(std::string const& given, std::string const& resolved)>;

json_value as_given(std::string const& given, std::string const&) {
  return json_value(given);
}

json_value parameters_of(plan_node const& n, path_text const& path) {
  auto out = json_of(n.parameters);
  for (auto const& [name, given] : n.given_paths)
    out.set(name, path(given, n.parameters.has(name) ? n.parameters[name].text() : ""));
  if (!n.sweep.empty()) {
    auto swept = json_value::object();
    for (auto const& s : n.sweep) {
      auto values = json_value::array();
      bool const is_path = n.what && n.what->find_param(s.name)->type == param_type::path;
      for (std::size_t i = 0; i < s.values.size(); ++i)
        values.push_back(is_path ? path(s.given[i], s.values[i].text()) : json_of(s.values[i]));
      swept.set(s.name, values);
    }
    out.set("sweep", swept);
  }
  return out;
}

std::string text_of(item_range const& r) {
  return std::to_string(r.first) + ":" + std::to_string(r.last);
}

json_value json_of(edit_spec const& e, path_text const& path) {
  auto out = json_value::object({{"hook", json_value(e.hook)}});
  if (e.items) out.set("items", json_value(text_of(*e.items)));
  auto const list = [](auto const& all) {
    auto numbers = json_value::array();
    for (auto const one : all) numbers.push_back(json_value(one));
    return numbers;
  };
  if (!e.positions.empty()) out.set("positions", list(e.positions));
  if (!e.heads.empty()) out.set("heads", list(e.heads));
  json_value value("zero");
  switch (e.from) {
    case edit_spec::value_kind::zero:
      break;
    case edit_spec::value_kind::item:
      value = json_value::object({{"item", json_value(e.number)}});
      break;
    case edit_spec::value_kind::pair:
      value = json_value::object({{"pair", json_value(e.number)}});
      break;
    case edit_spec::value_kind::node:
      value = json_value::object({{"node", json_value(e.node + "/" + e.dataset)}});
      break;
    case edit_spec::value_kind::file:
      value = json_value::object({{"file", path(e.given_file, e.file)}, {"dataset", json_value(e.dataset)}});
      break;
  }
  out.set(e.adds ? "add" : "set", value);
  if (e.adds) out.set("scale", json_value(e.scale));
  return out;
}

std::string target_of(plan const& p, wire const& w) {
  auto const& name = p.nodes[w.node].name;
  return w.dataset.empty() ? name : name + "/" + w.dataset;
}

json_value edits_json(plan_node const& n, path_text const& path) {
  auto out = json_value::array();
  for (auto const& e : n.edits) out.push_back(json_of(e, path));
  return out;
}

json_value json_of(plan const& p, plan_node const& n) {
  auto out = json_value::object({{"kind", json_value(name_of(n.kind))},
                                 {"plugin", n.what ? json_value(n.what->id()) : json_value()},
                                 {"parameters", parameters_of(n, as_given)},
                                 {"seed", json_value(n.parameters.seed())}});
  auto ports = json_value::object();
  for (auto const& w : n.wires)
    if (!is_edit(w)) ports.set(w.port, json_value(target_of(p, w)));
  out.set("ports", ports);
  if (n.items) out.set("items", json_value(text_of(*n.items)));
  if (n.max_tokens) out.set("max_tokens", json_value(n.max_tokens));
  if (n.block) out.set("block", json_value(n.block));
  if (n.precision != dtype::f32) out.set("precision", json_value(name_of(n.precision)));
  if (!n.edits.empty()) out.set("edits", edits_json(n, as_given));
  return out;
}

json_value json_of(expectation const& e) {
  auto out =
      json_value::object({{"what", json_value(e.what)}, {"source", json_value(e.source)}, {"recalled", json_value(e.recalled)}});
  if (e.at_least) out.set("at_least", json_value(*e.at_least));
  if (e.at_most) out.set("at_most", json_value(*e.at_most));
  if (e.near) out.set("near", json_value(*e.near)).set("within", json_value(e.within));
  auto at = json_value::object();
  for (auto const& [dimension, coordinate] : e.select) at.set(dimension, json_value(coordinate));
  out.set("at", at);
  return out;
}

std::string dot_text(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string_view shape_of(plugin_kind k) noexcept {
  switch (k) {
    case plugin_kind::source:
      return "cylinder";
    case plugin_kind::model:
      return "box3d";
    case plugin_kind::probe:
      return "ellipse";
    case plugin_kind::metric:
      break;
  }
  return "hexagon";
}

}  // namespace

std::string format_problems(std::filesystem::path const& file, std::vector<problem> const& problems) {
  constexpr std::size_t most_lines = 50;
  std::string out;
  for (auto const& p : std::span(problems).first(std::min(problems.size(), most_lines))) {
    out += p.option.empty() ? located(file.string(), p.at.line, p.at.column, p.message) : p.option + ": " + p.message;
    out += '\n';
  }
  if (problems.size() > most_lines) out += "... and " + std::to_string(problems.size() - most_lines) + " more, not shown\n";
  return out + std::to_string(problems.size()) + (problems.size() == 1 ? " error" : " errors") + "; nothing was run";
}

void sort_problems(std::vector<problem>& problems) {
  std::stable_sort(problems.begin(), problems.end(), [](problem const& x, problem const& y) {
    auto const key = [](problem const& p) { return std::tuple(!p.option.empty(), p.at.line, p.at.column); };
    return key(x) < key(y);
  });
}

int exit_code_of(std::vector<problem> const& problems) noexcept {
  int code = 0;
  for (auto const& p : problems) code = code == 0 ? p.exit_code : std::min(code, p.exit_code);
  return code;
}

std::string canonical_json(plan const& p) {
  auto nodes = json_value::object();
  for (auto const& n : p.nodes) nodes.set(n.name, json_of(p, n));
  auto expect = json_value::array();
  for (auto const& e : p.expectations) expect.push_back(json_of(e));
  auto all =
      json_value::object({{"title", json_value(p.title)}, {"seed", json_value(p.seed)}, {"nodes", nodes}, {"expect", expect}});
  if (p.keeps_activations) all.set("keep", json_value("activations"));
  return to_json(all, 0, json_order::sorted);
}

std::string canonical_json(plan_node const& n) {
  return to_json(parameters_of(n, as_given), 0, json_order::sorted);
}

std::string json_without_paths(plan_node const& n, std::vector<std::string> const& paths) {
  auto const numbered = [&](std::string const&, std::string const& resolved) {
    auto const found = std::find(paths.begin(), paths.end(), resolved);
    return found == paths.end() ? json_value() : json_value(std::size_t(found - paths.begin()));
  };
  return to_json(json_value::object({{"parameters", parameters_of(n, numbered)}, {"edits", edits_json(n, numbered)}}), 0,
                 json_order::sorted);
}

std::string canonical_json(config const& c) {
  return to_json(json_of(c), 0, json_order::sorted);
}

std::string to_dot(plan const& p) {
  std::string out =
      "digraph pipeline {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n";
  if (!p.title.empty()) out += "  label=" + dot_text(p.title) + ";\n  labelloc=t;\n";
  for (auto const& n : p.nodes) {
    auto const plugin = n.what ? std::string(n.what->id()) : std::string("?");
    out += "  " + dot_text(n.name) + " [shape=" + std::string(shape_of(n.kind)) +
           ", label=" + dot_text(n.name + "\n" + std::string(name_of(n.kind)) + " " + plugin) + "];\n";
  }
  for (auto const& n : p.nodes)
    for (auto const& w : n.wires)
      out += "  " + dot_text(p.nodes[w.node].name) + " -> " + dot_text(n.name) +
             " [label=" + dot_text(w.dataset.empty() ? w.port : w.port + "\n" + w.dataset) + "];\n";
  return out + "}\n";
}

}  // namespace wayfarer::host
