// Attention of one text, out of datasets over (head, query, key) or (layer, head, query, key).
#include <cmath>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "export/export.hpp"
#include "report/encode.hpp"

namespace wayfarer::host {

namespace {

/// Where the dimensions stand that a picture of attention needs; `layer` -1: the dataset is one layer.
struct places {
  int layer = -1;
  bool fits = false;
};

places places_of(dataset const& d) {
  dims const& s = d.shape();
  std::size_t const n = s.size();
  if (d.is_text() || n < 3 || n > 4 || s[n - 3].name != "head") return {};
  if (!s[n - 2].name.starts_with("query") || !s[n - 1].name.starts_with("key")) return {};
  if (n == 4 && s[0].name != "layer") return {};
  return {n == 4 ? 0 : -1, true};
}

bool over_items(dataset const& d) {
  dims const& s = d.shape();
  std::size_t const n = s.size();
  return n >= 4 && s[n - 3].name == "head" && s[n - 2].name.starts_with("query") && s[0].name != "layer";
}

/// The tokens that stand before the padding, which has none.
std::vector<std::string> before_padding(std::vector<std::string> tokens) {
  while (!tokens.empty() && tokens.back().empty()) tokens.pop_back();
  return tokens;
}

std::string stack_of(std::string const& name) {
  if (name.find("cross") != name.npos) return "cross";
  if (name.find("encoder") != name.npos && name.find("decoder") == name.npos) return "encoder";
  return name.find("decoder") != name.npos ? "decoder" : "";
}

}  // namespace

std::vector<attention_stack> attention_of(export_node const& n, std::string_view form) {
  std::vector<attention_stack> out;
  bool items = false;
  for (auto const& s : n.datasets) {
    dataset const& d = s.slice.part;
    places const at = places_of(d);
    if (!at.fits) {
      items = items || over_items(d);
      continue;
    }
    std::size_t const rank = d.shape().size(), heads = d.shape()[rank - 3].size, rows = d.shape()[rank - 2].size,
                      columns = d.shape()[rank - 1].size, layers = at.layer < 0 ? 1 : d.shape()[0].size;
    if (!s.slice.tokens[rank - 2] || !s.slice.tokens[rank - 1])
      throw usage_error(n.name + "/" + s.name + ": its node has no `tokens` for " + d.shape()[rank - 2].name + " and " +
                        d.shape()[rank - 1].name + ", which " + std::string(form) + " shows");
    auto const queries = before_padding(s.slice.names[rank - 2]), keys = before_padding(s.slice.names[rank - 1]);
    std::string const name = stack_of(s.name);
    auto stack = out.begin();
    while (stack != out.end() && stack->name != name) ++stack;
    if (stack == out.end()) stack = out.insert(stack, {name, {}, {}, queries, keys});
    if (stack->queries != queries || stack->keys != keys)
      throw usage_error(n.name + "/" + s.name + ": its tokens are others than those of " + stack->layers.front());
    tensor const wide = d.values().to(dtype::f64);
    auto const values = wide.values<double const>();
    for (std::size_t l = 0; l < layers; ++l) {
      auto& layer = stack->weights.emplace_back(heads);
      stack->layers.push_back(
          at.layer < 0 ? s.name : s.name + " layer " + (s.slice.names[0].empty() ? std::to_string(l) : s.slice.names[0][l]));
      for (std::size_t h = 0; h < heads; ++h)
        for (std::size_t q = 0; q < queries.size(); ++q) {
          auto& row = layer[h].emplace_back();
          for (std::size_t k = 0; k < keys.size(); ++k) {
            double const x = values[((l * heads + h) * rows + q) * columns + k];
            if (!std::isfinite(x))
              throw usage_error(n.name + "/" + s.name + ": head " + std::to_string(h) + ", query " + std::to_string(q) +
                                ", key " + std::to_string(k) + " is not finite, and " + std::string(form) +
                                " has no such weights");
            row.push_back(x);
          }
        }
    }
  }
  if (out.empty())
    throw usage_error(
        n.name + (items ? ": its attention is of several items, and " + std::string(form) + " shows one: choose with --item 0"
                        : ": no dataset holds attention over (head, query, key), as the probe activations keeps with "
                          "hooks: [\"blocks.*.attn.hook_pattern\"]"));
  return out;
}

json_value token_list(std::vector<std::string> const& tokens) {
  auto out = json_value::array();
  for (auto const& t : tokens) out.push_back(json_value(clean_utf8(t)));
  return out;
}

json_value weight_lists(std::vector<std::vector<std::vector<double>>> const& layer) {
  auto heads = json_value::array();
  for (auto const& head : layer) {
    auto rows = json_value::array();
    for (auto const& row : head) {
      auto cells = json_value::array();
      for (double const x : row) cells.push_back(json_value(x));
      rows.push_back(cells);
    }
    heads.push_back(rows);
  }
  return heads;
}

}  // namespace wayfarer::host
