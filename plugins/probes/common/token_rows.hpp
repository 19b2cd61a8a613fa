// Rows of an accumulator that run over an item's positions: padding, the tokens beside them, the side of an encoder-decoder.
//
// Plain functions; any thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/language.hpp"

namespace wayfarer::walks {

/// Whose tokens positions belong to.
struct side {
  bool decoder = false;

  std::string pos() const { return decoder ? "decoder_pos" : "pos"; }
  std::string ids() const { return decoder ? "decoder_token_ids" : "token_ids"; }
  std::span<std::int32_t const> tokens(sample_item const& item) const { return decoder ? item.decoder_tokens() : item.tokens(); }
  std::size_t longest(probe_context const& at) const { return decoder ? at.longest_decoder() : at.longest(); }
  static side of(hook_info const& hook) { return {hook.along == positions::decoder}; }
};

/// Refuses more items than `most`: probes that keep whole maps are for looking at a few.
inline void few_items(probe_context const& at, std::string const& probe, std::size_t most) {
  if (at.items().size() > most)
    throw usage_error(probe + " keeps whole maps, of at most " + std::to_string(most) + " items (most_items), but is given " +
                      std::to_string(at.items().size()) + "; choose some, such as `items: 0:" + std::to_string(most) + "`");
}

/// A field of float32 rows; `fill_missing` makes them all NaN, so that what is not written is known to be missing.
inline void fill_missing(tensor const& rows) {
  if (rows.type() == dtype::f32) {
    auto const all = rows.values<float>();
    std::fill(all.begin(), all.end(), std::numeric_limits<float>::quiet_NaN());
  } else if (rows.type() == dtype::i32) {
    auto const all = rows.values<std::int32_t>();
    std::fill(all.begin(), all.end(), -1);
  } else {
    auto const all = rows.values<double>();
    std::fill(all.begin(), all.end(), std::numeric_limits<double>::quiet_NaN());
  }
}

inline void define_tokens(accumulator& acc, probe_context const& at, side s) {
  acc.define_rows(s.ids(), {{s.pos(), s.longest(at)}}, dtype::i32);
}
inline void put_tokens(accumulator& acc, sample const& block, side s) {
  tensor const rows = acc[s.ids()];
  fill_missing(rows);
  auto const ids = rows.view<std::int32_t>();
  for (std::size_t i = 0; i < block.size(); ++i) {
    auto const tokens = s.tokens(block[i]);
    for (std::size_t p = 0; p < std::min(tokens.size(), ids.size(1)); ++p) ids(i, p) = tokens[p];
  }
}
/// Adds the ids, their texts and, where there is one item, the texts as labels of the positions.
inline void add_tokens(accumulator const& acc, results& out, probe_context const& at, side s) {
  tensor const& ids = acc[s.ids()];
  std::string const of = s.decoder ? " of the decoder's tokens" : " of the tokens";
  auto& set = out.add(s.ids(), ids).about("ids" + of + "; -1 beyond an item's length").view("table");
  if (ids.size(0) == 1) {
    std::vector<std::string> labels;
    for (auto const id : ids.values<std::int32_t const>()) labels.push_back(id < 0 ? std::string() : at.model().token_text(id));
    set.labels(s.pos(), std::move(labels));
  }
  language::add_token_texts(out, s.decoder ? "decoder_tokens" : "tokens", ids, at.model());
}

/// An activation as vectors, [pos, everything else], float32.
inline tensor vectors_of(tensor const& activation) {
  tensor const t = activation.to(dtype::f32);
  std::size_t width = 1;
  for (std::size_t a = 1; a < t.rank(); ++a) width *= t.size(a);
  return t.reshaped({t.shape()[0], {"feature", width}});
}

/// The n tokens whose embeddings have the largest inner products with each row of x: [row, d_model], float32.
struct nearest_tokens {
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<std::vector<float>> products;
};
inline nearest_tokens nearest(tensor const& x, tensor const& embedding, std::size_t n) {
  constexpr std::size_t at_once = 32;
  nearest_tokens out;
  for (std::size_t first = 0; first < x.size(0); first += at_once) {
    tensor const some = matmul(x.slice(0, first, std::min(first + at_once, x.size(0))), embedding.transposed());
    auto const products = some.view<float const>();
    for (std::size_t r = 0; r < some.size(0); ++r) {
      out.ids.push_back(top_k(products.row(r), n));
      auto& p = out.products.emplace_back();
      for (auto const id : out.ids.back()) p.push_back(products(r, static_cast<std::size_t>(id)));
    }
  }
  return out;
}

}  // namespace wayfarer::walks
