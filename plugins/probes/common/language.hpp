// What the probes of language models share: the stack that ends in logits, the texts of tokens, and runs over the vocabulary.
//
// Plain functions, any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

namespace wayfarer::language {

/// The blocks whose last state becomes logits: all of a decoder-only model, the decoder of an encoder-decoder.
struct stack {
  std::string blocks;      ///< "blocks." or "decoder."
  std::string final_norm;  ///< "ln_final." or "decoder_final_ln.": the norm's hooks and weights
  std::string embed;       ///< hook of the embedding
  std::size_t layers = 0;
  bool decoder = false;  ///< positions are those of decoder tokens

  std::string block(std::size_t layer, std::string_view rest) const {
    return blocks + std::to_string(layer) + "." + std::string(rest);
  }
  std::string pos() const { return decoder ? "decoder_pos" : "pos"; }
  std::span<std::int32_t const> tokens(sample_item const& item) const { return decoder ? item.decoder_tokens() : item.tokens(); }
  std::size_t longest(probe_context const& at) const { return decoder ? at.longest_decoder() : at.longest(); }
};

/// Throws usage_error for a model that predicts no next token.
inline stack stack_of(model_info const& m) {
  if (m.family == model_family::encoder)
    throw usage_error(m.architecture + " predicts no next token; choose a decoder or an encoder-decoder");
  // A model that norms behind its sums has no norm of its own before the head: the last block's stands there.
  if (m.family == model_family::encoder_decoder) {
    std::string const behind = "decoder." + std::to_string(m.decoder_layers - 1) + ".ln3.";
    bool const ends_in_norm = !m.find_hook("decoder_final_ln.hook_out") && m.find_hook(behind + "hook_out");
    return {"decoder.", ends_in_norm ? behind : "decoder_final_ln.", "decoder.hook_embed", m.decoder_layers, true};
  }
  std::string const last = "blocks." + std::to_string(m.layers - 1) + ".ln2.";
  bool const ends_in_block =
      !m.find_hook("ln_final.hook_out") && m.find_hook(last + "hook_out") &&
      m.find_hook(last + "hook_out") > m.find_hook("blocks." + std::to_string(m.layers - 1) + ".hook_resid_post");
  return {"blocks.", ends_in_block ? last : "ln_final.", "hook_embed", m.layers, false};
}

/// The hook from which logits are made: the final norm's output, or the last block's where there is no norm.
inline hook_set states_before_logits(model_info const& m) {
  stack const top = stack_of(m);
  return m.hooks_for(m.norm == norm_kind::none ? top.block(top.layers - 1, "hook_resid_post") : top.final_norm + "hook_out");
}

[[noreturn]] inline void nothing_is_likely() {
  throw data_error("no logit is a number, so there is no likeliest token; look for NaN in the model's weights");
}
/// The token with the largest logit. Throws data_error if none is a number.
inline std::int32_t likeliest(std::span<double const> logits) {
  auto const best = top_k(logits, 1);
  if (best.empty()) nothing_is_likely();
  return best[0];
}

/// Adds the texts of ids [...] (negative: none) under the ids' own dimensions. More than a million of them would cost more than
/// the numbers beside them: then the texts of the whole vocabulary are added instead, to be looked up, under "vocabulary".
/// `view` is "lens" of likeliest tokens, beside which their probabilities stand.
inline void add_token_texts(results& out, std::string const& name, tensor const& ids, model const& m,
                            std::string const& view = "table") {
  constexpr std::size_t most = std::size_t{1} << 20;
  if (ids.count() > most) {
    if (out.find("vocabulary") != nullptr) return;
    std::vector<std::string> all;
    for (std::size_t t = 0; t < m.info().vocabulary; ++t) all.push_back(m.token_text(static_cast<std::int32_t>(t)));
    out.add("vocabulary", std::move(all))
        .dims("token")
        .about("text of every token id, to look up the ids of this node")
        .view("table");
    return;
  }
  tensor const flat = ids.to(dtype::i32);
  std::vector<std::string> texts;
  texts.reserve(flat.count());
  for (auto const id : flat.values<std::int32_t const>()) texts.push_back(id < 0 ? std::string() : m.token_text(id));
  out.add(name, std::move(texts), flat.shape()).view(view);
}

}  // namespace wayfarer::language
