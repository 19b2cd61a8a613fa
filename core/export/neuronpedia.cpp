// A value for each token of texts, in the form of Neuronpedia's features: {"modelId", "layer", "index", "activations":
// [{"tokens", "values", "maxValue", "minValue", "maxValueTokenIndex"}]}, one file a dataset.
#include <algorithm>
#include <cmath>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "export/export.hpp"
#include "report/encode.hpp"

namespace wayfarer::host {

namespace {

json_value activation(std::vector<std::string> const& tokens, std::vector<double> const& values) {
  auto texts = json_value::array(), numbers = json_value::array();
  for (auto const& t : tokens) texts.push_back(json_value(clean_utf8(t)));
  for (double const x : values) numbers.push_back(json_value(x));
  auto const [least, most] = std::minmax_element(values.begin(), values.end());
  return json_value::object({{"tokens", texts},
                             {"values", numbers},
                             {"maxValue", json_value(*most)},
                             {"minValue", json_value(*least)},
                             {"maxValueTokenIndex", json_value(most - values.begin())}});
}

}  // namespace

std::vector<export_file> neuronpedia_files(export_node const& n) {
  std::vector<export_file> out;
  for (auto const& s : n.datasets) {
    dataset const& d = s.slice.part;
    if (d.is_text() || d.shape().empty() || d.shape().size() > 2) continue;
    named_slice const* const tokens = tokens_over(n, d.shape());
    bool const own = d.shape().size() == 1 && !s.slice.names[0].empty() && s.slice.tokens[0];
    if (!tokens && !own) continue;
    bool const counted = d.values().type() == dtype::i32 || d.values().type() == dtype::i64;
    if (!n.chosen && counted && s.name.ends_with("ids")) continue;
    std::size_t const length = d.shape().back().size, items = d.shape().size() == 1 ? 1 : d.shape()[0].size;
    tensor const wide = d.values().to(dtype::f64);
    auto const values = wide.values<double const>();
    auto all = json_value::array();
    for (std::size_t i = 0; i < items; ++i) {
      std::vector<std::string> texts;
      std::vector<double> numbers;
      for (std::size_t p = 0; p < length; ++p) {
        double const x = values[i * length + p];
        if (!std::isfinite(x)) continue;  // padding, or a token that has no value
        texts.push_back(tokens ? tokens->slice.part.texts()[i * length + p] : s.slice.names[0][p]);
        numbers.push_back(x);
      }
      if (!texts.empty()) all.push_back(activation(texts, numbers));
    }
    auto const feature = json_value::object({{"modelId", json_value(clean_utf8(n.result))},
                                             {"layer", json_value(clean_utf8(n.name))},
                                             {"index", json_value(clean_utf8(s.name))},
                                             {"description", json_value(clean_utf8(d.about()))},
                                             {"activations", all}});
    out.push_back({file_name_of(s.name) + ".json", to_json(feature) + "\n"});
  }
  if (out.empty())
    throw usage_error(n.name +
                      ": no dataset has a value for each token of its `tokens`; choose a slice that has, such as "
                      "'NODE/DATASET[:,:,layer=0]'");
  return out;
}

}  // namespace wayfarer::host
