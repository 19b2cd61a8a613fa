// The Embedding Projector: config.json names, for each set of vectors, a TSV of numbers and a TSV of labels.
//
// A set of vectors is a dataset whose last dimension holds a vector's components; its other dimensions together number the points
// and are the columns of their labels. projector.tensorflow.org reads config.json by "?config=URL", and both TSVs by its Load
// button.
#include <algorithm>
#include <cmath>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "export/export.hpp"
#include "report/encode.hpp"

namespace wayfarer::host {

namespace {

/// Dimensions along which a vector's components lie, as the probes call them.
constexpr std::string_view component_names[] = {"d_model", "d_head", "d_mlp",     "d_vocab",    "d_ff",      "feature",
                                                "xyz",     "xy",     "component", "coordinate", "embedding", "neuron"};

bool holds_vectors(dataset const& d) {
  if (d.is_text() || d.shape().size() < 2 || d.shape().back().size < 2 || d.values().count() == 0) return false;
  std::string_view const last = d.shape().back().name;
  return std::find(std::begin(component_names), std::end(component_names), last) != std::end(component_names);
}

/// A cell of a TSV, which has no quotes.
std::string cell(std::string const& text) {
  std::string out;
  for (char const c : clean_utf8(text)) {
    if (c == '\t')
      out += "\\t";
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else
      out += c;
  }
  return out.find_first_not_of(' ') == out.npos ? "(blank)" : out;
}

}  // namespace

std::vector<export_file> projector_files(export_node const& n) {
  std::vector<export_file> out;
  auto embeddings = json_value::array();
  std::size_t other = 0;
  for (auto const& s : n.datasets) {
    dataset const& d = s.slice.part;
    bool const wanted =
        n.chosen ? !d.is_text() && d.shape().size() == 2 && d.shape()[1].size >= 2 && d.shape()[0].size > 0 : false;
    if (!wanted && !holds_vectors(d)) {
      ++other;
      continue;
    }
    std::size_t const last = d.shape().size() - 1, width = d.shape()[last].size, count = element_count(d.shape()) / width;
    // Rows of padding hold no numbers.
    std::string tensors, labels;
    named_slice const* const texts = tokens_over(n, {d.shape().begin(), d.shape().end() - 1});
    bool const headed = last > 1 || texts != nullptr;  // a single column has no header
    if (headed) {
      if (texts) labels = "token\t";
      for (std::size_t a = 0; a < last; ++a) labels += (a == 0 ? "" : "\t") + cell(d.shape()[a].name);
      labels += '\n';
    }
    tensor const wide = d.values().to(dtype::f64);
    auto const values = wide.values<double const>();
    std::size_t kept = 0;
    std::vector<std::size_t> at(last, 0);
    for (std::size_t i = 0; i < count; ++i) {
      bool const whole =
          std::all_of(values.begin() + static_cast<std::ptrdiff_t>(i * width),
                      values.begin() + static_cast<std::ptrdiff_t>((i + 1) * width), [](double x) { return std::isfinite(x); });
      if (whole) {
        ++kept;
        for (std::size_t k = 0; k < width; ++k) tensors += (k == 0 ? "" : "\t") + exact_text(d, i * width + k);
        tensors += '\n';
        if (texts) labels += cell(texts->slice.part.texts()[i]) + "\t";
        for (std::size_t a = 0; a < last; ++a)
          labels += (a == 0 ? "" : "\t") +
                    (s.slice.names[a].empty() ? std::to_string(s.slice.first[a] + at[a]) : cell(s.slice.names[a][at[a]]));
        labels += '\n';
      }
      for (std::size_t a = last; a-- > 0 && ++at[a] == d.shape()[a].size;) at[a] = 0;
    }
    std::string const name = file_name_of(s.name);
    embeddings.push_back(json_value::object({{"tensorName", json_value(clean_utf8(n.name + "/" + s.name))},
                                             {"tensorShape", json_value::array({json_value(kept), json_value(width)})},
                                             {"tensorPath", json_value(name + ".tensors.tsv")},
                                             {"metadataPath", json_value(name + ".metadata.tsv")}}));
    out.push_back({name + ".tensors.tsv", tensors});
    out.push_back({name + ".metadata.tsv", labels});
  }
  if (out.empty())
    throw usage_error(
        n.name + ": none of its " + std::to_string(other) +
        " datasets is a set of vectors (two dimensions or more, the last one d_model or the like); name one of numbers "
        "as NODE/DATASET, or a slice of two dimensions: points and components");
  out.push_back({"config.json", to_json(json_value::object({{"embeddings", embeddings}}), 2) + "\n"});
  return out;
}

}  // namespace wayfarer::host
