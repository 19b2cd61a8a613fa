// Similarity maps: inner products and cosines between the vectors of all positions of a text, at any place in a model.
// Singh 2023 (arXiv 2308.10874), similarity maps; notes 2.1, and self-bias SB_sim of 1.8.
//
//     G = X X^T, X: [pos, feature]; the cosine map has the rows of X at length 1. Nothing is centred or scaled.
//
//     maps: {probe: similarity_map, model: t5, source: prompt, hooks: [hook_embed, encoder_final_ln.hook_out]}
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/token_rows.hpp"

namespace wf = wayfarer;
using namespace wayfarer::walks;

namespace {

struct histogram {
  std::vector<double> edges, share;
};

/// Of all entries [0, n) x [0, n) of a map.
histogram histogram_of(wf::tensor_view<float const> const& map, std::size_t n, std::size_t bins) {
  histogram h{std::vector<double>(bins + 1), std::vector<double>(bins)};
  double low = INFINITY, high = -INFINITY;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) low = std::min(low, double{map(i, j)}), high = std::max(high, double{map(i, j)});
  if (!(high > low)) low -= 0.5, high += 0.5;
  for (std::size_t b = 0; b <= bins; ++b) h.edges[b] = low + (high - low) * static_cast<double>(b) / static_cast<double>(bins);
  double const each = 1 / static_cast<double>(n * n), per_bin = static_cast<double>(bins) / (high - low);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      if (double const at = (double{map(i, j)} - low) * per_bin; at >= 0)  // NaN is in no bin
        h.share[std::min(bins - 1, static_cast<std::size_t>(at))] += each;
  return h;
}

/// mean_i (G_ii - mean_{j != i} G_ij), and the mean of what is off the diagonal.
std::pair<double, double> self_bias(wf::tensor_view<float const> const& map, std::size_t n) {
  double own = 0, other = 0;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) (i == j ? own : other) += double{map(i, j)};
  double const rows = static_cast<double>(n), off = other / (rows * (rows - 1));
  return {own / rows - off, off};
}

}  // namespace

struct similarity_map final : wf::probe {
  explicit similarity_map(wf::config const& c)
      : hooks_(c["hooks"].texts()), bins_(c["bins"]), nearest_(c["nearest"]), most_(c["most_items"]) {}

  wf::hook_set needs(wf::model_info const& model) const override {
    auto const hooks = model.hooks_for(hooks_);
    for (auto const& name : hooks.names())
      if (model.find_hook(name)->per_pair)
        throw wf::usage_error(name + " has numbers for pairs of positions, not a vector at each; attention_map shows it");
    return hooks;
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    few_items(at, "similarity_map", most_);
    auto const& model = at.model().info();
    for (bool const decoder : {false, true})
      if (any(model, decoder)) define_tokens(acc, at, {decoder});
    for (auto const hooks = needs(model); auto const& name : hooks.names()) {
      auto const s = side::of(*model.find_hook(name));
      std::size_t const n = s.longest(at);
      for (auto const* map : {"/dot", "/cosine"})
        acc.define_rows(name + map, {{s.pos(), n}, {"other_" + s.pos(), n}}, wf::dtype::f32);
      acc.define_rows(name + "/norm", {{s.pos(), n}}, wf::dtype::f32);
      if (std::size_t const k = neighbours(model, name); k != 0) {
        acc.define_rows(name + "/nearest_ids", {{s.pos(), n}, {"rank", k}}, wf::dtype::i32);
        acc.define_rows(name + "/nearest_products", {{s.pos(), n}, {"rank", k}}, wf::dtype::f32);
      }
    }
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    for (bool const decoder : {false, true})
      if (any(model, decoder)) put_tokens(acc, block, {decoder});
    wf::tensor embedding;
    for (auto const hooks = needs(model); auto const& name : hooks.names()) {
      auto const dot = acc[name + "/dot"], cosine = acc[name + "/cosine"], norm = acc[name + "/norm"];
      for (auto const& t : {dot, cosine, norm}) fill_missing(t);
      std::size_t const k = neighbours(model, name);
      if (k != 0) {
        fill_missing(acc[name + "/nearest_ids"]), fill_missing(acc[name + "/nearest_products"]);
        if (!embedding.defined()) embedding = at.model().weight("embed.W_E").to(wf::dtype::f32);
      }
      for (std::size_t i = 0; i < block.size(); ++i) {
        auto const x = vectors_of(block[i][name]);  // [pos, feature]
        auto const products = wf::gram(x);
        auto const g = products.view<float const>();
        auto const rows = x.view<float const>();
        auto const d = dot.view<float>(), c = cosine.view<float>(), length = norm.view<float>();
        std::vector<double> norms;
        for (std::size_t p = 0; p < x.size(0); ++p) norms.push_back(std::sqrt(wf::dot(rows.row(p), rows.row(p))));
        for (std::size_t p = 0; p < x.size(0); ++p) {
          length(i, p) = static_cast<float>(norms[p]);
          for (std::size_t q = 0; q < x.size(0); ++q) {
            d(i, p, q) = g(p, q);
            double const scale = norms[p] * norms[q];
            c(i, p, q) = static_cast<float>(scale > 0 ? double{g(p, q)} / scale : 0);
          }
        }
        if (k == 0) continue;
        auto const found = nearest(x, embedding, k);
        auto const ids = acc[name + "/nearest_ids"].view<std::int32_t>();
        auto const nearness = acc[name + "/nearest_products"].view<float>();
        for (std::size_t p = 0; p < x.size(0); ++p)
          for (std::size_t r = 0; r < found.ids[p].size(); ++r)
            ids(i, p, r) = found.ids[p][r], nearness(i, p, r) = found.products[p][r];
      }
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    for (bool const decoder : {false, true})
      if (any(model, decoder)) add_tokens(acc, out, at, {decoder});
    for (auto const hooks = needs(model); auto const& name : hooks.names()) {
      auto const s = side::of(*model.find_hook(name));
      for (std::string const map : {"dot", "cosine"}) put_map(acc, out, name, map, acc[s.ids()]);
      out.add(name + "/norm", acc[name + "/norm"])
          .about("length of the vector at each position of " + name)
          .view("tokens")
          .missing("beyond an item's length");
      if (neighbours(model, name) == 0) continue;
      auto const& near = acc[name + "/nearest_ids"];
      out.add(name + "/nearest_ids", near)
          .about("tokens whose embeddings have the largest inner products with the vector")
          .view("table");
      out.add(name + "/nearest_products", acc[name + "/nearest_products"])
          .about("these inner products")
          .view("heatmap")
          .missing("beyond an item's length");
      wf::language::add_token_texts(out, name + "/nearest_tokens", near, at.model(), "lens");
    }
    auto const names = needs(model).names();
    if (names.empty() || out.at(names.front() + "/mean_cosine").values().count() == 0)
      return out.summarise("no items, so no similarity");
    auto const mean = [&](std::string const& name) {
      wf::tensor const wide = out.at(name + "/mean_cosine").values().to(wf::dtype::f64);
      double sum = 0, n = 0;
      for (double const v : wide.values<double const>())
        if (!std::isnan(v)) sum += v, n += 1;
      return wf::told(sum / n) + " at " + name;
    };
    out.summarise("mean cosine of two positions: " + mean(names.front()) +
                  (names.size() > 1 ? ", " + mean(names.back()) : std::string()));
  }

 private:
  /// `map`: "dot" or "cosine" of the vectors at two positions of the hook `name`.
  void put_map(wf::accumulator const& acc, wf::results& out, std::string const& name, std::string const& map,
               wf::tensor const& ids) const {
    std::size_t const items = ids.size(0);
    std::string const what = map == "dot" ? "inner product" : "cosine";
    auto const& rows = acc[name + "/" + map];
    out.add(name + "/" + map, rows)
        .about(what + " of the vectors at two positions of " + name + "; NaN beyond an item's length")
        .view("heatmap")
        .missing("beyond an item's length");
    wf::tensor edges(wf::dtype::f64, {{"item", items}, {"edge", bins_ + 1}}),
        share(wf::dtype::f64, {{"item", items}, {"bin", bins_}});
    wf::tensor bias(wf::dtype::f64, {{"item", items}}), off(wf::dtype::f64, {{"item", items}}),
        unrelated(wf::dtype::f64, {{"item", items}});
    for (std::size_t i = 0; i < items; ++i) {
      auto const view = rows[i].view<float const>();
      std::size_t const n = length_of(ids, i);
      auto const h = histogram_of(view, n, bins_);
      for (std::size_t b = 0; b < bins_; ++b) edges(i, b) = h.edges[b], share(i, b) = h.share[b];
      edges(i, bins_) = h.edges[bins_];
      std::tie(bias(i), off(i)) = self_bias(view, n);
      for (std::size_t p = 0; p < n; ++p) unrelated(i) += double{view(p, p)} / static_cast<double>(n);
    }
    out.add(name + "/histogram_" + map + "_edges", edges)
        .about("edges of the bins, from the least to the largest " + what)
        .view("table");
    out.add(name + "/histogram_" + map, share).about("share of all pairs of positions in each bin").view("histogram");
    out.add(name + "/self_bias_" + map, bias)
        .about("SB_sim: mean " + what + " of a position with itself less that with others")
        .view("histogram")
        .missing("a text of one token has no other");
    out.add(name + "/self_bias_" + map + "_expected", unrelated)
        .view("histogram")
        .about("its value for vectors that have nothing in common: " +
               std::string(map == "dot" ? "their mean squared length" : "1, or 0 for vectors of length 0"));
    out.add(name + "/mean_" + map, off)
        .about("mean " + what + " of two different positions")
        .view("histogram")
        .missing("a text of one token has no other");
  }

  bool any(wf::model_info const& model, bool decoder) const {
    auto const hooks = needs(model);
    return std::any_of(hooks.names().begin(), hooks.names().end(),
                       [&](auto const& name) { return side::of(*model.find_hook(name)).decoder == decoder; });
  }
  /// How many nearest tokens are kept at a hook: none where vectors are not of the embedding's space.
  std::size_t neighbours(wf::model_info const& model, std::string const& name) const {
    auto const* hook = model.find_hook(name);
    return hook->row.size() == 1 && hook->row[0].size == model.d_model ? std::min(nearest_, model.vocabulary) : 0;
  }
  static std::size_t length_of(wf::tensor const& ids, std::size_t item) {
    auto const row = ids[item].values<std::int32_t const>();
    return static_cast<std::size_t>(std::find(row.begin(), row.end(), -1) - row.begin());
  }

  std::vector<std::string> hooks_;
  std::size_t bins_, nearest_, most_;
};

WAYFARER_PROBE(similarity_map, "1.0.0",
               "Inner products and cosines between all positions of a text, with histograms and nearest tokens",
               wf::port::model("model"), wf::port::source("source"),
               wf::param("hooks", wf::strings("hook_embed"), "where to look; any hook with a vector at each position"),
               wf::param("bins", 100, "of the histograms").between(1, 100'000),
               wf::param("nearest", 5, "nearest tokens kept at each position").between(0, 1000),
               wf::param("most_items", 16, "refuse more items than this").at_least(1));
