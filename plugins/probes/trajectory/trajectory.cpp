// The trajectory of each word: where the final norm would put its residual state after every block, how far it moves on the
// sphere from block to block, and how near it comes to the word that follows. Molina 2023 (Traveling Words, arXiv 2309.07315),
// section 4.4, figures 1 and 4; notes E7 and E9b.
//
//     walk: {probe: trajectory, model: gpt2, source: prompt, fit_tokens: 10000}
//     map:  {metric: umap, of: walk/embedding, also: walk/path}
//
// Angles and lengths are those of the undistorted sphere onto which the norm maps every state before its weight and bias:
// unlike a projection to three dimensions, they are exact.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/answers.hpp"
#include "probes/common/language.hpp"
#include "probes/common/token_rows.hpp"
#include "probes/common/vocabulary.hpp"
#include "sphere.hpp"

namespace wf = wayfarer;
using namespace wayfarer::language;

namespace {

constexpr float missing = std::numeric_limits<float>::quiet_NaN();

/// What a block is made of: the states between its parts. `hooks` begins with the state before the block.
struct block_parts {
  std::vector<std::string> hooks;   ///< [part + 1]
  std::vector<std::string> labels;  ///< [part]
};

block_parts parts_of(wf::model_info const& m, stack const& top, std::size_t layer) {
  block_parts p{{top.block(layer, "hook_resid_pre")}, {}};
  auto const add = [&](char const* hook, char const* label) {
    std::string const name = top.block(layer, hook);
    if (m.find_hook(name) == nullptr) return;
    p.hooks.push_back(name), p.labels.emplace_back(label);
  };
  add("hook_resid_mid", "attention");
  add("hook_resid_mid_cross", "cross-attention");
  add("hook_resid_post", "mlp");
  return p;
}

}  // namespace

struct trajectory final : wf::probe {
  explicit trajectory(wf::config const& c)
      : k_(c["k"]),
        fit_tokens_(c["fit_tokens"]),
        most_items_(c["most_items"]),
        path_(c["path"]),
        targets_(std::max(c["targets"].texts().size(), c["targets_ids"].integers().size())),
        target_(c, "targets") {}

  wf::hook_set needs(wf::model_info const& model) const override {
    stack const top = stack_of(model);
    wf::hook_set all = model.hooks_for(top.embed);
    for (std::size_t l = 0; l < top.layers; ++l)
      for (auto const& hook : parts_of(model, top, l).hooks) all.add(model.hooks_for(hook));
    return all;
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& info = at.model().info();
    stack const top = stack_of(info);
    wf::walks::few_items(at, "trajectory", most_items_);
    wf::walks::define_tokens(acc, at, {top.decoder});
    std::size_t const parts = parts_of(info, top, 0).labels.size();
    wf::dim const pos{top.pos(), top.longest(at)}, state{"state", top.layers + 1}, layer{"layer", top.layers},
        part{"part", parts};
    if (path_) acc.define_rows("path", {{"stage", top.layers + 3}, pos, {"d_model", info.d_model}}, wf::dtype::f32);
    for (auto const* name : {"step_angle", "step_length", "turning_angle"}) acc.define_rows(name, {layer, pos}, wf::dtype::f32);
    for (auto const* name : {"part_angle", "part_length", "part_share"})
      acc.define_rows(name, {layer, part, pos}, wf::dtype::f32);
    for (auto const* name : {"geodesic_length", "direct_length"}) acc.define_rows(name, {pos}, wf::dtype::f32);
    for (auto const* name : {"next_log_probability", "next_cosine", "next_distance"})
      acc.define_rows(name, {state, pos}, wf::dtype::f32);
    acc.define_rows("next_rank", {state, pos}, wf::dtype::i32);
    for (auto const* name : {"token_cosine", "token_distance"})
      acc.define_rows(name, {state, pos, {"of_" + pos.name, pos.size}}, wf::dtype::f32);
    wf::dim const rank{"rank", std::min(k_, info.vocabulary)};
    acc.define_rows("top_ids", {state, pos, rank}, wf::dtype::i32);
    acc.define_rows("top_logits", {state, pos, rank}, wf::dtype::f32);
    acc.define_rows("top_probabilities", {state, pos, rank}, wf::dtype::f32);
    if (targets_ != 0) {
      wf::dim const target{"target", targets_};
      for (auto const* name : {"target_log_probability", "target_cosine", "target_distance"})
        acc.define_rows(name, {state, pos, target}, wf::dtype::f32);
      acc.define_rows("target_rank", {state, pos, target}, wf::dtype::i32);
    }
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& model = at.model();
    stack const top = stack_of(model.info());
    wf::walks::put_tokens(acc, block, {top.decoder});
    for (auto const& [name, field] : acc.fields())
      if (field.rows && name != wf::walks::side{top.decoder}.ids()) wf::walks::fill_missing(acc[name]);
    wf::tensor const embedding = model.weight("embed.W_E");
    std::vector<std::int32_t> targets;
    for (std::size_t i = 0; i < targets_; ++i) targets.push_back(target_.token(i, targets_, model));
    wf::tensor const target_words = words_of(embedding, targets);
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const tokens = top.tokens(block[i]);
      wf::tensor const words = words_of(embedding, tokens);
      put_steps(acc, block[i], model.info(), top);
      if (path_) put_start(acc["path"][i], block[i], top);
      std::vector<wf::tensor> states;
      for (std::size_t s = 0; s <= top.layers; ++s) {
        auto const& hook = s == 0 ? top.block(0, "hook_resid_pre") : top.block(s - 1, "hook_resid_post");
        states.push_back(normed(model, block[i][hook]));
        relate_state(acc, i, s, states.back(), tokens, targets, words, target_words);
      }
      if (!tokens.empty()) read_states(acc, i, states, tokens, targets, model);
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const& model = at.model();
    stack const top = stack_of(model.info());
    wf::walks::add_tokens(acc, out, at, {top.decoder});
    std::vector<std::string> states{"input"}, stages{"word", "input", "input on the sphere"};
    for (std::size_t l = 0; l < top.layers; ++l) states.push_back("after block " + std::to_string(l));
    stages.insert(stages.end(), states.begin() + 1, states.end());
    std::vector<std::string> target_names;
    for (std::size_t i = 0; i < targets_; ++i) target_names.push_back(model.token_text(target_.token(i, targets_, model)));
    auto const labelled = [&](wf::dataset& set) -> wf::dataset& {
      for (auto const& d : std::vector<wf::dim>(set.shape())) {
        if (d.name == "state") set.labels("state", states);
        if (d.name == "stage") set.labels("stage", stages);
        if (d.name == "part") set.labels("part", parts_of(model.info(), top, 0).labels);
        if (d.name == "target") set.labels("target", target_names);
      }
      return set;
    };
    auto const add = [&](char const* name, char const* view, std::string const& about) -> wf::dataset& {
      return labelled(out.add(name, acc[name])).view(view).about(about).missing("beyond the item's length");
    };
    add_steps(add);
    add_readings(add);
    add_token_texts(out, "top_tokens", acc["top_ids"], model, "lens");
    if (targets_ != 0) add_targets(add);
    if (fit_tokens_ != 0) add_embedding(model, out);
    add_mean_step(acc, out, top.layers, model.info().d_model);
  }

 private:
  using add_function = std::function<wf::dataset&(char const* name, char const* view, std::string const& about)>;

  void add_steps(add_function const& add) const {
    if (path_)
      add("path", "heatmap",
          "points to project: the word's embedding; with its position; that and the residual state after each block as the final "
          "norm "
          "maps them, with weight and bias");
    add("step_angle", "heatmap", "angle on the sphere between the states before and after each block").units("rad");
    add("step_length", "heatmap", "length of that arc: sqrt(d_model) times the angle");
    add("turning_angle", "heatmap", "how far each step turns from the great circle of the one before; NaN for the first")
        .units("rad")
        .missing("the first step, one of no length, or beyond the item's length");
    add("part_angle", "heatmap", "angle on the sphere that each part of a block covers").units("rad");
    add("part_length", "heatmap", "length of what each part of a block adds to the residual stream");
    add("part_share", "heatmap", "what each part adds, along the block's whole step and as a share of it: shares sum to 1")
        .missing("a block that moves the state nowhere, or beyond the item's length");
    add("geodesic_length", "tokens", "length of the whole path on the sphere");
    add("direct_length", "tokens", "length of the great circle from its beginning to its end");
  }

  static void add_readings(add_function const& add) {
    std::string const next = " the token that follows; none at the end";
    add("next_rank", "heatmap", "how many tokens come before" + next + " (-1)");
    std::string const no_next = "no next token";
    add("next_log_probability", "heatmap", "log probability of" + next).units("nat").missing(no_next);
    add("next_cosine", "heatmap", "cosine between the normed state and the embedding of" + next).missing(no_next);
    add("next_distance", "heatmap", "distance between the normed state and the embedding of" + next).missing(no_next);
    add("token_cosine", "heatmap", "cosine between the normed state and the embedding of each token of the item");
    add("token_distance", "heatmap", "distance between the normed state and the embedding of each token of the item");
    add("top_ids", "table", "likeliest tokens read from each state; -1 beyond an item's length");
    add("top_logits", "heatmap", "logits of top_ids");
    add("top_probabilities", "heatmap", "probabilities of top_ids");
  }

  static void add_targets(add_function const& add) {
    add("target_rank", "heatmap", "how many tokens come before each target");
    add("target_log_probability", "heatmap", "log probability of each target").units("nat");
    add("target_cosine", "heatmap", "cosine between the normed state and the embedding of each target");
    add("target_distance", "heatmap", "distance between the normed state and the embedding of each target");
  }

  /// For a projection to be fitted on.
  void add_embedding(wf::model const& model, wf::results& out) const {
    wf::tensor const embedding = model.weight("embed.W_E");
    std::size_t const n = std::min(fit_tokens_, embedding.size(0));
    std::vector<std::string> texts;
    for (std::size_t t = 0; t < n; ++t) texts.push_back(model.token_text(static_cast<std::int32_t>(t)));
    out.add("embedding", embedding.slice(0, 0, n).to(wf::dtype::f32).clone())
        .labels(embedding.shape()[0].name, std::move(texts))
        .about("embeddings of the first tokens, for a projection to be fitted on")
        .view("heatmap");
  }

  /// From the rows, in the items' order: the same bytes however items were cut into blocks.
  static void add_mean_step(wf::accumulator const& acc, wf::results& out, std::size_t layers, std::size_t d_model) {
    auto const lengths = acc["step_length"].view<float const>();
    wf::tensor const mean(wf::dtype::f64, {{"layer", layers}});
    double whole = 0;
    std::size_t words = 0;
    for (std::size_t l = 0; l < layers; ++l) {
      words = 0;
      for (std::size_t i = 0; i < lengths.size(0); ++i)
        for (std::size_t p = 0; p < lengths.size(2); ++p)
          if (!std::isnan(lengths(i, l, p))) mean(l) += static_cast<double>(lengths(i, l, p)), ++words;
      whole += mean(l) /= static_cast<double>(words);
    }
    out.add("mean_step_length", mean)
        .about("mean of step_length over all positions of all items")
        .missing("no item has a token")
        .view("curve");
    out.summarise(words == 0 ? "no tokens, so no path"
                             : "a token's mean path on the sphere is " + wf::told(whole) + ", " +
                                   wf::told(whole / std::sqrt(static_cast<double>(d_model))) + " of its radius, over " +
                                   wf::counted(words, "token"));
  }

  /// A state as the final norm maps it; a model without norms is read as it is. x: [pos, d_model].
  static wf::tensor normed(wf::model const& m, wf::tensor const& x) {
    return m.info().norm == wf::norm_kind::none ? x : m.final_norm(x);
  }

  /// Embeddings of these tokens, [token, d_model], float64.
  static wf::tensor words_of(wf::tensor const& embedding, std::span<std::int32_t const> tokens) {
    wf::tensor const words(wf::dtype::f64, {{"token", tokens.size()}, embedding.shape()[1]});
    for (std::size_t t = 0; t < tokens.size(); ++t) wf::copy_into(words[t], embedding[static_cast<std::size_t>(tokens[t])]);
    return words;
  }

  /// The two stages of a path before the sphere.
  static void put_start(wf::tensor const& path, wf::sample_item const& item, stack const& top) {
    std::string const hooks[] = {top.embed, top.block(0, "hook_resid_pre")};
    for (std::size_t s = 0; s < 2; ++s)
      for (std::size_t p = 0; p < top.tokens(item).size(); ++p) wf::copy_into(path[s][p], item[hooks[s]][p]);
  }

  static void put_steps(wf::accumulator& acc, wf::sample_item const& item, wf::model_info const& info, stack const& top) {
    std::size_t const i = item.row(), n = top.tokens(item).size(), d = info.d_model;
    bool const centred = info.norm == wf::norm_kind::layer;
    double const radius = std::sqrt(static_cast<double>(d));
    auto const angle = acc["step_angle"].view<float>(), length = acc["step_length"].view<float>(),
               turning = acc["turning_angle"].view<float>(), part_angle = acc["part_angle"].view<float>(),
               part_length = acc["part_length"].view<float>(), part_share = acc["part_share"].view<float>(),
               geodesic = acc["geodesic_length"].view<float>(), direct = acc["direct_length"].view<float>();
    // All states of the item, the last of a block being the first of the next.
    std::vector<wf::tensor> x;
    std::size_t parts = 0;
    for (std::size_t l = 0; l < top.layers; ++l) {
      auto const block = parts_of(info, top, l);
      parts = block.labels.size();
      for (std::size_t h = l == 0 ? 0 : 1; h <= parts; ++h) x.push_back(item[block.hooks[h]].to(wf::dtype::f64));
    }
    auto const row = [&](std::size_t s, std::size_t p) { return x[s].view<double const>().row(p); };
    for (std::size_t p = 0; p < n; ++p) {
      std::vector<std::vector<double>> u;
      for (std::size_t s = 0; s < x.size(); ++s) u.push_back(wf::sphere::direction(row(s, p), centred));
      double way = 0;
      for (std::size_t l = 0; l < top.layers; ++l) {
        std::size_t const first = l * parts, last = first + parts;
        double const a = wf::sphere::angle(u[first], u[last]);
        angle(i, l, p) = static_cast<float>(a);
        length(i, l, p) = static_cast<float>(radius * a);
        way += radius * a;
        if (l > 0) turning(i, l, p) = static_cast<float>(wf::sphere::turning(u[first - parts], u[first], u[last]));
        double whole = 0;
        for (std::size_t j = 0; j < d; ++j) {
          double const step = row(last, p)[j] - row(first, p)[j];
          whole += step * step;
        }
        for (std::size_t q = 0; q < parts; ++q) {
          double own = 0, along = 0;
          for (std::size_t j = 0; j < d; ++j) {
            double const step = row(first + q + 1, p)[j] - row(first + q, p)[j];
            own += step * step, along += step * (row(last, p)[j] - row(first, p)[j]);
          }
          part_angle(i, l, q, p) = static_cast<float>(wf::sphere::angle(u[first + q], u[first + q + 1]));
          part_length(i, l, q, p) = static_cast<float>(std::sqrt(own));
          part_share(i, l, q, p) = whole > 0 ? static_cast<float>(along / whole) : missing;
        }
      }
      geodesic(i, p) = static_cast<float>(way);
      direct(i, p) = static_cast<float>(radius * wf::sphere::angle(u.front(), u.back()));
    }
  }

  /// How one state of one item lies to embeddings. x: [pos, d_model], after the final norm.
  void relate_state(wf::accumulator& acc, std::size_t i, std::size_t s, wf::tensor const& x, std::span<std::int32_t const> tokens,
                    std::vector<std::int32_t> const& targets, wf::tensor const& words, wf::tensor const& target_words) const {
    if (path_) wf::copy_into(acc["path"][i][s + 2].slice(0, 0, x.size(0)), x);
    wf::tensor const wide = x.to(wf::dtype::f64);
    auto const place = [&](char const* name) { return acc[name][i][s].view<float>(); };
    auto const relate = [&](std::size_t p, wf::tensor const& to, std::size_t t, float& cosine, float& distance) {
      auto const a = wide.view<double const>().row(p), e = to.view<double const>().row(t);
      double squares = 0;
      for (std::size_t j = 0; j < a.size(); ++j) squares += (a[j] - e[j]) * (a[j] - e[j]);
      cosine = static_cast<float>(wf::cosine(a, e)), distance = static_cast<float>(std::sqrt(squares));
    };
    auto const token_cosine = place("token_cosine"), token_distance = place("token_distance"), next_cosine = place("next_cosine"),
               next_distance = place("next_distance");
    for (std::size_t p = 0; p < tokens.size(); ++p) {
      for (std::size_t q = 0; q < tokens.size(); ++q) relate(p, words, q, token_cosine(p, q), token_distance(p, q));
      if (p + 1 < tokens.size()) next_cosine(p) = token_cosine(p, p + 1), next_distance(p) = token_distance(p, p + 1);
      for (std::size_t t = 0; t < targets.size(); ++t)
        relate(p, target_words, t, place("target_cosine")(p, t), place("target_distance")(p, t));
    }
  }

  /// What the states of one item say of the vocabulary.
  void read_states(wf::accumulator const& acc, std::size_t i, std::vector<wf::tensor> const& states,
                   std::span<std::int32_t const> tokens, std::vector<std::int32_t> const& targets, wf::model const& m) const {
    std::size_t const n = tokens.size();
    wf::tensor const x(states[0].type(), {{"row", states.size() * n}, {"d_model", states[0].size(1)}});
    wf::vocabulary_question question;
    question.likeliest = k_, question.ranks = true;
    for (std::size_t s = 0; s < states.size(); ++s) {
      wf::copy_into(x.slice(0, s * n, (s + 1) * n), states[s]);
      for (std::size_t p = 0; p < n; ++p) {
        std::vector<std::int32_t> wanted = targets;
        if (p + 1 < n) wanted.push_back(tokens[p + 1]);
        question.tokens.push_back(wanted);
      }
    }
    auto const found = read_vocabulary(m, x, question);
    for (std::size_t r = 0; r < found.size(); ++r) put_reading(acc, {i, r / n, r % n}, found[r], targets.size());
  }

  struct state_at {
    std::size_t item, state, position;
  };
  /// d: of the targets, and of the next token behind them where there is one.
  static void put_reading(wf::accumulator const& acc, state_at const& at, wf::token_distribution const& d, std::size_t targets) {
    auto const [i, s, p] = at;
    auto const rank = [&](std::size_t j) { return std::isnan(d.logits[j]) ? -1 : static_cast<std::int32_t>(d.ranks[j]); };
    for (std::size_t j = 0; j < d.likeliest.size(); ++j) {
      auto const [token, logit] = d.likeliest[j];
      acc["top_ids"].view<std::int32_t>()(i, s, p, j) = token;
      acc["top_logits"].view<float>()(i, s, p, j) = static_cast<float>(logit);
      acc["top_probabilities"].view<float>()(i, s, p, j) = static_cast<float>(d.probability(logit));
    }
    if (d.logits.size() > targets) {
      acc["next_rank"].view<std::int32_t>()(i, s, p) = rank(targets);
      acc["next_log_probability"].view<float>()(i, s, p) = static_cast<float>(d.log_probability(d.logits[targets]));
    }
    for (std::size_t t = 0; t < targets; ++t) {
      acc["target_rank"].view<std::int32_t>()(i, s, p, t) = rank(t);
      acc["target_log_probability"].view<float>()(i, s, p, t) = static_cast<float>(d.log_probability(d.logits[t]));
    }
  }

  std::size_t k_, fit_tokens_, most_items_;
  bool path_;
  std::size_t targets_;
  answer_list target_;
};

WAYFARER_PROBE(trajectory, "1.0.0",
               "Each word's path over the sphere from block to block, and how near it comes to the next word",
               wf::port::model("model"), wf::port::source("source"),
               wf::param("k", 5, "likeliest tokens kept at each state").in("token").between(1, 1000),
               wf::param("targets", wf::strings(), "words to follow beside the next one, each one token of the model"),
               wf::param("targets_ids", wf::integers(""), "the same as token ids"),
               wf::param("path", true, "store the points themselves, to be projected"),
               wf::param("fit_tokens", 0,
                         "first tokens whose embeddings are stored, for a projection to be fitted on (the paper: 10000)")
                   .in("token")
                   .at_least(0),
               wf::param("most_items", 64, "refuse more items than this").at_least(1));
