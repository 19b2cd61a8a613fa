// How much does a token say of the token d places later? Mutual information between the tokens of a corpus by their distance, and
// the same after the tokens of each item have changed places. arXiv 2308.10874, next check 3; Lin and Tegmark 2017, section 2.
//
//     far: {probe: token_information, source: corpus, model: gpt2, distances: [1, 2, 4, 8, 16]}
//
//     I(d) = sum over a, b of p_d(a, b) log(p_d(a, b) / (p_d(a, .) p_d(., b)))
//
// from the pairs of places p, p + d of one item. From counts, I is too large by about (C - A - B + 1) / (2 N): N pairs, C cells,
// A rows and B columns of the table that hold a pair (Miller and Madow 1955 for each entropy; Roulston 1999). That is subtracted.
// The commonest tokens of the first items have a row each, all others one together, so that memory does not grow with the corpus.
// Putting tokens together never adds information: the figure is a lower bound of that between all tokens.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/whole_texts.hpp>

#include "probes/common/common_tokens.hpp"

namespace wf = wayfarer;

namespace {

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();

/// What a table of counts says.
struct information {
  double pairs = 0;
  double plug_in = nothing;         ///< from the counts as they are
  double bias = nothing;            ///< what is subtracted from it
  double standard_error = nothing;  ///< if pairs were independent
  double value() const { return plug_in - bias; }
};

/// table: [token, later_token]
information information_of(wf::tensor const& table) {
  auto const n = table.view<double const>();
  std::size_t const rows = n.size(0);
  std::vector<double> first(rows), second(rows);
  information out;
  for (std::size_t a = 0; a < rows; ++a)
    for (std::size_t b = 0; b < rows; ++b) first[a] += n(a, b), second[b] += n(a, b), out.pairs += n(a, b);
  if (out.pairs == 0) return out;
  double sum = 0, squares = 0, cells = 0, occupied = 0;
  for (std::size_t a = 0; a < rows; ++a) {
    occupied += (first[a] > 0) + (second[a] > 0);
    for (std::size_t b = 0; b < rows; ++b) {
      if (n(a, b) == 0) continue;
      double const log_ratio = std::log(n(a, b) * out.pairs / (first[a] * second[b]));
      sum += n(a, b) * log_ratio, squares += n(a, b) * log_ratio * log_ratio;
      ++cells;
    }
  }
  out.plug_in = sum / out.pairs;
  out.bias = (cells - occupied + 1) / (2 * out.pairs);
  out.standard_error = std::sqrt(std::max(0.0, squares / out.pairs - out.plug_in * out.plug_in) / out.pairs);
  return out;
}

}  // namespace

struct token_information final : wf::probe, wf::reads_whole_texts {
  explicit token_information(wf::config const& c)
      : distances_(c["distances"].integers()), most_(c["most_tokens"]), choose_from_(c["choose_from"]) {
    std::vector<wf::parameter_problem> wrong;
    if (distances_.empty()) wrong.push_back({"distances", 0, "'distances' is empty; give at least one, such as [1, 2, 4, 8]"});
    for (std::size_t i = 1; i < distances_.size(); ++i)
      if (distances_[i] <= distances_[i - 1])
        wrong.push_back({"distances", i,
                         "'distances' holds " + std::to_string(distances_[i]) + " behind " + std::to_string(distances_[i - 1]) +
                             "; give each once, in rising order"});
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
  }

  void shape(wf::accumulator& acc, wf::probe_context const&) const override {
    wf::dims const table{{"distance", distances_.size()}, {"token", most_ + 1}, {"later_token", most_ + 1}};
    acc.define("pairs", table), acc.define("shuffled_pairs", table);
    acc.define("count", {{"token", most_ + 1}});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& chosen = choice_.of(at, most_, choose_from_);
    auto const count = acc["count"].values<double>();
    for (std::size_t i = 0; i < block.size(); ++i) {
      std::vector<std::uint32_t> rows;
      for (auto const token : wf::language::symbols_of(block, i, at)) {
        auto const row = chosen.row_of(token);
        rows.push_back(row < 0 ? static_cast<std::uint32_t>(most_) : static_cast<std::uint32_t>(row));
        count[rows.back()] += 1;
      }
      add_pairs(rows, acc["pairs"]);
      auto draw = block.random("token_information", block[i]);
      draw.shuffle(static_cast<std::uint32_t>(rows.size()),
                   [&](std::uint32_t a, std::uint32_t b) { std::swap(rows[a], rows[b]); });
      add_pairs(rows, acc["shuffled_pairs"]);
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    std::size_t const n = distances_.size();
    std::vector<information> ordered, shuffled;
    for (std::size_t d = 0; d < n; ++d) {
      ordered.push_back(information_of(acc["pairs"][d]));
      shuffled.push_back(information_of(acc["shuffled_pairs"][d]));
    }
    if (std::none_of(ordered.begin(), ordered.end(), [](information const& i) { return i.pairs > 0; }))
      throw wf::data_error("no item has two tokens " + std::to_string(distances_.front()) +
                           " places apart; give longer texts, or smaller `distances`");
    auto const add = [&](char const* name, std::string const& about, char const* units, auto const& number) {
      wf::tensor const values(wf::dtype::f64, {{"distance", n}});
      for (std::size_t d = 0; d < n; ++d) values(d) = number(d);
      out.add(name, values)
          .about(about)
          .units(units)
          .coordinate("distance", wf::tensor::of(distances_, {{"distance", n}}))
          .missing("no item is that long")
          .view(R"({"kind": "curve", "x": "distance", "log_x": true})");
    };
    add("information", "mutual information of two tokens so far apart, without its bias", "nat",
        [&](std::size_t d) { return ordered[d].value(); });
    add("information_standard_error", "its standard error, if pairs were independent", "nat",
        [&](std::size_t d) { return ordered[d].standard_error; });
    add("information_shuffled", "the same with the tokens of each item in random order: what items have in common, not order",
        "nat", [&](std::size_t d) { return shuffled[d].value(); });
    add("information_shuffled_standard_error", "its standard error, if pairs were independent", "nat",
        [&](std::size_t d) { return shuffled[d].standard_error; });
    add("information_plug_in", "the information from the counts as they are, with its bias", "nat",
        [&](std::size_t d) { return ordered[d].plug_in; });
    add("bias", "bias that was subtracted: (cells - rows - columns + 1) / (2 pairs), those that hold a pair", "nat",
        [&](std::size_t d) { return ordered[d].bias; });
    add("pairs", "pairs of places", "pair", [&](std::size_t d) { return ordered[d].pairs; });
    add_counts(acc, out, at);
    std::int64_t last = 0;
    for (std::size_t d = 0; d < n && stands_out(ordered[d], shuffled[d]); ++d) last = distances_[d];
    out.add("last_above_shuffled", static_cast<double>(last))
        .units("token")
        .about("the largest distance up to which all information is above the shuffled by more than 3 standard errors; 0: none");
    out.summarise("a token says " + wf::told(ordered[0].value()) + " +- " + wf::told(ordered[0].standard_error, 2) +
                  " nat of the token " + wf::counted(static_cast<std::size_t>(distances_[0]), "place") + " later (shuffled " +
                  wf::told(shuffled[0].value(), 2) + ")" +
                  (last == 0 ? "; nowhere more than in shuffled items"
                             : "; more than in shuffled items up to distance " + std::to_string(last)));
  }

 private:
  void add_pairs(std::vector<std::uint32_t> const& rows, wf::tensor const& to) const {
    auto const n = to.view<double>();
    for (std::size_t i = 0; i < distances_.size(); ++i) {
      auto const table = n[i];
      for (auto d = static_cast<std::size_t>(distances_[i]), p = d; p < rows.size(); ++p) table(rows[p - d], rows[p]) += 1;
    }
  }

  static bool stands_out(information const& ordered, information const& shuffled) {
    double const error = std::hypot(ordered.standard_error, shuffled.standard_error);
    return ordered.value() - shuffled.value() > 3 * error;
  }

  /// What the tokens with a row are, and how much they are of the corpus.
  void add_counts(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const {
    auto const& chosen = choice_.of(at, most_, choose_from_);
    auto const count = acc["count"].values<double const>();
    double all = 0, entropy = 0;
    for (double const c : count) all += c;
    for (double const c : count)
      if (c > 0) entropy -= c / all * std::log(c / all);
    out.add("tokens", all).units("token").about("tokens of the corpus");
    out.add("share_of_tokens", 1 - count[most_] / all).about("share of the corpus that has a row of its own");
    out.add("entropy", entropy).units("nat").about("entropy of one token, the others together: no information is larger");
    out.add("token_ids", wf::tensor::of(chosen.ids, {{"token", chosen.ids.size()}}))
        .about("ids of the tokens that have a row, the commonest first")
        .view("table");
  }

  std::vector<std::int64_t> distances_;
  std::size_t most_, choose_from_;
  wf::language::token_choice choice_;
};

WAYFARER_PROBE(
    token_information, "1.0.0", "Mutual information between the tokens of a corpus by their distance", wf::port::source("source"),
    wf::port::model("model", "whose tokens are counted; without one: the source's own, or the bytes of its texts").optional(),
    wf::param("distances", wf::integers("1 2 3 4 6 8 12 16 24 32 48 64 96 128"), "how far apart, in rising order")
        .in("token")
        .between(1, 1'000'000),
    wf::param("most_tokens", 100, "tokens that have a row each, the commonest; the others share one").in("token").between(1, 400),
    wf::param("choose_from", 1000, "how many items, the first, say which tokens are common").in("item").at_least(1),
    wf::param("seed", 0, "of the shuffled items").at_least(0));
