#include "cli/outputs.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <type_traits>
#include <variant>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>

#include "store/store.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;

namespace {

std::string text_of(std::string const& x) {
  return x;
}
template <class T>
requires std::is_arithmetic_v<T> std::string text_of(T x) {
  return to_json(json_value(x));
}
template <class T>
std::string text_of(std::vector<T> const& list) {
  std::string all;
  for (T const& x : list) all += (all.empty() ? "" : ",") + text_of(x);
  return all;
}

/// A value as a part of a file's name.
std::string in_a_name(std::string const& value) {
  std::string const text = printable(value);
  // "." and ".." are folders.
  bool const dots = !text.empty() && text.find_first_not_of('.') == text.npos;
  std::string out;
  for (char const c : text) {
    if (c == '/')
      out += "%2F";
    else if (dots)
      out += "%2E";
    else
      out += c;
  }
  return out;
}

/// A place that a node writes to beside the result file.
struct node_output {
  plan_node const* node;
  std::string parameter;
  std::filesystem::path place;
};

/// Where a path leads, through links and folders that need not exist.
std::filesystem::path whole_path(std::filesystem::path const& p) {
  std::error_code ignored;
  auto const whole = std::filesystem::weakly_canonical(std::filesystem::absolute(p, ignored), ignored);
  return whole.has_filename() ? whole : whole.parent_path();
}

/// Whether a path is that place, or in that folder.
bool is_within(std::filesystem::path const& place, std::filesystem::path const& path) {
  auto const [end, ignored] = std::mismatch(place.begin(), place.end(), path.begin(), path.end());
  return end == place.end();
}

std::vector<node_output> outputs_of(plan const& p) {
  std::vector<node_output> all;
  for (auto const& n : p.nodes)
    for (std::string const name : {"train.save", "train.state"})
      if (n.what && n.parameters.has(name) && !n.parameters[name].text().empty())
        all.push_back({&n, name, whole_path(n.parameters[name].text())});
  return all;
}

}  // namespace

/// No two nodes write to one place: the later would replace what the earlier wrote.
void check_outputs(plan const& p, std::vector<problem>& problems) {
  auto const all = outputs_of(p);
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t k = 0; k < i; ++k) {
      if (all[k].place != all[i].place) continue;
      origin const from = all[i].node->origin_of(all[i].parameter, 0);
      problems.push_back({from.at,
                          all[i].node->name + ": " + all[i].parameter + " " + all[i].place.string() + " is where '" +
                              all[k].node->name + "' writes its " + all[k].parameter + "; give each its own path",
                          2, from.option});
      break;
    }
}

void add_result_options(verb_options& o, char const* about) {
  o.named().add_options()("out", po::value<std::string>()->value_name("F.h5"), about)(
      "force", "let --out replace a file that is not a Wayfarer result, or is read-only");
}

settings settings_of(plan const& p) {
  settings all{{"seed", std::to_string(p.seed)}};
  for (auto const& n : p.nodes) {
    for (auto const& [name, value] : n.parameters.values()) {
      auto const given = n.given_paths.find(name);
      all.emplace_back(n.name + "." + name, given != n.given_paths.end()
                                                ? given->second
                                                : std::visit([](auto const& v) { return text_of(v); }, value.get()));
    }
    if (n.items) all.emplace_back(n.name + ".items", std::to_string(n.items->first) + ":" + std::to_string(n.items->last));
    if (n.max_tokens != 0) all.emplace_back(n.name + ".max_tokens", std::to_string(n.max_tokens));
    if (n.block != 0) all.emplace_back(n.name + ".block", std::to_string(n.block));
    if (n.kind == plugin_kind::probe) all.emplace_back(n.name + ".precision", std::string(name_of(n.precision)));
  }
  return all;
}

std::string fill_in(std::string_view name, settings const& known) {
  auto const wrong = [&](std::string const& why) { return usage_error("--out " + printable(name) + ": " + why); };
  std::string out;
  for (std::size_t at = 0; at < name.size();) {
    char const c = name[at];
    if (c != '{' && c != '}') {
      out += c, ++at;
    } else if (at + 1 < name.size() && name[at + 1] == c) {
      out += c, at += 2;
    } else {
      std::size_t const end = c == '{' ? name.find('}', at) : name.npos;
      if (end == name.npos)
        throw wrong(std::string("'") + c + "' is not " + (c == '{' ? "closed" : "opened") + "; write {seed} or {node.key}, or '" +
                    c + c + "'");
      std::string const key(name.substr(at + 1, end - at - 1));
      auto const found = std::find_if(known.begin(), known.end(), [&](auto const& s) { return s.first == key; });
      if (found == known.end()) {
        std::vector<std::string> names;
        for (auto const& s : known) names.push_back(s.first);
        std::string const near = did_you_mean(key, names);
        throw wrong("there is no setting '" + printable(key) + "' with one value" +
                    (near.empty() ? "; write {seed}, or {node.key} for a parameter" : near));
      }
      out += in_a_name(found->second);
      at = end + 1;
    }
  }
  return out;
}

output_place result_place(verb_options const& o, std::string const& otherwise, settings const& known) {
  output_rule rule;
  rule.option = o.has("out") ? "--out" : "the default of --out,";
  rule.wanted = "a result of Wayfarer", rule.force = "--force", rule.forced = o.has("force");
  rule.is_own = [](std::string const& path) { return result_reader::is_result(path); };
  return check_output(o.has("out") ? fill_in(o.get<std::string>("out"), known) : otherwise, rule);
}

output_place result_place(verb_options const& o, plan const& p) {
  output_place const to = result_place(o, p.file.stem().concat(".h5").string(), settings_of(p));
  auto const path = whole_path(to.path);
  for (auto const& one : outputs_of(p))
    if (is_within(one.place, path))
      throw usage_error("--out " + to.given + ": is " + (one.place == path ? "" : "in the folder ") + "where '" + one.node->name +
                        "' writes its " + one.parameter + "; name " +
                        (one.place == path ? "another file" : "a file outside " + one.place.string()));
  return to;
}

output_place foreign_place(std::string const& path, std::string const& option, bool forced) {
  output_rule rule;
  rule.option = option, rule.wanted = "a file that may be replaced", rule.force = "--force", rule.forced = forced;
  return check_output(path, rule);
}

void say_replaced(output_place const& to) {
  if (to.replaces) std::fprintf(stderr, "%s exists already and will be replaced\n", printable(to.given).c_str());
}

void say_replaced(output_place const& to, plan const& p) {
  say_replaced(to);
  for (auto const& one : outputs_of(p)) {
    std::error_code ignored;
    bool const file = std::filesystem::is_regular_file(one.place, ignored);
    // A state is resumed from, not replaced.
    if (one.parameter == "train.save" && (file || std::filesystem::exists(one.place / "model.safetensors", ignored)))
      std::fprintf(stderr, "%s: %s holds a model already, which will be replaced\n", printable(one.node->name).c_str(),
                   printable(one.node->parameters[one.parameter].text()).c_str());
  }
}

}  // namespace wayfarer::host
