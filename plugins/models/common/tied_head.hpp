// What a configuration says of a head that may be the embedding's matrix, for messages where the checkpoint shows another.
//
// Free functions; any thread.
#pragma once

#include <optional>
#include <string>

#include <wayfarer/hf_config.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/weights.hpp>

namespace wayfarer {

/// "config.json ties the head to the embedding", or that it does not say so and what a model of this type then does.
inline std::string tying_of(hf_config const& c, bool tied) {
  if (c.find("tie_word_embeddings"))
    return tied ? "config.json ties the head to the embedding" : "config.json says that the head is not tied to the embedding";
  return "config.json has no tie_word_embeddings, and " + c.model_type() +
         (tied ? " then ties the head to the embedding" : " then has a head that is not tied to the embedding");
}

/// The remark for a checkpoint whose tensor `head` is another than `table`, to which the model ties it. Known once loaded.
inline std::optional<std::string> own_head(weight_table const& w, std::string const& head, std::string const& table,
                                           hf_config const& c, bool tied) {
  if (!tied || !w.loaded() || !w.found(head) || !w.found(table) || w.same(head, table)) return {};
  return tying_of(c, tied) + ", but the file has a head of its own, " + in_quotes(head) + ", which is used";
}

}  // namespace wayfarer
