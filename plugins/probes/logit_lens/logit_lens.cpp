// The logit lens: what the model would predict if it stopped after each block. Each residual state goes through the final norm
// and the unembedding. nostalgebraist 2020, "interpreting GPT: the logit lens"; Geva et al. 2022 for the parts.
//
//     lens: {probe: logit_lens, model: gpt2, source: prompts, k: 5}
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/language.hpp"
#include "probes/common/position_choice.hpp"
#include "probes/common/vocabulary.hpp"

namespace wf = wayfarer;
using namespace wayfarer::language;

namespace {

constexpr double no_number = std::numeric_limits<double>::quiet_NaN();

/// States that are read through the lens, and where their numbers go.
struct view {
  std::string prefix;  ///< of its fields and datasets
  std::string dimension, what;
  std::vector<std::string> hooks;
};

/// A state of a view, and the hook that it is.
struct site {
  std::size_t view, state;
  std::string hook;
};

/// One position of one item of a block.
struct place {
  std::size_t item, at, position;  ///< `at`: where its numbers go
  std::int32_t next;               ///< the token that follows, -1 at the end
};

enum figure : std::uint8_t { entropy, divergence, next_log_probability, next_first, figures };

}  // namespace

struct logit_lens final : wf::probe {
  explicit logit_lens(wf::config const& c)
      : positions_(c["positions"].texts()), k_(c["k"]), parts_(c["parts"]), per_item_(c["per_item"]) {}

  wf::hook_set needs(wf::model_info const& model) const override {
    wf::hook_set all;
    for (auto const& v : views(stack_of(model)))
      for (auto const& hook : v.hooks) all.add(model.hooks_for(hook));
    return all;
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    stack const top = stack_of(at.model().info());
    std::size_t const k = std::min(k_, at.model().info().vocabulary);
    positions_.check(top.longest(at));
    for (auto const& v : views(top)) {
      wf::dim const states{v.dimension, v.hooks.size()}, pos{positions_.dimension(top.pos()), positions_.places(top.longest(at))};
      acc.define(v.prefix + "sums", {states, {"figure", figures}});
      acc.define(v.prefix + "counts", {{"figure", figures}});
      if (!per_item_) continue;
      acc.define_rows(v.prefix + "top_ids", {states, pos, {"rank", k}}, wf::dtype::i32);
      acc.define_rows(v.prefix + "top_logits", {states, pos, {"rank", k}}, wf::dtype::f32);
      acc.define_rows(v.prefix + "top_probabilities", {states, pos, {"rank", k}}, wf::dtype::f32);
      acc.define_rows(v.prefix + "next_rank", {states, pos}, wf::dtype::i32);
      acc.define_rows(v.prefix + "next_log_probability", {states, pos});
      acc.define_rows(v.prefix + "entropy", {states, pos});
      acc.define_rows(v.prefix + "divergence", {states, pos});
    }
    if (!per_item_) return;
    acc.define_rows("length", {}, wf::dtype::i32);
    acc.define_rows("token_ids", {{top.pos(), top.longest(at)}}, wf::dtype::i32);
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    stack const top = stack_of(at.model().info());
    auto const all_views = views(top);
    std::vector<place> places;
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const tokens = top.tokens(block[i]);
      for (std::size_t p = 0; p < positions_.places(top.longest(at)); ++p)
        if (auto const where = positions_.position(p, tokens.size()))
          places.push_back({i, p, *where, *where + 1 < tokens.size() ? tokens[*where + 1] : -1});
      if (!per_item_) continue;
      acc["length"].view<std::int32_t>()(i) = static_cast<std::int32_t>(tokens.size());
      auto const ids = acc["token_ids"].view<std::int32_t>();
      for (std::size_t p = 0; p < ids.size(1); ++p) ids(i, p) = p < tokens.size() ? tokens[p] : -1;
    }
    std::vector<fields> to;
    for (auto const& v : all_views) to.emplace_back(acc, v.prefix, per_item_);
    // What is read at each place; the last state last, since the others are compared with it.
    std::vector<site> sites;
    for (std::size_t v = all_views.size(); v-- > 0;)
      for (std::size_t s = 0; s < all_views[v].hooks.size(); ++s) sites.push_back({v, s, all_views[v].hooks[s]});
    std::size_t const at_once = std::max<std::size_t>(1, wf::vocabulary_rows / sites.size());
    for (std::size_t first = 0; first < places.size(); first += at_once)
      read(at.model(), block, sites, std::span(places).subspan(first, std::min(at_once, places.size() - first)), to);
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    stack const top = stack_of(at.model().info());
    for (auto const& v : views(top)) {
      auto const labelled = [&](std::string const& name, wf::tensor values, char const* view) -> wf::dataset& {
        auto& set = out.add(v.prefix + name, std::move(values)).view(view);
        label(set, v, top);
        return set;
      };
      auto const& sums = acc[v.prefix + "sums"];
      auto const& counts = acc[v.prefix + "counts"];
      auto const mean = [&](figure f) {
        wf::tensor t(wf::dtype::f64, {{v.dimension, v.hooks.size()}});
        for (std::size_t s = 0; s < v.hooks.size(); ++s) t(s) = sums(s, f) / counts(f);
        return t;
      };
      std::string const of = " of the distribution read from " + v.what, none = "no item has such a position",
                        no_next = "no item has a next token at such a position", beyond = "beyond the item's length";
      labelled("mean_entropy", mean(entropy), "curve").units("nat").about("mean entropy" + of).missing(none);
      labelled("mean_divergence", mean(divergence), "curve")
          .units("nat")
          .about("mean divergence D(final || lens)" + of)
          .missing(none);
      labelled("mean_next_log_probability", mean(next_log_probability), "curve")
          .units("nat")
          .about("mean log probability of the actual next token, read from " + v.what)
          .missing(no_next);
      labelled("next_accuracy", mean(next_first), "curve")
          .about("share of positions whose actual next token is the likeliest, read from " + v.what)
          .missing(no_next);
      if (!per_item_) continue;
      labelled("top_ids", acc[v.prefix + "top_ids"], "table")
          .about("likeliest tokens read from " + v.what + "; -1 beyond an item's length");
      labelled("top_logits", acc[v.prefix + "top_logits"], "heatmap").about("logits of top_ids").missing(beyond);
      labelled("top_probabilities", acc[v.prefix + "top_probabilities"], "heatmap")
          .about("probabilities of top_ids")
          .missing(beyond);
      add_token_texts(out, v.prefix + "top_tokens", acc[v.prefix + "top_ids"], at.model(), "lens");
      labelled("next_rank", acc[v.prefix + "next_rank"], "heatmap")
          .about("how many tokens come before the actual next one; -1 where there is none");
      labelled("next_log_probability", acc[v.prefix + "next_log_probability"], "heatmap")
          .units("nat")
          .about("log probability of the actual next token, read from " + v.what)
          .missing("no next token");
      labelled("entropy", acc[v.prefix + "entropy"], "heatmap").units("nat").about("entropy" + of).missing(beyond);
      labelled("divergence", acc[v.prefix + "divergence"], "heatmap").units("nat").about("D(final || lens)" + of).missing(beyond);
    }
    if (per_item_) {
      out.add("length", acc["length"]).units("token").about("tokens of each item").view("histogram");
      out.add("token_ids", acc["token_ids"]).about("ids of the tokens; -1 beyond an item's length").view("table");
      add_token_texts(out, "tokens", acc["token_ids"], at.model());
    }
    auto const& accuracy = out.at("next_accuracy").values();
    out.summarise(std::isnan(accuracy(top.layers)) ? "no position has a next token"
                                                   : "the actual next token is the likeliest in " + wf::told(100 * accuracy(1)) +
                                                         " % of positions after the first block, in " +
                                                         wf::told(100 * accuracy(top.layers)) + " % after the last");
  }

 private:
  /// The tensors that a view's numbers go to; undefined where they are not kept.
  struct fields {
    fields(wf::accumulator& acc, std::string const& prefix, bool rows)
        : sums(acc[prefix + "sums"]), counts(acc[prefix + "counts"]) {
      if (!rows) return;
      ids = acc[prefix + "top_ids"], logits = acc[prefix + "top_logits"], probabilities = acc[prefix + "top_probabilities"];
      next_rank = acc[prefix + "next_rank"], next_log_probability = acc[prefix + "next_log_probability"];
      entropy = acc[prefix + "entropy"], divergence = acc[prefix + "divergence"];
      // What no position fills.
      for (auto& v : ids.values<std::int32_t>()) v = -1;
      for (auto& v : next_rank.values<std::int32_t>()) v = -1;
      for (auto const* t : {&logits, &probabilities})
        for (auto& v : t->values<float>()) v = std::numeric_limits<float>::quiet_NaN();
      for (auto const* t : {&next_log_probability, &entropy, &divergence})
        for (auto& v : t->values<double>()) v = no_number;
    }
    wf::tensor sums, counts, ids, logits, probabilities, next_rank, next_log_probability, entropy, divergence;
  };

  std::vector<view> views(stack const& top) const {
    std::vector<view> all{{"", "state", "the residual stream", {top.block(0, "hook_resid_pre")}}};
    for (std::size_t l = 0; l < top.layers; ++l) all[0].hooks.push_back(top.block(l, "hook_resid_post"));
    if (!parts_) return all;
    std::vector<std::array<char const*, 3>> parts{{"attention/", "what attention adds", "hook_attn_out"},
                                                  {"mlp/", "what the MLP adds", "hook_mlp_out"}};
    if (top.decoder) parts.push_back({"cross_attention/", "what cross-attention adds", "hook_cross_attn_out"});
    for (auto const& [prefix, what, hook] : parts) {
      view v{prefix, "layer", what, {}};
      for (std::size_t l = 0; l < top.layers; ++l) v.hooks.push_back(top.block(l, hook));
      all.push_back(std::move(v));
    }
    return all;
  }

  /// Coordinates of a view's dimensions.
  void label(wf::dataset& set, view const& v, stack const& top) const {
    if (v.dimension == "state") {
      std::vector<std::string> names{"embedding"};
      for (std::size_t l = 0; l < top.layers; ++l) names.push_back("after block " + std::to_string(l));
      set.labels("state", std::move(names));
    }
    auto const chosen = positions_.coordinate();
    std::string const pos = positions_.dimension(top.pos());
    if (chosen.defined())
      for (auto const& d : set.shape())
        if (d.name == pos) set.coordinate(pos, chosen);
  }

  void read(wf::model const& m, wf::sample const& block, std::vector<site> const& sites, std::span<place const> places,
            std::vector<fields> const& to) const {
    wf::tensor const& any = block[places[0].item][sites.back().hook];
    wf::tensor const states(any.type(), {{"row", places.size() * sites.size()}, {"d_model", any.size(1)}});
    wf::vocabulary_question question;
    question.likeliest = per_item_ ? k_ : 1, question.ranks = per_item_, question.group = sites.size();
    std::size_t row = 0;
    for (auto const& p : places)
      for (auto const& s : sites) {
        wf::copy_into(states[row++], block[p.item][s.hook][p.position]);
        question.tokens.push_back(std::span(&p.next, p.next < 0 ? 0 : 1));
      }
    auto const found = read_vocabulary(m, m.info().norm == wf::norm_kind::none ? states : m.final_norm(states), question);
    for (std::size_t r = 0; r < found.size(); ++r) {
      place const& p = places[r / sites.size()];
      site const& s = sites[r % sites.size()];
      auto const figures_here = figures_of(found[r], p);
      for (std::size_t f = 0; f < figures; ++f) {
        if (p.next < 0 && (f == next_log_probability || f == next_first)) continue;
        to[s.view].sums(s.state, f) += figures_here[f];
        if (s.state == 0) to[s.view].counts(f) += 1;
      }
      if (per_item_) keep(found[r], figures_here, p, s.state, to[s.view]);
    }
  }

  static std::array<double, figures> figures_of(wf::token_distribution const& d, place const& p) {
    std::array<double, figures> f{};
    f[entropy] = d.entropy;
    f[divergence] = d.divergence;
    f[next_log_probability] = p.next < 0 ? no_number : d.log_probability(d.logits[0]);
    f[next_first] = p.next >= 0 && !d.likeliest.empty() && d.likeliest[0].token == p.next ? 1 : 0;
    return f;
  }

  static void keep(wf::token_distribution const& d, std::array<double, figures> const& f, place const& p, std::size_t s,
                   fields const& to) {
    for (std::size_t j = 0; j < d.likeliest.size(); ++j) {
      auto const [token, logit] = d.likeliest[j];
      to.ids.view<std::int32_t>()(p.item, s, p.at, j) = token;
      to.logits.view<float>()(p.item, s, p.at, j) = static_cast<float>(logit);
      to.probabilities.view<float>()(p.item, s, p.at, j) = static_cast<float>(d.probability(logit));
    }
    if (p.next >= 0) to.next_rank.view<std::int32_t>()(p.item, s, p.at) = static_cast<std::int32_t>(d.ranks[0]);
    to.next_log_probability.view<double>()(p.item, s, p.at) = f[next_log_probability];
    to.entropy.view<double>()(p.item, s, p.at) = f[entropy];
    to.divergence.view<double>()(p.item, s, p.at) = f[divergence];
  }

  position_choice positions_;
  std::size_t k_;
  bool parts_, per_item_;
};

WAYFARER_PROBE(logit_lens, "1.0.0", "What the model would predict after every block", wf::port::model("model"),
               wf::port::source("source"), wf::param("k", 10, "likeliest tokens to keep").in("token").between(1, 1000),
               wf::param("positions", wf::strings("all"),
                         "all, last, or numbers such as [0, -1], negative ones from an item's end"),
               wf::param("parts", false, "read what each attention and each MLP adds through the lens as well"),
               wf::param("per_item", true,
                         "keep the numbers of every position; false: means over all positions alone, in bounded memory"));
