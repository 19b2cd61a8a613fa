// Whole attention patterns of a few documents, to be drawn as heat maps with the tokens on both axes.
//
//     pictures: {probe: attention_examples, model: learner, source: documents, items: 0:5}
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

namespace wf = wayfarer;

struct attention_examples final : wf::probe {
  explicit attention_examples(wf::config const& c) : hooks_(c["hooks"].texts()), most_(c["most_items"]), longest_(c["longest"]) {}

  wf::hook_set needs(wf::model_info const& model) const override { return model.hooks_for(hooks_); }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    if (at.items().size() > most_)
      throw wf::usage_error("attention_examples keeps whole patterns, of at most " + std::to_string(most_) +
                            " items (most_items), but is given " + std::to_string(at.items().size()) +
                            "; choose some, such as `items: 0:5`");
    auto const& model = at.model().info();
    auto const length = bound(at);
    acc.define_rows("pattern", {{"layer", needs(model).size()}, {"head", model.heads}, {"query", length}, {"key", length}},
                    wf::dtype::f32);
    acc.define_rows("token", {{"position", length}}, wf::dtype::i32);
    acc.define_rows("length", {});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const layers = needs(at.model().info()).names();
    auto const patterns = acc["pattern"].view<float>();  // [item, layer, head, query, key]
    auto const token = acc["token"].view<std::int32_t>();
    auto const all = acc["pattern"].values<float>();
    std::fill(all.begin(), all.end(), std::numeric_limits<float>::quiet_NaN());
    for (std::size_t d = 0; d < block.size(); ++d) {
      auto const document = block[d];
      auto const tokens = document.tokens().first(std::min(document.tokens().size(), token.size(1)));
      acc["length"](d) = static_cast<double>(tokens.size());
      for (std::size_t p = 0; p < token.size(1); ++p) token(d, p) = p < tokens.size() ? tokens[p] : -1;
      for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        auto const pattern = document[layers[layer]].to(wf::dtype::f32);
        if (pattern.rank() != 3 || pattern.size(0) != patterns.size(2) || pattern.size(1) < tokens.size() ||
            pattern.size(2) < tokens.size())
          throw wf::usage_error(
              layers[layer] +
              " is not an attention pattern over the document's own tokens; choose hooks like blocks.*.attn.hook_pattern");
        auto const from = pattern.view<float const>();  // [head, query, key]
        for (std::size_t head = 0; head < from.size(0); ++head)
          for (std::size_t query = 0; query < tokens.size(); ++query)
            for (std::size_t key = 0; key < tokens.size(); ++key) patterns(d, layer, head, query, key) = from(head, query, key);
      }
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const& length = acc["length"];
    double longest_seen = 0;
    std::vector<std::string> texts;
    for (std::size_t d = 0; d < length.count(); ++d) {
      longest_seen = std::max(longest_seen, length(d));
      for (std::size_t p = 0; p < static_cast<std::size_t>(length(d)); ++p)
        texts.push_back(at.model().token_text(acc["token"].view<std::int32_t const>()(d, p)));
    }
    auto const n = static_cast<std::size_t>(longest_seen);
    out.add("pattern", acc["pattern"].slice(3, 0, n).slice(4, 0, n).clone())
        .about("attention of query to key; NaN beyond an item's length")
        .view("attention")
        .missing("beyond the item's length");
    out.add("token", acc["token"].slice(1, 0, n).clone()).about("token ids; -1 beyond an item's length").view("table");
    out.add("length", length).dims("item").units("token").about("tokens of each item").view("histogram");
    out.add("token_text", texts)
        .dims("packed_token")
        .about("texts of the items' tokens, items end to end: see length")
        .view("table");
    summarise(out, length);
  }

 private:
  /// Where attention goes: to the position itself, and to the first.
  void summarise(wf::results& out, wf::tensor const& length) const {
    wf::tensor const pattern = out.at("pattern").values().to(wf::dtype::f64);  // [item, layer, head, query, key]
    double itself = 0, first = 0, rows = 0;
    for (std::size_t d = 0; d < length.count(); ++d)
      for (std::size_t l = 0; l < pattern.size(1); ++l)
        for (std::size_t h = 0; h < pattern.size(2); ++h)
          for (std::size_t q = 0; q < static_cast<std::size_t>(length(d)); ++q)
            itself += pattern(d, l, h, q, q), first += pattern(d, l, h, q, std::size_t{0}), rows += 1;
    out.summarise(rows == 0 ? "no tokens, so no attention"
                            : "mean attention of a position to itself " + wf::told(itself / rows) + ", to the first position " +
                                  wf::told(first / rows) + ", in " + wf::counted(length.count(), "item"));
  }

  /// No item has more tokens than this: its words, or the bytes of its text, between two special tokens.
  std::size_t bound(wf::probe_context const& at) const {
    auto const block = at.data().read(at.items());
    std::size_t n = 1;
    for (std::size_t i = 0; i < block.words.size(); ++i) n = std::max(n, block.words[i].size() + 2);
    for (std::size_t i = 0; i < block.tokens.size(); ++i) n = std::max(n, block.tokens[i].size() + 2);
    for (auto const& text : block.texts) n = std::max(n, text.size() + 2);
    auto const limit = at.model().info().longest;
    if (limit != 0) n = std::min(n, limit);
    return longest_ != 0 ? std::min(n, longest_) : n;
  }

  std::vector<std::string> hooks_;
  std::size_t most_, longest_;
};

WAYFARER_PROBE(attention_examples, "1.0.0", "Whole attention patterns of a few documents, for heat maps",
               wf::port::model("model"), wf::port::source("source"),
               wf::param("hooks", wf::strings("blocks.*.attn.hook_pattern"), "attention patterns to keep, in layer order"),
               wf::param("most_items", 100, "refuse more items than this").at_least(1),
               wf::param("longest", 0, "positions to keep of each item, 0: all").in("token").at_least(0));
