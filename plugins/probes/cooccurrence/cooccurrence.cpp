// Do tokens that occur near each other, or that have the same neighbours, have vectors that lie near each other? Pointwise mutual
// information of tokens within a window over a corpus, and its rank correlation with inner products and cosines of their vectors.
// arXiv 2308.10874, mechanism 2.
//
//     near: {probe: cooccurrence, model: gpt2, source: corpus, window: 5, hooks: [ln_final.hook_out]}
//
//     e(a, b) = n(a) n(b) / S,  PMI(a, b) = log(n(a, b) / e(a, b)),  profile(a, b) = cosine of r(a, .) and r(b, .),
//     r(a, c) = (n(a, c) - e(a, c)) / sqrt(e(a, c))
//
// n(a, b): how often b is at most `window` places before or behind a, in one item; n(a): places in the windows of all a; S: of
// all tokens. A profile is over the tokens compared without a and b themselves, so that it holds nothing of PMI(a, b). It is made
// of residuals r, whose errors are alike for rare and common tokens: profiles of max(0, PMI) are alike by frequency alone. Only
// the commonest tokens of the first items have a row, so that memory does not grow with the corpus; the places of all tokens
// count. The same after the tokens of each item have changed places shows what is left without their order.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/statistics.hpp>
#include <wayfarer/whole_texts.hpp>

#include "probes/common/common_tokens.hpp"
#include "probes/common/token_rows.hpp"
#include "probes/common/whole_items.hpp"
#include "probes/common/words.hpp"

namespace wf = wayfarer;

namespace {

/// Pairs of different rows that would be often enough together by chance, and both measures of their association.
struct cells {
  std::vector<std::uint32_t> a, b;
  std::vector<double> pmi, profile;
};

/// A measure of association in the items as they are, and in shuffled ones.
struct association {
  std::string name, about;
  std::vector<double> cells::*values;
};

/// The pairs whose tokens both have a vector.
cells with_vectors(cells const& all, wf::tensor const& matrix) {
  cells out;
  auto const m = matrix.view<double const>();
  for (std::size_t i = 0; i < all.a.size(); ++i) {
    if (std::isnan(m(all.a[i], all.b[i]))) continue;
    out.a.push_back(all.a[i]), out.b.push_back(all.b[i]);
    out.pmi.push_back(all.pmi[i]), out.profile.push_back(all.profile[i]);
  }
  return out;
}

std::vector<double> values_at(cells const& of, wf::tensor const& matrix) {
  auto const m = matrix.view<double const>();
  std::vector<double> out(of.a.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = m(of.a[i], of.b[i]);
  return out;
}

/// Inner products and cosines of vectors [row, feature].
std::pair<wf::tensor, wf::tensor> products_of(wf::tensor const& vectors) {
  wf::tensor const dot = wf::gram(vectors.to(wf::dtype::f64)), cosine = dot.clone();
  auto const c = cosine.view<double>();
  auto const d = dot.view<double const>();
  for (std::size_t i = 0; i < c.size(0); ++i)
    for (std::size_t j = 0; j < c.size(1); ++j) {
      double const scale = std::sqrt(d(i, i) * d(j, j));
      c(i, j) = scale > 0 ? d(i, j) / scale : std::isnan(scale) ? scale : 0.0;
    }
  return {dot, cosine};
}

/// (x_a . y_b + x_b . y_a) / 2 of vectors [row, feature], float64.
wf::tensor between(wf::tensor const& x, wf::tensor const& y) {
  wf::tensor const products = wf::matmul(x, y.transposed());
  wf::tensor const out(wf::dtype::f64, products.shape());
  for (std::size_t a = 0; a < out.size(0); ++a)
    for (std::size_t b = 0; b < out.size(1); ++b) out(a, b) = (products(a, b) + products(b, a)) / 2;
  return out;
}

}  // namespace

struct cooccurrence final : wf::probe, wf::reads_whole_texts {
  explicit cooccurrence(wf::config const& c)
      : window_(c["window"]),
        most_(c["most_tokens"]),
        choose_from_(c["choose_from"]),
        least_(c["least_expected"]),
        weight_(c["weight"].text()),
        hooks_(c["hooks"].texts()),
        shuffles_(c["shuffles"]),
        seed_(c.seed()) {}

  wf::hook_set needs(wf::model_info const& model) const override {
    if (hooks_.empty()) return {};
    auto const found = model.hooks_for(hooks_);
    for (auto const& name : found.names())
      if (auto const& hook = *model.find_hook(name); hook.per_pair || hook.along == wf::positions::decoder)
        throw wf::usage_error(name +
                              (hook.per_pair ? " has numbers for pairs of positions, not a vector at each"
                                             : " has vectors of decoder tokens, and those of the source are counted") +
                              "; choose another hook, such as hook_embed");
    return found;
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    std::size_t const rows = std::min(most_, model.vocabulary);
    for (std::string const prefix : {"", "shuffled_"}) {
      acc.define(prefix + "pairs", {{"token", rows}, {"later_token", rows}});
      acc.define(prefix + "places", {{"token", rows}});
    }
    acc.define("count", {{"token", rows}});
    for (auto const* sum : {"tokens", "all_places"}) acc.define(sum, {});
    for (auto const hooks = needs(model); auto const& name : hooks.names()) {
      std::size_t const width = wf::element_count(model.find_hook(name)->row);
      acc.define(name + "/sum", {{"token", rows}, {"feature", width}});
      acc.define(name + "/count", {{"token", rows}});
    }
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& chosen = choice_.of(at, most_, choose_from_);
    auto const row_of = [&](std::int32_t token) { return chosen.row_of(token); };
    auto const hooks = needs(at.model().info());
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const tokens = wf::language::whole_tokens(block, i, at.model());
      std::vector<std::int32_t> rows(tokens.size());
      std::transform(tokens.begin(), tokens.end(), rows.begin(), row_of);
      for (auto const row : rows)
        if (row >= 0) acc["count"](row) += 1;
      acc["tokens"]() += static_cast<double>(rows.size());
      acc["all_places"]() += count(rows, acc["pairs"], acc["places"]);
      auto draw = block.random("cooccurrence", block[i]);
      draw.shuffle(static_cast<std::uint32_t>(rows.size()),
                   [&](std::uint32_t a, std::uint32_t b) { std::swap(rows[a], rows[b]); });
      count(rows, acc["shuffled_pairs"], acc["shuffled_places"]);
      for (auto const& name : hooks.names()) add_states(acc, name, block[i], row_of);
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const& chosen = choice_.of(at, most_, choose_from_);
    std::size_t const rows = chosen.ids.size();
    double const all = acc["all_places"]();
    if (rows < 3 || all == 0)
      throw wf::data_error("the items have " + wf::counted(rows, "token") + " to compare, and " + wf::told(all) +
                           " pairs of neighbours; give longer texts");
    wf::tensor const pmi = information(acc, "", rows), pmi_shuffled = information(acc, "shuffled_", rows);
    cells const measured = often_enough(acc, "", rows, pmi), control = often_enough(acc, "shuffled_", rows, pmi_shuffled);
    if (measured.pmi.size() < 3 || control.pmi.size() < 3)
      throw wf::data_error("only " + wf::counted(measured.pmi.size(), "pair") + " of tokens would meet " + wf::told(least_) +
                           " times by chance; give more text, or lower `least_expected`");
    add_counts(acc, out, at, chosen, pmi, measured);
    std::vector<association> const all_measures{{"pmi", "PMI", &cells::pmi},
                                                {"profile", "the likeness of profiles", &cells::profile}};
    std::vector<std::string> lines;
    auto const compare = [&](std::string const& group, std::string const& name, std::string const& of, wf::tensor const& matrix) {
      for (auto const& m : all_measures)
        lines.push_back(
            correlate(out, group + m.name + "_" + name, m.about + " with " + of, matrix, measured, control, m.values));
    };
    wf::tensor const table = rows_of_weight(at.model(), chosen);
    auto const [dot, cosine] = products_of(table);
    compare("", "embedding_dot", "inner products of embeddings", dot);
    compare("", "embedding_cosine", "cosines of embeddings", cosine);
    for (auto const hooks = needs(at.model().info()); auto const& name : hooks.names()) {
      wf::tensor const states = mean_states(acc, name, rows);
      auto const [state_dot, state_cosine] = products_of(states);
      compare(name + "/", "dot", "inner products of mean states at " + name, state_dot);
      compare(name + "/", "cosine", "cosines of mean states at " + name, state_cosine);
      if (states.size(1) == table.size(1))
        compare(name + "/", "to_embedding", "inner products of mean states at " + name + " and embeddings",
                between(states, table.to(wf::dtype::f64)));
    }
    out.summarise(wf::counted(measured.pmi.size(), "pair") + " of tokens, rank correlations: " + lines[2] + "; " + lines[3]);
  }

 private:
  /// Counts one item's pairs within the window. rows: [pos], -1: a token without a row. Gives the places in all windows.
  double count(std::vector<std::int32_t> const& rows, wf::tensor const& pairs, wf::tensor const& places) const {
    auto const n = pairs.view<double>();
    auto const m = places.values<double>();
    double all = 0;
    for (std::size_t p = 0; p < rows.size(); ++p) {
      std::size_t const before = std::min(p, window_), behind = std::min(rows.size() - 1 - p, window_);
      all += static_cast<double>(before + behind);
      if (rows[p] < 0) continue;
      m[static_cast<std::size_t>(rows[p])] += static_cast<double>(before + behind);
      for (std::size_t q = p + 1; q <= p + behind; ++q)
        if (rows[q] >= 0) n(rows[p], rows[q]) += 1;
    }
    return all;
  }

  template <class RowOf>
  static void add_states(wf::accumulator& acc, std::string const& name, wf::sample_item const& item, RowOf const& row_of) {
    wf::tensor const states = wf::walks::vectors_of(item[name]);  // [pos, feature]
    auto const x = states.view<float const>();
    auto const sum = acc[name + "/sum"].view<double>();
    auto const count = acc[name + "/count"].values<double>();
    auto const tokens = item.tokens();
    for (std::size_t p = 0; p < std::min(tokens.size(), x.size(0)); ++p) {
      auto const row = row_of(tokens[p]);
      if (row < 0) continue;
      count[static_cast<std::size_t>(row)] += 1;
      for (std::size_t j = 0; j < x.size(1); ++j) sum(row, j) += static_cast<double>(x(p, j));
    }
  }

  /// [token, other_token]: how often two tokens meet, and how often they would by chance.
  static double together(wf::tensor const& pairs, std::size_t a, std::size_t b) { return pairs(a, b) + pairs(b, a); }
  static double by_chance(wf::accumulator const& acc, std::string const& prefix, std::size_t a, std::size_t b) {
    auto const& places = acc[prefix + "places"];
    return places(a) * places(b) / acc["all_places"]();
  }

  static wf::tensor information(wf::accumulator const& acc, std::string const& prefix, std::size_t rows) {
    wf::tensor const pmi(wf::dtype::f64, {{"token", rows}, {"other_token", rows}});
    auto const& pairs = acc[prefix + "pairs"];
    for (std::size_t a = 0; a < rows; ++a)
      for (std::size_t b = 0; b < rows; ++b) pmi(a, b) = std::log(together(pairs, a, b) / by_chance(acc, prefix, a, b));
    return pmi;
  }

  cells often_enough(wf::accumulator const& acc, std::string const& prefix, std::size_t rows, wf::tensor const& pmi) const {
    cells out;
    wf::tensor const residual(wf::dtype::f64, pmi.shape());
    for (std::size_t a = 0; a < rows; ++a)
      for (std::size_t b = 0; b < rows; ++b) {
        double const expected = by_chance(acc, prefix, a, b);
        if (!(expected > 0 && expected >= least_)) continue;
        residual(a, b) = (together(acc[prefix + "pairs"], a, b) - expected) / std::sqrt(expected);
        if (b <= a) continue;
        out.a.push_back(static_cast<std::uint32_t>(a)), out.b.push_back(static_cast<std::uint32_t>(b));
        out.pmi.push_back(pmi(a, b));
      }
    wf::tensor const products = wf::gram(residual);
    auto const p = residual.view<double const>(), g = products.view<double const>();
    auto const square = [](double v) { return v * v; };
    for (std::size_t i = 0; i < out.a.size(); ++i) {
      std::size_t const a = out.a[i], b = out.b[i];
      double const dot = g(a, b) - p(a, a) * p(b, a) - p(a, b) * p(b, b);
      double const lengths = std::sqrt(std::max(0.0, g(a, a) - square(p(a, a)) - square(p(a, b)))) *
                             std::sqrt(std::max(0.0, g(b, b) - square(p(b, b)) - square(p(b, a))));
      out.profile.push_back(lengths > 0 ? dot / lengths : 0);
    }
    return out;
  }

  void add_counts(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at,
                  wf::language::chosen_tokens const& chosen, wf::tensor const& pmi, cells const& measured) const {
    std::size_t const rows = chosen.ids.size();
    std::vector<std::string> names;
    for (auto const id : chosen.ids) names.push_back(at.model().token_text(id));
    out.add("pmi", pmi)
        .about("pointwise mutual information of two tokens within the window")
        .units("nat")
        .labels("token", names)
        .labels("other_token", names)
        .missing("the two never occur together, or one of them never with any other")
        .view(R"({"kind": "heatmap", "colours": "diverging"})");
    wf::tensor const profile(wf::dtype::f64, pmi.shape());
    for (double& v : profile.values<double>()) v = std::numeric_limits<double>::quiet_NaN();
    for (std::size_t i = 0; i < measured.a.size(); ++i)
      profile(measured.a[i], measured.b[i]) = profile(measured.b[i], measured.a[i]) = measured.profile[i];
    out.add("profile", profile)
        .about("cosine of the profiles of two tokens: how alike their neighbours are")
        .missing("the two would meet less often than `least_expected` by chance, or are one token")
        .view(R"({"kind": "heatmap", "colours": "diverging"})");
    out.add("token_ids", wf::tensor::of(chosen.ids, {{"token", rows}}))
        .about("ids of the tokens compared, the commonest first")
        .view("table");
    out.add("count", acc["count"].slice(0, 0, rows).clone())
        .units("token")
        .about("how often each occurs")
        .view(R"({"kind": "curve", "log_y": true})");
    out.add("tokens", acc["tokens"]()).units("token").about("tokens of the corpus");
    double covered = 0, none = 0;
    for (double const n : out.at("count").values().values<double const>()) covered += n;
    out.add("share_of_tokens", covered / acc["tokens"]()).about("share of the corpus that the tokens compared make up");
    for (double const v : measured.pmi) none += std::isinf(v) ? 1 : 0;
    out.add("pairs", static_cast<double>(measured.pmi.size())).units("pair").about("pairs of different tokens that are compared");
    out.add("pairs_never_together", none).units("pair").about("those that never occur together: the lowest rank, shared");
  }

  /// Adds the rank correlation of an association and `matrix` with its error and its controls; gives a phrase for the summary.
  std::string correlate(wf::results& out, std::string const& name, std::string const& what, wf::tensor const& matrix,
                        cells const& all_measured, cells const& all_control, std::vector<double> cells::*association) const {
    std::string const none = "all values are equal, or too few tokens have a vector";
    auto const value_of = [](std::vector<double> const& ranks, std::vector<double> const& values) {
      return wf::correlation_of_ranks(ranks, wf::average_ranks(values));
    };
    cells const measured = with_vectors(all_measured, matrix), control = with_vectors(all_control, matrix);
    auto const ranks = wf::average_ranks(measured.*association);
    double const value = value_of(ranks, values_at(measured, matrix));
    double const shuffled = value_of(wf::average_ranks(control.*association), values_at(control, matrix));
    std::vector<std::uint32_t> own;  // tokens with a vector, among which the vectors are dealt
    for (std::size_t r = 0; r < matrix.size(0); ++r)
      if (!std::isnan(matrix(r, r))) own.push_back(static_cast<std::uint32_t>(r));
    std::vector<double> dealt(shuffles_);
    wf::parallel_for(shuffles_, [&](std::size_t s) {
      auto const m = matrix.view<double const>();
      std::vector<std::uint32_t> mixed = own, to(matrix.size(0));
      wf::random_stream draw(seed_, "cooccurrence vectors", s);
      draw.shuffle(static_cast<std::uint32_t>(mixed.size()),
                   [&](std::uint32_t i, std::uint32_t j) { std::swap(mixed[i], mixed[j]); });
      for (std::size_t i = 0; i < own.size(); ++i) to[own[i]] = mixed[i];
      std::vector<double> values(measured.a.size());
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = m(to[measured.a[i]], to[measured.b[i]]);
      dealt[s] = value_of(ranks, values);
    });
    auto const chance = wf::moments_of(dealt);
    double const error = jackknife(measured, measured.*association, matrix, value_of);
    out.add(name, value).about("rank correlation of " + what).missing(none);
    out.add(name + "_standard_error", error)
        .about("its standard error over tokens: a jackknife that leaves out a twentieth of them at a time")
        .missing(none + ", or there are too few tokens");
    out.add(name + "_shuffled", shuffled).about("the same with the tokens of each item in random order").missing(none);
    out.add(name + "_dealt", chance.mean).about("the same with the vectors dealt to the tokens at random, mean").missing(none);
    out.add(name + "_dealt_deviation", chance.deviation).about("its deviation").missing(none);
    return what + " " + wf::told(value, 3, true) + " +- " + wf::told(error, 2) + " (in shuffled items " +
           wf::told(shuffled, 2, true) + ", vectors dealt at random " + wf::told(chance.mean, 2, true) + " +- " +
           wf::told(chance.deviation, 2) + ")";
  }

  template <class ValueOf>
  static double jackknife(cells const& measured, std::vector<double> const& association, wf::tensor const& matrix,
                          ValueOf const& value_of) {
    constexpr std::size_t groups = 20;
    if (matrix.size(0) < groups + 2) return std::numeric_limits<double>::quiet_NaN();
    auto const values = values_at(measured, matrix);
    std::vector<double> without(groups);
    wf::parallel_for(groups, [&](std::size_t g) {
      std::vector<double> x, y;
      for (std::size_t i = 0; i < values.size(); ++i)
        if (measured.a[i] % groups != g && measured.b[i] % groups != g) x.push_back(association[i]), y.push_back(values[i]);
      without[g] = value_of(wf::average_ranks(x), y);
    });
    auto const m = wf::moments_of(without);
    return m.deviation * (groups - 1) / std::sqrt(static_cast<double>(groups));
  }

  wf::tensor rows_of_weight(wf::model const& m, wf::language::chosen_tokens const& chosen) const {
    wf::tensor const table = wf::words::token_table(m, weight_);
    if (table.size(0) < m.info().vocabulary)
      throw wf::data_error(weight_ + " has " + wf::counted(table.size(0), "row") + ", fewer than the model has tokens");
    wf::tensor const out(wf::dtype::f32, {{"token", chosen.ids.size()}, {"feature", table.size(1)}});
    for (std::size_t r = 0; r < chosen.ids.size(); ++r) wf::copy_into(out[r], table[static_cast<std::size_t>(chosen.ids[r])]);
    return out;
  }

  static wf::tensor mean_states(wf::accumulator const& acc, std::string const& name, std::size_t rows) {
    wf::tensor const out = acc[name + "/sum"].slice(0, 0, rows).clone();
    auto const x = out.view<double>();
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t j = 0; j < x.size(1); ++j) x(r, j) /= acc[name + "/count"](r);  // NaN: only behind the model's limit
    return out;
  }

  std::size_t window_, most_, choose_from_;
  double least_;
  std::string weight_;
  std::vector<std::string> hooks_;
  std::size_t shuffles_;
  std::uint64_t seed_;
  wf::language::token_choice choice_;
};

WAYFARER_PROBE(cooccurrence, "1.0.0", "Pointwise mutual information of neighbouring tokens, and how it agrees with their vectors",
               wf::port::model("model"), wf::port::source("source"),
               wf::param("window", 5, "how far apart neighbours are at most").in("token").between(1, 1000),
               wf::param("most_tokens", 500, "compare so many tokens, the commonest").in("token").between(3, 5000),
               wf::param("choose_from", 1000, "how many items, the first, say which tokens are common").in("item").at_least(1),
               wf::param("least_expected", 5.0, "compare pairs that would meet so often by chance").at_least(0),
               wf::param("weight", "embed.W_E", "table with a vector for each token: embed.W_E or unembed.W_U"),
               wf::param("hooks", wf::strings(), "compare the tokens' mean states at these hooks, too"),
               wf::param("shuffles", 20, "how often the vectors are dealt to the tokens at random").between(2, 10'000),
               wf::param("seed", 0, "of the shuffles").at_least(0));
