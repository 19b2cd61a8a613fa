// CircuitsVis's attention_patterns(tokens, attention) takes tokens and the weights [head, query, key] of one layer: a file for
// each layer holds just these two, {"tokens", "attention"}.
#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "export/export.hpp"

namespace wayfarer::host {

std::vector<export_file> circuitsvis_files(export_node const& n) {
  std::vector<export_file> out;
  for (auto const& stack : attention_of(n, "CircuitsVis")) {
    // It takes one list of tokens, so that attention from one text to another can't be shown.
    if (stack.keys != stack.queries) continue;
    for (std::size_t l = 0; l < stack.weights.size(); ++l)
      out.push_back(
          {file_name_of(stack.layers[l]) + ".json",
           to_json(json_value::object({{"tokens", token_list(stack.queries)}, {"attention", weight_lists(stack.weights[l])}})) +
               "\n"});
  }
  if (out.empty())
    throw usage_error(
        n.name + ": its attention goes from one text to another, and CircuitsVis shows that of a text to itself; use bertviz");
  return out;
}

}  // namespace wayfarer::host
