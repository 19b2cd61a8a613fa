#include "view.hpp"

#include <algorithm>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer {
namespace {

enum class value { dimension, dimension_or_none, flag, colours };
struct option {
  char const* name;
  value is;
};
struct kind {
  char const* name;
  std::vector<option> options;
};

std::vector<kind> const& kinds() {
  static std::vector<kind> const all{
      {"attention", {}},
      {"lens", {}},
      {"points", {{"along", value::dimension_or_none}}},
      {"tokens", {}},
      {"curve", {{"x", value::dimension}, {"log_x", value::flag}, {"log_y", value::flag}}},
      {"bars", {}},
      {"heatmap", {{"rows", value::dimension}, {"columns", value::dimension}, {"colours", value::colours}}},
      {"histogram", {}},
      {"table", {}},
  };
  return all;
}

template <class T>
std::vector<std::string> names_of(T const& all) {
  std::vector<std::string> names;
  for (auto const& one : all) names.emplace_back(one.name);
  return names;
}

/// "; did you mean 'curve'?", or all that there are.
std::string instead_of(std::string_view wrong, std::vector<std::string> const& known, std::string_view what) {
  if (auto near = did_you_mean(wrong, known); !near.empty()) return near;
  if (known.empty()) return "; it has no " + std::string(what);
  std::string all;
  for (auto const& name : known) all += (all.empty() ? "" : ", ") + name;
  return "; the " + std::string(what) + " are " + all;
}

template <class T>
T const& named(std::vector<T> const& all, std::string_view name, std::string_view what, std::string const& where) {
  auto const at = std::find_if(all.begin(), all.end(), [&](T const& one) { return one.name == name; });
  if (at != all.end()) return *at;
  throw plugin_error(where + in_quotes(name) + instead_of(name, names_of(all), what));
}

void check_value(option const& o, json_value const& given, dims const& shape, std::string const& where) {
  std::string const what = where + "option '" + o.name + "' ";
  bool const is_text = given.kind() == json_kind::string;
  if (o.is == value::flag) {
    if (given.kind() != json_kind::boolean) throw plugin_error(what + "is true or false, not " + to_json(given));
    return;
  }
  if (!is_text) throw plugin_error(what + "is a text, not " + to_json(given));
  std::string const& text = given.as_string();
  if (o.is == value::colours) {
    if (text != "sequential" && text != "diverging")
      throw plugin_error(what + "is \"sequential\" or \"diverging\", not " + in_quotes(text));
    return;
  }
  if (o.is == value::dimension_or_none && text.empty()) return;
  if (std::none_of(shape.begin(), shape.end(), [&](dim const& d) { return d.name == text; }))
    throw plugin_error(what + "names the dimension " + in_quotes(text) + ", which " + describe(shape) + " lacks" +
                       did_you_mean(text, names_of(shape)));
}

json_value parsed(std::string_view text) {
  try {
    return parse_json(text, "view");
  } catch (data_error const& e) {
    throw plugin_error(std::string("a view that begins with { is a JSON object: ") + e.what());
  }
}

}  // namespace

std::string checked_view(std::string_view how, dims const& shape) {
  std::string const none = "there is no view of the kind ";
  if (!how.starts_with('{')) return to_json(json_value::object({{"kind", named(kinds(), how, "kinds", none).name}}));
  json_value const given = parsed(how);
  auto const asked = given.find("kind");
  if (!asked || asked->kind() != json_kind::string)
    throw plugin_error("the view " + in_quotes(how) + " has no \"kind\", such as \"curve\"");
  kind const& is = named(kinds(), asked->as_string(), "kinds", none);
  std::string const where = std::string("view '") + is.name + "': ";
  for (auto const& [key, chosen] : given.members())
    if (key != "kind") check_value(named(is.options, key, "options", where + "no option "), chosen, shape, where);
  auto const rows = given.find("rows"), columns = given.find("columns");
  if (rows && columns && *rows == *columns)
    throw plugin_error(where + "rows and columns are both " + in_quotes(rows->as_string()));
  return to_json(given);
}

}  // namespace wayfarer
