// How far back does a model look? Its next-token law after the last n tokens, when those before them are hidden, replaced by
// other tokens of the corpus, or put in random order; and its loss by the length of what it sees. arXiv 2308.10874, next check 3.
//
//     reach: {probe: context_reach, model: gpt2, source: texts, hidden: 64}
//
// The first `hidden` tokens of an item are far: x_1 .. x_h. Each later position t has n = t - h near tokens, and its law from all
// of x_1 .. x_t is compared with the one from the near tokens alone, or behind far tokens that were changed. One pass for each
// change so gives all n at once, and exactly h tokens are far for every n. What remains of a law is
//
//     kept(n) = 1 - JSD(n) / U,   U: mean JSD of the laws at two positions of one item,
//
// 1 if the change does nothing, 0 if the law is as different as that of another position. The effective order is the smallest n
// from which on `share` is kept. A chain of order k has order k; a model whose law never changes has 0.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/common_tokens.hpp"
#include "probes/common/language.hpp"
#include "probes/common/vocabulary.hpp"

namespace wf = wayfarer;
using distribution = wayfarer::language::distribution<float>;

namespace {

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();

/// What is done to the far tokens.
struct change {
  char const* name;
  char const* about;
};
constexpr std::array<change, 3> changes{{{"hidden", "the far tokens cut off"},
                                         {"replaced", "the far tokens replaced by tokens drawn from the corpus, one by one"},
                                         {"shuffled", "the far tokens in random order"}}};
constexpr std::size_t rows_at_once = 32;  // of logits

/// Sums of some numbers and their squares, for each n: a field [moment, context].
void define_moments(wf::accumulator& acc, std::string const& name, std::size_t contexts) {
  acc.define(name, {{"moment", 2}, {"context", contexts}});
}
void add_moment(wf::tensor const& to, std::size_t n, double x) {
  to(0, n) += x, to(1, n) += x * x;
}

struct mean_and_error {
  double mean = nothing, standard_error = nothing;
};
mean_and_error of_sums(double count, double sum, double squares) {
  if (count == 0) return {};
  double const mean = sum / count;
  if (count < 2) return {mean, nothing};
  return {mean, std::sqrt(std::max(0.0, squares / count - mean * mean) / (count - 1))};
}

/// One row for each variant of an item: as it is, then as in `changes`. `near`: the first near token in each.
struct variants {
  std::array<std::vector<std::int32_t>, changes.size() + 1> tokens;
  std::array<std::size_t, changes.size() + 1> near{};
};

}  // namespace

struct context_reach final : wf::probe {
  explicit context_reach(wf::config const& c)
      : hidden_(c["hidden"]),
        own_positions_(c["positions"].text() == "own"),
        share_(c["share"]),
        choose_from_(c["choose_from"]) {}

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    std::size_t const n = contexts(at);
    acc.define("count", {{"context", n}});
    define_moments(acc, "loss_full", n);
    for (auto const& c : changes)
      for (auto const* what : {"divergence_", "loss_", "excess_loss_"}) define_moments(acc, std::string(what) + c.name, n);
    acc.define("unrelated", {{"moment", 3}});
    acc.define("short_items", {});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    wf::model const& m = at.model();
    auto const& pool = pool_for(at);
    auto const top = wf::language::stack_of(m.info());
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const tokens = top.tokens(block[i]);
      std::size_t const far = first_far(tokens, m), near = far + hidden_;
      if (tokens.size() < near + 2) {
        acc["short_items"]() += 1;
        continue;
      }
      auto draw = block.random("context_reach", block[i]);
      auto const rows = changed(tokens, far, pool, draw);
      auto const captured = run(block, i, rows, m, top);
      measure(acc, rows, captured, tokens, m, draw);
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const&) const override {
    auto const count = acc["count"].values<double const>();
    std::size_t n = count.size();
    while (n > 0 && count[n - 1] == 0) --n;
    if (n == 0)
      throw wf::data_error("no item has more than " + wf::counted(hidden_ + 1, "token") + ", so none is left near the " +
                           std::to_string(hidden_) + " far ones; give longer texts, or a smaller `hidden`");
    auto const shown = [&](std::string const& name, std::string const& about, char const* units) {
      put_curve(acc, out, name, about, units);
    };
    shown("loss_full", "mean loss at positions with n near tokens, from all tokens before them", "nat");
    for (auto const& c : changes) {
      std::string const with = std::string(", ") + c.about;
      shown(std::string("divergence_") + c.name, "mean Jensen-Shannon divergence of the law from that of the whole text" + with,
            "nat");
      shown(std::string("loss_") + c.name, "mean loss" + with, "nat");
      shown(std::string("excess_loss_") + c.name, "mean loss less that of the whole text" + with, "nat");
    }
    out.add("count", acc["count"].clone())
        .units("position")
        .about("positions with n near tokens, one of each item that is so long")
        .coordinate("context", numbers_from_one(count.size()))
        .view(R"({"kind": "curve", "x": "context"})");
    auto const& u = acc["unrelated"];
    auto const unrelated = of_sums(u(0), u(1), u(2));
    out.add("divergence_unrelated", unrelated.mean)
        .units("nat")
        .about("U: mean divergence of the laws at two positions of one item, of which 0 % is kept")
        .missing("no item has two positions with a next token");
    out.add("divergence_unrelated_standard_error", unrelated.standard_error)
        .units("nat")
        .about("its standard error over items")
        .missing("fewer than two such items");
    out.add("short_items", acc["short_items"]()).units("item").about("items that are too short to have near tokens");
    std::vector<std::string> orders;
    for (auto const& c : changes) orders.push_back(put_order(acc, out, c, unrelated.mean, n));
    auto const loss = [&](char const* name, std::size_t k) { return wf::told(acc[name](0, k) / count[k]); };
    out.summarise(wf::told(100 * share_) + " % of the law remains with " + orders[0] + " near tokens (far ones hidden), " +
                  orders[1] + " (replaced), " + orders[2] + " (shuffled); loss with 1 token " + loss("loss_hidden", 0) +
                  " nat, with " + std::to_string(n) + " " + loss("loss_hidden", n - 1));
  }

 private:
  /// How many n there may be.
  std::size_t contexts(wf::probe_context const& at) const {
    std::size_t const longest = wf::language::stack_of(at.model().info()).longest(at);
    return longest > hidden_ + 1 ? longest - hidden_ - 1 : 1;
  }

  /// What the tokenizer puts before every text is not of the text: it stays.
  static std::size_t first_far(std::span<std::int32_t const> tokens, wf::model const& m) {
    auto const* tokenizer = m.text_tokenizer();
    if (tokenizer == nullptr || tokens.empty()) return 0;
    auto const& known = tokenizer->special();
    return (known.bos && tokens[0] == *known.bos) || (known.cls && tokens[0] == *known.cls) ? 1 : 0;
  }

  /// Tokens of the first items, as they come: a draw from them has the corpus's frequencies.
  std::vector<std::int32_t> const& pool_for(wf::probe_context const& at) const {
    std::scoped_lock const lock(mutex_);
    auto& pool = pools_[{&at.model(), &at.data(), at.items().first, at.items().last}];
    if (pool.empty())
      wf::language::each_of_first(at, choose_from_, [&](std::vector<std::int32_t> const& tokens) {
        std::size_t const room = most_pooled - std::min(most_pooled, pool.size());
        pool.insert(pool.end(), tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(std::min(room, tokens.size())));
      });
    return pool;
  }

  variants changed(std::span<std::int32_t const> tokens, std::size_t far, std::vector<std::int32_t> const& pool,
                   wf::random_stream& draw) const {
    variants out;
    for (auto& t : out.tokens) t.assign(tokens.begin(), tokens.end());
    out.near.fill(far + hidden_);
    std::vector<std::int32_t>&hidden = out.tokens[1], &replaced = out.tokens[2], &shuffled = out.tokens[3];
    hidden.erase(hidden.begin() + static_cast<std::ptrdiff_t>(far), hidden.begin() + static_cast<std::ptrdiff_t>(far + hidden_));
    out.near[1] = far;
    for (std::size_t p = far; p < far + hidden_ && !pool.empty(); ++p)
      replaced[p] = pool[draw.below(static_cast<std::uint32_t>(pool.size()))];
    draw.shuffle(static_cast<std::uint32_t>(hidden_),
                 [&](std::uint32_t a, std::uint32_t b) { std::swap(shuffled[far + a], shuffled[far + b]); });
    return out;
  }

  /// All variants of one item in one pass: the states that become logits, [variant] of [pos, d_model].
  std::vector<wf::tensor> run(wf::sample const& block, std::size_t i, variants const& rows, wf::model const& m,
                              wf::language::stack const& top) const {
    wf::batch batch;
    for (auto const& tokens : rows.tokens) {
      batch.tokens.push_back(top.decoder ? block[i].tokens() : std::span<std::int32_t const>(tokens));
      if (top.decoder) batch.decoder_tokens.push_back(tokens);
    }
    if (own_positions_) batch.first_position = {0, hidden_, 0, 0};
    auto request = block.request(std::vector<std::size_t>(rows.tokens.size(), i));
    request.capture = wf::language::states_before_logits(m.info());
    auto const captured = m.run(batch, request);
    std::vector<wf::tensor> states;
    for (std::size_t v = 0; v < rows.tokens.size(); ++v)
      states.push_back(captured.at(request.capture.names().front(), v).to(wf::dtype::f32));
    return states;
  }

  void measure(wf::accumulator& acc, variants const& rows, std::vector<wf::tensor> const& states,
               std::span<std::int32_t const> tokens, wf::model const& m, wf::random_stream& draw) const {
    std::size_t const near = rows.near[0], positions = tokens.size() - 1 - near;
    // Another position for each, by one turn of all of them.
    std::size_t const turn = positions > 1 ? 1 + draw.below(static_cast<std::uint32_t>(positions - 1)) : 0;
    double unrelated = 0;
    std::array<distribution, changes.size() + 2> laws;  // of each variant, and of another position
    for (std::size_t first = 0; first < positions; first += rows_at_once) {
      std::size_t const last = std::min(first + rows_at_once, positions);
      std::vector<wf::tensor> logits;
      for (std::size_t v = 0; v < states.size(); ++v)
        logits.push_back(m.unembed(states[v].slice(0, rows.near[v] + first, rows.near[v] + last).clone()));
      wf::tensor const others(wf::dtype::f32, {{"row", last - first}, states[0].shape()[1]});
      for (std::size_t k = first; k < last; ++k) wf::copy_into(others[k - first], states[0][near + (k + turn) % positions]);
      logits.push_back(m.unembed(others));
      for (std::size_t k = first; k < last; ++k) {
        for (std::size_t v = 0; v < laws.size(); ++v) laws[v].of(logits[v].view<float const>().row(k - first));
        add_position(acc, k, laws, static_cast<std::size_t>(tokens[near + k + 1]));
        unrelated += wf::language::jensen_shannon(laws.front(), laws.back());
      }
    }
    if (turn == 0) return;
    double const mean = unrelated / static_cast<double>(positions);
    acc["unrelated"](0) += 1, acc["unrelated"](1) += mean, acc["unrelated"](2) += mean * mean;
  }

  static void add_position(wf::accumulator& acc, std::size_t n, std::array<distribution, changes.size() + 2> const& laws,
                           std::size_t next) {
    acc["count"](n) += 1;
    double const loss = -laws[0].log_probability(next);
    add_moment(acc["loss_full"], n, loss);
    for (std::size_t c = 0; c < changes.size(); ++c) {
      double const other = -laws[c + 1].log_probability(next);
      std::string const name = changes[c].name;
      add_moment(acc["divergence_" + name], n, wf::language::jensen_shannon(laws[0], laws[c + 1]));
      add_moment(acc["loss_" + name], n, other);
      add_moment(acc["excess_loss_" + name], n, other - loss);
    }
  }

  static wf::tensor numbers_from_one(std::size_t n) {
    std::vector<std::int64_t> numbers(n);
    std::iota(numbers.begin(), numbers.end(), std::int64_t{1});
    return wf::tensor::of(numbers, {{"context", n}});
  }

  static mean_and_error moments_at(wf::accumulator const& acc, std::string const& name, std::size_t n) {
    return of_sums(acc["count"](n), acc[name](0, n), acc[name](1, n));
  }

  static void put_curve(wf::accumulator const& acc, wf::results& out, std::string const& name, std::string const& about,
                        char const* units) {
    std::size_t const n = acc["count"].size(0);
    wf::tensor const mean(wf::dtype::f64, {{"context", n}}), error = mean.clone();
    for (std::size_t k = 0; k < n; ++k) {
      auto const m = moments_at(acc, name, k);
      mean(k) = m.mean, error(k) = m.standard_error;
    }
    auto const add = [&](std::string const& to, wf::tensor const& values, std::string const& what, char const* missing) {
      out.add(to, values)
          .about(what)
          .units(units)
          .missing(missing)
          .coordinate("context", numbers_from_one(n))
          .view(R"({"kind": "curve", "x": "context"})");
    };
    add(name, mean, about, "no item is that long");
    add(name + "_standard_error", error, "its standard error over items", "fewer than two items are that long");
  }

  /// The smallest n from which on `share_` is kept of each law, `errors` standard errors above the mean; NaN: none.
  double order_of(wf::accumulator const& acc, std::string const& name, double unrelated, std::size_t n, double errors) const {
    if (std::isnan(unrelated)) return nothing;
    if (unrelated < 1e-12) return 0;  // the law never changes
    double order = nothing;
    for (std::size_t k = n; k > 0; --k) {
      auto const m = moments_at(acc, name, k - 1);
      double const error = std::isnan(m.standard_error) ? 0 : m.standard_error;
      if (!(1 - (m.mean + errors * error) / unrelated >= share_)) break;
      order = static_cast<double>(k);
    }
    return order;
  }

  /// Adds what a change leaves and its order; gives the order in words.
  std::string put_order(wf::accumulator const& acc, wf::results& out, change const& c, double unrelated, std::size_t n) const {
    std::string const of = std::string("divergence_") + c.name, name = c.name;
    wf::tensor const kept(wf::dtype::f64, {{"context", acc["count"].size(0)}});
    for (std::size_t k = 0; k < kept.size(0); ++k) kept(k) = unrelated < 1e-12 ? 1 : 1 - moments_at(acc, of, k).mean / unrelated;
    out.add("kept_" + name, kept)
        .about("share of the law that remains with n near tokens: 1 - divergence / U, " + std::string(c.about))
        .missing("no item is that long")
        .coordinate("context", numbers_from_one(kept.size(0)))
        .view(R"({"kind": "curve", "x": "context"})");
    std::string const beyond = "more than the " + std::to_string(n) + " near tokens of the longest item";
    double const order = order_of(acc, of, unrelated, n, 0);
    out.add("order_" + name, order)
        .units("token")
        .about("effective order: smallest n from which on `share` of the law is kept, " + std::string(c.about))
        .missing(beyond);
    for (auto const& [end, errors] : {std::pair{"_low", -2.0}, std::pair{"_high", 2.0}})
      out.add("order_" + name + end, order_of(acc, of, unrelated, n, errors))
          .units("token")
          .about(std::string("the same with the divergence 2 standard errors ") + (errors < 0 ? "lower" : "higher"))
          .missing(beyond);
    return std::isnan(order) ? "more than " + std::to_string(n) : wf::told(order);
  }

  static constexpr std::size_t most_pooled = std::size_t{1} << 16;
  std::size_t hidden_;
  bool own_positions_;
  double share_;
  std::size_t choose_from_;
  mutable std::mutex mutex_;
  mutable std::map<std::tuple<wf::model const*, wf::source const*, std::size_t, std::size_t>, std::vector<std::int32_t>> pools_;
};

WAYFARER_PROBE(context_reach, "1.0.0",
               "Loss and next-token law by context length, with far tokens hidden, replaced or shuffled; effective order",
               wf::port::model("model"), wf::port::source("source", "texts, longer than `hidden`"),
               wf::param("hidden", 16, "how many tokens at an item's beginning are far").in("token").between(1, 1'000'000),
               wf::param("positions", "first", "hidden: near tokens stand at the model's first positions, or at their own")
                   .one_of("first|own"),
               wf::param("share", 0.99, "of the law that is to be kept").between(0, 1),
               wf::param("choose_from", 200, "items, the first, whose tokens replace others").in("item").at_least(1),
               wf::param("seed", 0, "of replaced and shuffled tokens").at_least(0));
