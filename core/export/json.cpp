// A dataset as JSON: {"dataset", "dimensions", "shape", "type", "taken", "first", "coordinates",
// "tokens", "units", "description", "missing", "values"}.
#include <cmath>

#include <wayfarer/json.hpp>

#include "export/export.hpp"
#include "report/encode.hpp"

namespace wayfarer::host {

namespace {

json_value text_value(std::string_view text) {
  return json_value(clean_utf8(text));
}

void put(dataset const& d, std::size_t axis, std::size_t& i, std::string& out) {
  if (axis == d.shape().size()) {
    std::string const text = d.is_text() ? to_json(text_value(d.texts()[i])) : exact_text(d, i);
    bool const finite = d.is_text() || (text != "nan" && text != "inf" && text != "-inf");
    out += finite ? text : "null";
    ++i;
    return;
  }
  out += '[';
  for (std::size_t k = 0; k < d.shape()[axis].size; ++k) {
    if (k > 0) out += ',';
    put(d, axis + 1, i, out);
  }
  out += ']';
}

}  // namespace

std::string json_values(dataset const& d) {
  std::string out;
  std::size_t i = 0;
  put(d, 0, i, out);
  return out;
}

std::string json_table(named_slice const& s) {
  dataset const& d = s.slice.part;
  auto dimensions = json_value::array(), shape = json_value::array(), first = json_value::array(), taken = json_value::object(),
       coordinates = json_value::object(), tokens = json_value::object();
  for (std::size_t a = 0; a < d.shape().size(); ++a) {
    dimensions.push_back(text_value(d.shape()[a].name));
    shape.push_back(json_value(d.shape()[a].size));
    first.push_back(json_value(s.slice.first[a]));
    if (s.slice.names[a].empty()) continue;
    auto names = json_value::array();
    auto const numbers = d.coordinate_map().find(d.shape()[a].name);
    for (std::size_t i = 0; i < s.slice.names[a].size(); ++i) {
      double const x = numbers == d.coordinate_map().end() || s.slice.tokens[a] ? NAN : numbers->second.to(dtype::f64).get({i});
      names.push_back(std::isfinite(x) ? json_value(x) : text_value(s.slice.names[a][i]));
    }
    (s.slice.tokens[a] ? tokens : coordinates).set(clean_utf8(d.shape()[a].name), names);
  }
  for (auto const& t : s.slice.taken) taken.set(clean_utf8(t.dimension), json_value(t.index));
  auto const head = json_value::object({{"dataset", text_value(s.name)},
                                        {"dimensions", dimensions},
                                        {"shape", shape},
                                        {"type", json_value(d.is_text() ? "text" : std::string(name_of(d.values().type())))},
                                        {"taken", taken},
                                        {"first", first},
                                        {"coordinates", coordinates},
                                        {"tokens", tokens},
                                        {"units", text_value(d.units())},
                                        {"description", text_value(d.about())},
                                        {"missing", text_value(d.missing())}});
  std::string out = to_json(head);
  out.back() = ',';
  return out + "\"values\":" + json_values(d) + "}\n";
}

std::vector<export_file> json_files(export_node const& n) {
  return one_file_each(n, ".json", json_table);
}

}  // namespace wayfarer::host
