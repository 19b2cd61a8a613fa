// BertViz's head_view and model_view take tokens and, for each layer, weights [batch, head, query, key]. The file has them as
// lists without the batch: {"tokens", "attention"}, and of two stacks {"encoder_tokens", "decoder_tokens", "encoder_attention",
// "decoder_attention", "cross_attention"} as far as they are there.
#include <wayfarer/json.hpp>

#include "export/export.hpp"
#include "report/encode.hpp"

namespace wayfarer::host {

std::vector<export_file> bertviz_files(export_node const& n) {
  auto out = json_value::object();
  for (auto const& stack : attention_of(n, "BertViz")) {
    auto layers = json_value::array(), names = json_value::array();
    for (auto const& layer : stack.weights) layers.push_back(weight_lists(layer));
    for (auto const& name : stack.layers) names.push_back(json_value(clean_utf8(name)));
    if (stack.name.empty()) {
      out.set("tokens", token_list(stack.queries));
      out.set("attention", layers);
      out.set("layers", names);
    } else {
      if (stack.name != "cross") out.set(stack.name + "_tokens", token_list(stack.queries));
      if (stack.name == "cross") {
        out.set("decoder_tokens", token_list(stack.queries));
        out.set("encoder_tokens", token_list(stack.keys));
      }
      out.set(stack.name + "_attention", layers);
      out.set(stack.name + "_layers", names);
    }
  }
  return {{"bertviz.json", to_json(out) + "\n"}};
}

}  // namespace wayfarer::host
