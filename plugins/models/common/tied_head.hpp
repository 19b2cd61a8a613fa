// What a configuration says of a head that may be the embedding's matrix, for messages where the checkpoint shows another.
//
// Free functions; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <wayfarer/hf_config.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/pretrained.hpp>
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

/// What the configuration, the generation tokens and the looked-at weights of a model tell, and whether its head `lm_head.weight`
/// is another than the `table` that it is tied to.
inline std::vector<std::string> remarks_on(std::string const& path, hf_config const& c, generation_tokens const& g,
                                           weight_table const& w, std::string const& table, bool tied) {
  auto all = c.remarks();
  auto const more = [&](std::vector<std::string> const& some) { all.insert(all.end(), some.begin(), some.end()); };
  more(g.remarks);
  if (!w.looked()) return all;
  more(w.remarks());
  if (auto const own = own_head(w, "lm_head.weight", table, c, tied)) all.push_back(path + ": " + *own);
  return all;
}

/// The remark for a model of two stacks that has no head of its own, though it should.
inline std::optional<std::string> missing_head(weight_table const& w, hf_config const& c, bool tied) {
  if (tied || w.found("lm_head.weight")) return {};
  return tying_of(c, false) + ", but the file has no \"lm_head.weight\"; the embedding serves as the head";
}

}  // namespace wayfarer
