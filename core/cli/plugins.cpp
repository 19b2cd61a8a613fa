// wayfarer plugins: lists plugins and describes their ports and parameters. docs/plugin-abi.md fixes the form of the JSON.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <utility>
#include <variant>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/version.hpp>

#include "cli/advised_error.hpp"
#include "cli/options.hpp"
#include "cli/planning.hpp"
#include "cli/plugin_page.hpp"
#include "cli/plugins_check.hpp"
#include "cli/verbs.hpp"
#include "pipeline/values.hpp"
#include "registry/registry.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"

namespace wayfarer::host {
namespace {

struct broken_library {
  std::string id, why;
};

std::vector<std::string> choices_of(param_descriptor const& p) {
  std::vector<std::string> all;
  std::string_view rest = p.choices;
  while (!rest.empty()) {
    std::size_t const bar = rest.find('|');
    all.emplace_back(rest.substr(0, bar));
    rest.remove_prefix(bar == rest.npos ? rest.size() : bar + 1);
  }
  return all;
}

json_value to_json_value(std::string const& text) {
  return text;
}
json_value to_json_value(bool b) {
  return b;
}
json_value to_json_value(std::int64_t i) {
  return i;
}
json_value to_json_value(double v) {
  return v;
}
template <class T>
json_value to_json_value(std::vector<T> const& all) {
  auto list = json_value::array();
  for (auto const& one : all) list.push_back(to_json_value(one));
  return list;
}

std::string to_text(std::string const& text) {
  return text.empty() ? "\"\"" : text;
}
std::string to_text(bool b) {
  return b ? "true" : "false";
}
std::string to_text(std::int64_t i) {
  return std::to_string(i);
}
std::string to_text(double v) {
  return format_number(v);
}
template <class T>
std::string to_text(std::vector<T> const& all) {
  std::string list;
  for (auto const& one : all) list += (list.empty() ? "" : ", ") + to_text(one);
  return "[" + list + "]";
}

/// "1 to 100", "at least 1", "adam | sgd".
std::string allowed(param_descriptor const& p) {
  std::string all;
  for (auto const& c : choices_of(p)) all += (all.empty() ? "" : " | ") + c;
  bool const low = !std::isinf(p.minimum), high = !std::isinf(p.maximum);
  if (low && high) return format_number(p.minimum) + " to " + format_number(p.maximum);
  if (low) return "at least " + format_number(p.minimum);
  if (high) return "at most " + format_number(p.maximum);
  return all;
}

json_value describe_json(plugin const& p) {
  auto parameters = json_value::array();
  for (auto const& d : p.params()) {
    auto bound = [](double v) { return std::isinf(v) ? json_value() : json_value(v); };
    parameters.push_back(json_value::object(
        {{"name", d.name},
         {"type", name_of(d.type)},
         {"unit", d.unit},
         {"required", d.required != 0},
         {"default", d.required ? json_value() : std::visit([](auto const& v) { return to_json_value(v); }, default_of(d).get())},
         {"minimum", bound(d.minimum)},
         {"maximum", bound(d.maximum)},
         {"choices", to_json_value(choices_of(d))},
         {"fact", p.fact_of(d).empty() ? json_value() : json_value(p.fact_of(d))},
         {"doc", d.doc}}));
  }
  auto ports = json_value::array();
  for (auto const& d : p.ports())
    ports.push_back(
        json_value::object({{"name", d.name}, {"kind", name_of(d.kind)}, {"optional", d.optional != 0}, {"doc", d.doc}}));
  auto keys = json_value::array();
  for (auto const& k : host_key_table(p.kind(), p.ports()))
    keys.push_back(json_value::object({{"name", k.name}, {"type", k.type}, {"default", k.preset}, {"doc", k.doc}}));
  return json_value::object({{"id", p.id()},
                             {"kind", name_of(p.kind())},
                             {"version", p.version()},
                             {"summary", p.summary()},
                             {"sdk", p.sdk()},
                             {"build_id", p.build_id()},
                             {"library", p.library().string()},
                             {"ports", std::move(ports)},
                             {"parameters", std::move(parameters)},
                             {"host_keys", std::move(keys)}});
}

void describe_text(plugin const& p) {
  std::cout << p.id() << " " << printable(p.version()) << " (" << name_of(p.kind()) << "): " << printable(p.summary()) << "\n"
            << printable(p.library().string()) << ", SDK " << p.sdk() << ", build " << printable(p.build_id()) << "\n";
  if (!p.ports().empty()) {
    std::vector<std::vector<std::string>> rows;
    for (auto const& d : p.ports())
      rows.push_back({d.name, std::string(name_of(d.kind)), d.optional ? "optional" : "required", d.doc});
    std::cout << "\n" << format_table({"port", "takes", "", "what for"}, rows);
  }
  if (!p.params().empty()) {
    std::vector<std::vector<std::string>> rows;
    for (auto const& d : p.params())
      rows.push_back({d.name, std::string(name_of(d.type)),
                      (d.required ? "required" : std::visit([](auto const& v) { return to_text(v); }, default_of(d).get())) +
                          (p.fact_of(d).empty() ? "" : " (from the source)"),
                      d.unit, allowed(d), d.doc});
    std::cout << "\n" << format_table({"parameter", "type", "default", "unit", "allowed", "what for"}, rows);
  }
  if (auto const keys = host_key_table(p.kind(), p.ports()); !keys.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (auto const& k : keys)
      rows.push_back({std::string(k.name), std::string(k.type), std::string(k.preset), std::string(k.doc)});
    std::cout << "\n" << format_table({"key of the host", "type", "default", "what for"}, rows);
  }
}

int describe(registry& plugins, std::string const& id, bool json, bool page) {
  plugin const* const found = plugins.find(id);
  if (!found)
    throw advised_error("no plugin '" + printable(id) + "'" + did_you_mean(id, plugins.ids()),
                        {"'wayfarer plugins list' lists all plugins; --plugin-path DIR adds a folder"});
  if (page)
    std::cout << printable_lines(plugin_page(*found));
  else if (json)
    std::cout << printable_json(describe_json(*found), 2) << "\n";
  else
    describe_text(*found);
  return 0;
}

int list(registry& plugins, bool json) {
  std::vector<plugin const*> good;
  std::vector<broken_library> broken;
  for (auto const& id : plugins.ids()) {
    try {
      if (auto const* p = plugins.find(id)) good.push_back(p);
    } catch (plugin_error const& e) {
      broken.push_back({id, e.what()});
    }
  }
  std::stable_sort(good.begin(), good.end(), [](plugin const* a, plugin const* b) { return a->kind() < b->kind(); });
  auto const shadowed = plugins.shadowed();
  if (json) {
    auto all = json_value::array(), bad = json_value::array(), hidden = json_value::array(), folders = json_value::array();
    for (auto const* p : good)
      all.push_back(json_value::object({{"id", p->id()},
                                        {"kind", name_of(p->kind())},
                                        {"version", p->version()},
                                        {"summary", p->summary()},
                                        {"library", p->library().string()}}));
    for (auto const& b : broken) bad.push_back(json_value::object({{"id", b.id}, {"error", b.why}}));
    for (auto const& s : shadowed) hidden.push_back(s.string());
    for (auto const& f : plugins.folders()) folders.push_back(f.string());
    std::cout << printable_json(json_value::object({{"plugins", std::move(all)},
                                                    {"broken", std::move(bad)},
                                                    {"shadowed", std::move(hidden)},
                                                    {"folders", std::move(folders)}}),
                                2)
              << "\n";
  } else {
    std::vector<std::vector<std::string>> rows;
    for (auto const* p : good)
      rows.push_back({std::string(p->id()), std::string(name_of(p->kind())), std::string(p->version()), std::string(p->summary()),
                      p->library().string()});
    if (!rows.empty()) std::cout << format_table({"plugin", "kind", "version", "summary", "library"}, rows);
    for (auto const& s : shadowed)
      std::cout << "shadowed: " << printable(s.string()) << " is hidden by one of the same name in an earlier folder\n";
    for (auto const& b : broken) std::cout << "broken: " << printable_lines(b.why) << "\n";
    if (good.empty() && broken.empty()) {
      std::cout << "no plugins in";
      for (auto const& f : plugins.folders()) std::cout << " " << printable(f.string());
      std::cout << (plugins.folders().empty() ? " any folder; give their folder with --plugin-path\n" : "\n");
    }
  }
  return broken.empty() ? 0 : 4;
}

}  // namespace

int plugins_verb(words const& arguments) {
  verb_options o(
      "plugins list|describe|check [ID] [OPTIONS]",
      "list: the plugins that pipelines can use. describe: the ports of a plugin, and its parameters with type, unit, default\n"
      "and range. check: whether a plugin, given by ID or by the path of its library, keeps the rules of docs/conformance.md.\n"
      "A library that can't be used is listed with the reason. The exit code is then 4, and also if a plugin breaks a rule.",
      {"wayfarer plugins list", "wayfarer plugins describe lda", "wayfarer plugins describe lda --json",
       "wayfarer plugins check build/wayfarer_anisotropy.so --set pairs=10"});
  o.positional("ACTION");
  o.positional("ID");
  o.named().add_options()("plugin-path",
                          boost::program_options::value<std::vector<std::string>>()->composing()->value_name("DIR"),
                          "look for plugins here first; may be given more than once")(
      "json", "print JSON; docs/plugin-abi.md describes it")("markdown", "describe: print a page in Markdown")(
      "set", boost::program_options::value<std::vector<std::string>>()->composing()->value_name("PARAM=VALUE"),
      "check: a parameter of the plugin; may be given more than once")(
      "seed", boost::program_options::value<std::uint64_t>()->default_value(0)->value_name("N"),
      "check: seed of the generated inputs")("strict", "check: treat noted findings as broken");
  if (!o.parse(arguments)) return 0;
  auto const given = o.all("ACTION");
  std::string const action = given.empty() ? "list" : given.front();
  std::vector<std::string> const actions{"list", "describe", "check"};
  if (action == "list") {
    if (!o.all("ID").empty())
      throw usage_error("'plugins list' takes no name; 'wayfarer plugins describe " + printable(o.required("ID")) +
                        "' describes one plugin");
    registry plugins = open_registry(o);
    return list(plugins, o.has("json"));
  }
  if (action == "describe") {
    std::string const id = o.required("ID");
    registry plugins = open_registry(o);
    return describe(plugins, id, o.has("json"), o.has("markdown"));
  }
  if (action == "check")
    return check_plugin_verb(o.required("ID"), {o.places("plugin-path", "a folder of plugins"), o.all("set"),
                                                o.get<std::uint64_t>("seed"), o.has("json"), o.has("strict")});
  throw usage_error("'plugins' takes list, describe or check, not '" + printable(action) + "'" + did_you_mean(action, actions));
}

}  // namespace wayfarer::host
