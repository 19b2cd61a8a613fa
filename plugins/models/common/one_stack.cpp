#include "one_stack.hpp"

#include <wayfarer/pretrained.hpp>

namespace wayfarer {

batch one_stack_model::encode(item_block const& items, encode_options const& options) const {
  refuse_token_types(items, info_);
  return encode_items(items, options, info_, items.texts.empty() ? nullptr : text_tokenizer());
}

std::string one_stack_model::token_text(std::int32_t token) const {
  return text_of_token(text_tokenizer(), token);
}

tensor one_stack_model::unembed(tensor const& x) const {
  return on_rows(x, info_.d_model, "token", [&](rows const& r) { return unembed_tokens(r, 0, info_.vocabulary); });
}

void one_stack_model::look_at(std::string const& path, hook_set const& needed) {
  weights_.look(path);
  if (!needed.names().empty()) weights_.require_found([](std::string_view) { return true; });
}

}  // namespace wayfarer
