// One safetensors file for a node. Its metadata holds what tensors can't: dimensions, coordinates and datasets of texts, as JSON.
#include <wayfarer/json.hpp>
#include <wayfarer/safetensors.hpp>

#include "export/export.hpp"
#include "report/encode.hpp"

namespace wayfarer::host {

std::vector<export_file> safetensors_files(export_node const& n) {
  std::vector<std::pair<std::string, tensor>> tensors;
  auto dimensions = json_value::object(), coordinates = json_value::object();
  std::map<std::string, std::string> metadata{
      {"format", "wayfarer"}, {"node", clean_utf8(n.name)}, {"title", clean_utf8(n.title)}};
  for (auto const& s : n.datasets) {
    dataset const& d = s.slice.part;
    auto axes = json_value::array();
    for (std::size_t a = 0; a < d.shape().size(); ++a) {
      axes.push_back(json_value(clean_utf8(d.shape()[a].name)));
      if (s.slice.names[a].empty() || s.slice.tokens[a]) continue;
      auto names = json_value::array();
      for (auto const& name : s.slice.names[a]) names.push_back(json_value(clean_utf8(name)));
      coordinates.set(clean_utf8(s.name + ":" + d.shape()[a].name), names);
    }
    dimensions.set(clean_utf8(s.name), axes);
    if (d.is_text())
      metadata["text:" + clean_utf8(s.name)] = json_values(d);
    else
      tensors.emplace_back(clean_utf8(s.name), d.values());
  }
  metadata["dimensions"] = to_json(dimensions);
  metadata["coordinates"] = to_json(coordinates);
  std::string const name = file_name_of(n.name) + ".safetensors";
  return {{name, safetensors_bytes(name, tensors, metadata)}};
}

}  // namespace wayfarer::host
