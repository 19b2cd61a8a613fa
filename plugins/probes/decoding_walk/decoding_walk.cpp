// The decoding walk: a growing text is a path c_n, c_{n+1}, ... of context vectors, each of which decides how likely every
// next step is. Singh 2023 (arXiv 2308.10874), decoding walk; notes 1.2, 1.3 and section 4, E4.
//
// The path is sampled (greedy, sample: temperature 0.7 and top-p 0.9, beam: the likeliest of 10 beams, as the author's presets)
// or forced (the item's own tokens after its first `prompt`). Whichever it was, it is then measured in one run over the whole
// text.
//
//     P(x_{t+1} = v | x_1..x_t) = softmax_v(<c_t, u_v>)
//
// A walk that is Markov in its tokens has the same P after the same last token. The Jensen-Shannon divergence between
// such contexts measures the distance from that. Two controls use the same pairs, for a model that uses nothing but
// the last token and its position: that token read alone, and the text read with attention off. What is above both depends on
// history.
//
//     walk: {probe: decoding_walk, model: gpt2, source: prompts, preset: sample, length: 100}
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/generate.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/language.hpp"
#include "probes/common/repetition.hpp"
#include "probes/common/token_rows.hpp"
#include "probes/common/vocabulary.hpp"

namespace wf = wayfarer;
using namespace wayfarer::walks;
using distribution = wayfarer::language::distribution<float>;

namespace {

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();

/// A prompt and the tokens to continue: for an encoder-decoder, the encoder's tokens and the decoder's.
struct text {
  std::vector<std::int32_t> encoder, tokens;
  std::size_t prompt = 0;       ///< tokens [0, prompt) were given
  bool full = false;            ///< the walk ended because the model has no further position
  std::vector<double> drawn{};  ///< [step]: log probability under the law that the step was drawn from, where it was drawn
};

wf::batch batch_of(text const& t, std::size_t first, std::size_t last, bool decoder) {
  wf::batch b;
  std::span<std::int32_t const> const some(t.tokens.data() + first, last - first);
  b.tokens.push_back(decoder ? std::span<std::int32_t const>(t.encoder) : some);
  if (decoder) b.decoder_tokens.push_back(some);
  return b;
}

struct beam {
  std::vector<std::int32_t> tokens;
  double log_probability = 0;
  double score() const { return log_probability / static_cast<double>(std::max<std::size_t>(1, tokens.size())); }
};

/// One more token of a beam.
struct beam_move {
  std::size_t from;
  std::int32_t token;
  double log_probability;
};

/// The likeliest tokens after each beam, best first; more than `width`, as some end a text.
std::vector<beam_move> likeliest_moves(wf::activations const& captured, std::vector<beam> const& alive, std::size_t width) {
  std::vector<beam_move> moves;
  for (std::size_t b = 0; b < alive.size(); ++b) {
    auto const logits = captured.at("logits", b).to(wf::dtype::f32);
    auto const row = logits.view<float const>().row(logits.size(0) - 1);
    distribution p;
    p.of(row);
    for (auto const v : wf::top_k(row, 2 * width))
      moves.push_back({b, v, alive[b].log_probability + p.log_probability(static_cast<std::size_t>(v))});
  }
  std::sort(moves.begin(), moves.end(), [](beam_move const& a, beam_move const& b) {
    return a.log_probability != b.log_probability ? a.log_probability > b.log_probability
           : a.from != b.from                     ? a.from < b.from
                                                  : a.token < b.token;
  });
  return moves;
}

/// The path of highest probability that `width` beams find, its log probability divided by its length at the end.
std::vector<std::int32_t> beam_search(wf::model const& m, wf::sample const& block, std::size_t item, text const& start,
                                      bool decoder, std::size_t width, std::size_t length,
                                      std::vector<std::int32_t> const& stop) {
  auto const request = [&](std::size_t rows) {
    auto r = block.request(std::vector<std::size_t>(rows, item));
    r.capture = wf::hook_set({"logits"});
    r.last_logits_only = true;
    return r;
  };
  if (std::size_t const room = m.info().longest; room != 0) length = std::min(length, room - std::min(room, start.tokens.size()));
  wf::activations captured;
  auto run = m.begin(batch_of(start, 0, start.tokens.size(), decoder), request(1), &captured);
  std::vector<beam> alive{{}}, done;
  for (std::size_t step = 0; step < length && !alive.empty(); ++step) {
    std::vector<beam> next;
    std::vector<std::size_t> from;
    for (auto const& move : likeliest_moves(captured, alive, width)) {
      if (next.size() == width) break;
      beam b = alive[move.from];
      b.tokens.push_back(move.token), b.log_probability = move.log_probability;
      if (std::find(stop.begin(), stop.end(), move.token) != stop.end()) {
        done.push_back(std::move(b));
      } else {
        next.push_back(std::move(b)), from.push_back(move.from);
      }
    }
    alive = std::move(next);
    if (done.size() >= width || step + 1 == length || alive.empty()) break;
    run = run->branch(from);
    wf::batch more;
    for (auto const& b : alive) (decoder ? more.decoder_tokens : more.tokens).push_back(std::span(b.tokens).last(1));
    if (decoder)
      for (std::size_t b = 0; b < alive.size(); ++b) more.tokens.push_back({});
    captured = run->extend(more, request(alive.size()));
  }
  done.insert(done.end(), alive.begin(), alive.end());
  return std::max_element(done.begin(), done.end(), [](beam const& a, beam const& b) { return a.score() < b.score(); })->tokens;
}

wf::tensor gram_sizes() {
  std::vector<std::int64_t> n(wf::repetition::longest_gram);
  std::iota(n.begin(), n.end(), std::int64_t{1});
  return wf::tensor::of(n, {{"n", n.size()}});
}

/// Puts fields of the accumulator into the results, and their means.
struct walk_results {
  wf::accumulator const& acc;
  wf::results& out;

  void add(char const* name, char const* view, std::string const& about, char const* units = "",
           char const* missing = "beyond a walk's end") const {
    out.add(name, acc[name]).view(view).about(about).units(units).missing(missing);
  }
  void grams(char const* name, wf::tensor const& share, char const* about) const {
    out.add(name, share)
        .about(about)
        .missing("fewer than n tokens")
        .coordinate("n", gram_sizes())
        .view(R"({"kind": "curve", "x": "n"})");
  }
  double average(std::vector<double> const& values, std::string const& to, std::string const& about, char const* units,
                 char const* missing) const {
    auto const m = wf::moments_of(values);
    double const mean = values.empty() ? nothing : m.mean;
    out.add(to, mean).about(about).units(units).missing(missing);
    out.add(to + "_standard_error", values.size() < 2 ? nothing : m.standard_error())
        .about("standard error over what was averaged: " + about)
        .units(units)
        .missing("fewer than two values");
    return mean;
  }
  std::vector<double> numbers_of(char const* name) const {
    auto const from = acc[name].to(wf::dtype::f64);
    return std::vector<double>(from.values<double const>().begin(), from.values<double const>().end());
  }
  double mean(char const* name, char const* to, char const* about, char const* units = "nat",
              char const* missing = "no such pair of contexts") const {
    auto values = numbers_of(name);
    std::erase_if(values, [](double x) { return std::isnan(x); });
    return average(values, to, about, units, missing);
  }
};

}  // namespace

struct decoding_walk final : wf::probe {
  explicit decoding_walk(wf::config const& c)
      : preset_(c["preset"].text()),
        length_(c["length"]),
        prompt_(c["prompt"]),
        beams_(c["beams"]),
        pairs_(c["pairs"]),
        temperature_(c["temperature"]),
        top_p_(c["top_p"]),
        contexts_(c["contexts"]),
        stop_at_end_(c["stop_at_end"]),
        seed_(c.seed()) {}

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    wf::language::stack_of(model);  // refuses models that predict nothing
    wf::dim const step{"step", length_};
    for (auto const* name : {"next_ids", "rank", "top_p_count", "repeat_rank"}) acc.define_rows(name, {step}, wf::dtype::i32);
    for (auto const* name : {"log_probability", "entropy", "path_log_probability", "distance", "cosine", "repeat_probability"})
      acc.define_rows(name, {step});
    for (auto const* name : {"repeat_probability_expected", "repeat_rank_expected"}) acc.define_rows(name, {step});
    if (preset_ == "sample")
      for (auto const* name : {"drawn_log_probability", "path_drawn_log_probability"}) acc.define_rows(name, {step});
    for (auto const* name : {"length", "cycle_length", "cycle_start", "ended_by_context"})
      acc.define_rows(name, {}, wf::dtype::i32);
    for (auto const* name : {"repeated_ngrams", "repeated_ngrams_expected", "repeated_ngrams_text"})
      acc.define_rows(name, {{"n", wf::repetition::longest_gram}});
    acc.define_rows("cycles_expected", {});
    if (contexts_) acc.define_rows("contexts", {{"context", length_ + 1}, {"d_model", model.d_model}}, wf::dtype::f32);
    for (auto const* name : {"same", "different", "last_token", "attention_off"})
      acc.define_rows(std::string("divergence_") + name, {{"pair", pairs_}});
    acc.define_rows("pair_ids", {{"pair", pairs_}}, wf::dtype::i32);
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    for (auto const& [name, field] : acc.fields()) fill_missing(acc[name]);
    auto const walks = follow(block, at.model());
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto draw = block.random("decoding_walk pairs", block[i]);
      measure(acc, block, i, walks[i], at.model(), draw);
      put_repetition(acc, block, i, walks[i], wf::language::stack_of(at.model().info()).decoder);
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    walk_results const put{acc, out};
    add_steps(put, at);
    add_grams(put);
    add_pairs(put);
    auto const [log_probability, entropy] = add_means_of_steps(put);
    add_repetition(acc, out);
    auto const [markov, history] = add_means_of_pairs(put);
    double full = 0;
    for (auto const x : acc["ended_by_context"].values<std::int32_t const>()) full += x > 0;
    out.add("walks_ended_by_context", full).about("walks that ended because the model has no further position").units("item");
    std::string found;
    auto const say = [&](char const* format, auto... numbers) {
      char part[128];
      if constexpr (sizeof...(numbers) == 0)
        std::snprintf(part, sizeof part, "%s", format);
      else
        std::snprintf(part, sizeof part, format, numbers...);
      found += (found.empty() ? "" : "; ") + std::string(part);
    };
    if (std::isnan(entropy))
      say("no walk has a step");
    else
      say("a step: log probability %.3f, entropy %.3f nat", log_probability, entropy);
    if (!std::isnan(markov)) say("same last token: divergence %.3g, %.3g of it from history", markov, history);
    if (double const fours = out.at("mean_repeated_ngrams").values().get({3}); !std::isnan(fours))
      say("%.0f %% of 4-grams repeat", 100 * fours);
    if (full > 0) say("%.0f walks ended at the model's last position", full);
    out.summarise(found);
  }

 private:
  void add_steps(walk_results const& put, wf::probe_context const& at) const {
    constexpr char along_steps[] = R"({"kind": "curve", "x": "step"})";
    put.add("length", "histogram", "steps of each walk", "token");
    put.add("ended_by_context", "histogram", "1: the walk ended because the model has no further position");
    put.add("next_ids", "table", "token of each step; -1 beyond a walk's end");
    wf::language::add_token_texts(put.out, "next_tokens", put.acc["next_ids"], at.model());
    put.add("log_probability", "tokens", "log probability of each step under the model's own law (temperature 1, all tokens)",
            "nat");
    put.add("path_log_probability", along_steps, "log probability of the path so far, under the same", "nat");
    if (preset_ == "sample") {
      put.add("drawn_log_probability", "tokens",
              "log probability of each step under the law that it was drawn from (temperature, top_p)", "nat");
      put.add("path_drawn_log_probability", along_steps, "log probability of the path so far, under the same", "nat");
    }
    put.add("entropy", "tokens", "entropy of the next step", "nat");
    put.add("rank", "tokens", "how many tokens were likelier than the one taken");
    put.add("top_p_count", "tokens", "size of the smallest set of likeliest tokens that reaches top_p");
    put.add("distance", "tokens", "length of each step between context vectors (after the final norm)");
    put.add("cosine", "tokens", "cosine of the context vectors before and after each step");
    put.add("repeat_probability", "tokens", "probability that the last token comes again");
    put.add("repeat_rank", "tokens", "its rank among the next tokens, 0: likeliest");
    char const* const alone = "beyond a walk's end, or the text has no other token";
    put.add("repeat_probability_expected", "tokens",
            "its value under no bias: mean probability of the tokens at the text's other places", "", alone);
    put.add("repeat_rank_expected", "tokens", "the rank's value under no bias: mean rank of the same tokens", "", alone);
  }

  static void add_grams(walk_results const& put) {
    put.grams("repeated_ngrams", put.acc["repeated_ngrams"],
              "share of the walk's n-grams that occurred before in it: 1 - distinct / all");
    put.grams("repeated_ngrams_expected", put.acc["repeated_ngrams_expected"],
              "its value under no bias: mean over random orders of the walk's tokens");
    put.grams("repeated_ngrams_text", put.acc["repeated_ngrams_text"],
              "base rate: the same share in the item's own text, over windows as long as the walk");
    wf::tensor const distinct = put.acc["repeated_ngrams"].clone();
    for (double& x : distinct.values<double>()) x = 1 - x;
    put.grams("distinct_ngrams", distinct, "distinct n-grams over all n-grams of the walk: distinct-n");
    put.add("cycle_length", "histogram", "length of the cycle that the walk ends in, 0: none", "token");
    put.add("cycle_start", "histogram", "step at which it begins, -1: none");
    put.add("cycles_expected", "histogram", "share of random orders of the walk's tokens that end in a cycle", "",
            "a walk of no step");
  }

  void add_pairs(walk_results const& put) const {
    if (contexts_) put.add("contexts", "heatmap", "the context vectors; one more than steps");
    char const* const few_pairs = "the item has no further pair";
    put.add("divergence_same", "histogram",
            "Jensen-Shannon divergence of the next-token distributions of two contexts that end in the same token", "nat",
            few_pairs);
    put.add("divergence_last_token", "histogram", "the same pairs, with that token read alone at its two positions", "nat",
            few_pairs);
    put.add("divergence_attention_off", "histogram", "the same pairs, with every attention's output set to 0", "nat", few_pairs);
    put.add("divergence_different", "histogram", "the same for contexts that end in different tokens", "nat", few_pairs);
    put.add("pair_ids", "table", "the token in which both contexts of divergence_same end");
  }

  /// Mean log probability and mean entropy of a step.
  std::pair<double, double> add_means_of_steps(walk_results const& put) const {
    char const* const no_step = "no walk has a step";
    double const entropy = put.mean("entropy", "mean_entropy", "mean entropy of the next step", "nat", no_step);
    double const log_probability = put.mean("log_probability", "mean_log_probability",
                                            "mean log probability of a step by the model's own law", "nat", no_step);
    if (preset_ == "sample")
      put.mean("drawn_log_probability", "mean_drawn_log_probability",
               "mean log probability of a step by the law that it was drawn from", "nat", no_step);
    put.mean("repeat_probability", "mean_repeat_probability", "mean probability that the last token comes again", "", no_step);
    put.mean("repeat_probability_expected", "mean_repeat_probability_expected", "mean of its value under no bias", "", no_step);
    put.mean("repeat_rank", "mean_repeat_rank", "mean rank of the last token among the next", "", no_step);
    put.mean("repeat_rank_expected", "mean_repeat_rank_expected", "mean of its value under no bias", "", no_step);
    return {log_probability, entropy};
  }

  /// Mean divergence of contexts that end in the same token, and what of it the history explains.
  static std::pair<double, double> add_means_of_pairs(walk_results const& put) {
    double const markov = put.mean("divergence_same", "non_markov",
                                   "mean divergence between contexts that end in the same token; 0 would be Markov");
    double const alone_mean = put.mean("divergence_last_token", "non_markov_last_token",
                                       "control: the same pairs from the last token and its position alone");
    double const off_mean =
        put.mean("divergence_attention_off", "non_markov_attention_off", "control: the same pairs with attention off");
    auto const same = put.numbers_of("divergence_same");
    auto const control = put.numbers_of(alone_mean > off_mean ? "divergence_last_token" : "divergence_attention_off");
    std::vector<double> above;
    for (std::size_t k = 0; k < same.size(); ++k)
      if (double const x = same[k] - control[k]; !std::isnan(x)) above.push_back(x);
    double const history =
        put.average(above, "history_dependence",
                    "non_markov less the larger control: what the last token and its position do not explain; 0 for "
                    "a model that reads nothing else",
                    "nat", "no such pair of contexts, or a control is not known");
    put.mean("divergence_different", "between_tokens", "mean divergence between contexts that end in different tokens");
    return {markov, history};
  }

  /// The items' texts with their continuations.
  std::vector<text> follow(wf::sample const& block, wf::model const& m) const {
    bool const decoder = wf::language::stack_of(m.info()).decoder;
    std::vector<text> all;
    for (std::size_t i = 0; i < block.size(); ++i) {
      text t;
      auto const given = block[i].tokens(), to_decode = block[i].decoder_tokens();
      if (decoder) t.encoder.assign(given.begin(), given.end());
      auto const own = decoder ? to_decode : given;
      if (own.empty())
        throw wf::usage_error("item " + std::to_string(block[i].index()) + " has no token for the " +
                              (decoder ? "decoder" : "model") + " to begin with");
      std::size_t const prompt = preset_ == "forced" ? std::min(std::max<std::size_t>(prompt_, 1), own.size()) : own.size();
      t.prompt = prompt;
      t.tokens.assign(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(prompt));
      if (preset_ == "forced")
        t.tokens.insert(t.tokens.end(), own.begin() + static_cast<std::ptrdiff_t>(prompt),
                        own.begin() + static_cast<std::ptrdiff_t>(std::min(own.size(), prompt + length_)));
      all.push_back(std::move(t));
    }
    if (preset_ == "forced") return all;
    wf::refuse_forced_tokens(m);
    std::vector<std::int32_t> const stop = stop_at_end_ ? wf::generation_tokens_of(m).stop : std::vector<std::int32_t>();
    if (preset_ == "beam") {
      for (std::size_t i = 0; i < all.size(); ++i) {
        auto const path = beam_search(m, block, i, all[i], decoder, beams_, length_, stop);
        all[i].tokens.insert(all[i].tokens.end(), path.begin(), path.end());
        end_at_context(m, all[i], stop);
      }
      return all;
    }
    wf::sampling how;
    how.max_new_tokens = length_;
    how.temperature = preset_ == "greedy" ? 0 : temperature_;
    how.top_p = preset_ == "greedy" ? 1 : top_p_;
    how.seed = seed_, how.first_item = block.size() != 0 ? block[0].index() : 0, how.stop = stop;
    wf::batch prompts;
    for (auto const& t : all) {
      prompts.tokens.push_back(decoder ? std::span<std::int32_t const>(t.encoder) : std::span<std::int32_t const>(t.tokens));
      if (decoder) prompts.decoder_tokens.push_back(t.tokens);
    }
    std::vector<std::size_t> rows(all.size());
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    auto const keep_law = [&](wf::generation_step const& step) {
      for (std::size_t k = 0; preset_ == "sample" && k < step.items.size(); ++k)
        all[step.items[k]].drawn.push_back(
            wf::log_probability_of_draw(step.logits.view<float const>().row(k), how, step.tokens[k]));
      return true;
    };
    auto const paths = wf::generate(m, prompts, how, block.request(rows), keep_law);
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].tokens.insert(all[i].tokens.end(), paths[i].begin(), paths[i].end());
      end_at_context(m, all[i], stop);
    }
    return all;
  }

  /// A walk goes as far as the model has positions, so a prompt that fills them has no step. Generation draws one token more,
  /// which no position could read.
  void end_at_context(wf::model const& m, text& t, std::vector<std::int32_t> const& stop) const {
    std::size_t const room = m.info().longest;
    if (room == 0) return;
    if (t.tokens.size() > room) t.tokens.resize(std::max(room, t.prompt));
    std::size_t const steps = t.tokens.size() - t.prompt;
    bool const stopped = steps != 0 && std::find(stop.begin(), stop.end(), t.tokens.back()) != stop.end();
    t.full = t.tokens.size() >= room && steps < length_ && !stopped;
  }

  void measure(wf::accumulator& acc, wf::sample const& block, std::size_t i, text const& t, wf::model const& m,
               wf::random_stream& draw) const {
    auto const stack = wf::language::stack_of(m.info());
    std::string const hook = stack.final_norm + "hook_out";
    auto request = block.request({i});
    request.capture = m.info().hooks_for(hook);
    auto const c =
        m.run(batch_of(t, 0, t.tokens.size(), stack.decoder), request).at(hook, 0).to(wf::dtype::f32);  // [pos, d_model]
    auto const context = c.view<float const>();
    std::size_t const steps = t.tokens.size() - t.prompt, first = t.prompt - 1;
    acc["length"].view<std::int32_t>()(i) = static_cast<std::int32_t>(steps);
    acc["ended_by_context"].view<std::int32_t>()(i) = t.full;
    if (contexts_)
      for (std::size_t s = 0; s <= steps; ++s)
        std::copy(context.row(first + s).begin(), context.row(first + s).end(), acc["contexts"][i].view<float>().row(s).begin());

    auto const next = acc["next_ids"].view<std::int32_t>(), rank = acc["rank"].view<std::int32_t>(),
               count = acc["top_p_count"].view<std::int32_t>(), repeat_rank = acc["repeat_rank"].view<std::int32_t>();
    wf::repetition::counted const whole(t.tokens);
    constexpr std::size_t at_once = 32;
    double path = 0, drawn = 0;
    for (std::size_t from = 0; from < steps; from += at_once) {
      std::size_t const to = std::min(from + at_once, steps);
      auto const logits = m.unembed(c.slice(0, first + from, first + to).clone());
      for (std::size_t s = from; s < to; ++s) {
        auto const z = logits.view<float const>().row(s - from);
        auto const token = static_cast<std::size_t>(t.tokens[t.prompt + s]), last = static_cast<std::size_t>(t.tokens[first + s]);
        distribution p;
        p.of(z);
        next(i, s) = static_cast<std::int32_t>(token);
        acc["log_probability"](i, s) = p.log_probability(token);
        acc["path_log_probability"](i, s) = path += p.log_probability(token);
        acc["entropy"](i, s) = p.entropy();
        if (preset_ == "sample") {
          acc["drawn_log_probability"](i, s) = t.drawn[s];
          acc["path_drawn_log_probability"](i, s) = drawn += t.drawn[s];
        }
        acc["repeat_probability"](i, s) = p.probability(last);
        auto const usual =
            wf::repetition::of_others(z, whole, t.tokens[first + s], [&](std::size_t v) { return p.probability(v); });
        acc["repeat_probability_expected"](i, s) = usual.probability;
        acc["repeat_rank_expected"](i, s) = usual.rank;
        rank(i, s) = static_cast<std::int32_t>(wf::rank_of(z, token));
        repeat_rank(i, s) = static_cast<std::int32_t>(wf::rank_of(z, last));
        count(i, s) = static_cast<std::int32_t>(smallest_set(p));
        double square = 0;
        auto const before = context.row(first + s), after = context.row(first + s + 1);
        for (std::size_t d = 0; d < before.size(); ++d)
          square += (double{after[d]} - double{before[d]}) * (double{after[d]} - double{before[d]});
        acc["distance"](i, s) = std::sqrt(square);
        acc["cosine"](i, s) = wf::cosine(before, after);
      }
    }
    put_pairs(acc, block, i, t, c, m, draw);
  }

  /// How many of the likeliest tokens reach top_p.
  std::size_t smallest_set(distribution const& p) const {
    std::vector<float> sorted(p.logits().begin(), p.logits().end());
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    distribution ordered;
    ordered.of(sorted);
    double mass = 0;
    for (std::size_t v = 0; v < sorted.size(); ++v)
      if ((mass += ordered.probability(v)) >= top_p_) return v + 1;
    return sorted.size();
  }

  /// Divergences between contexts of the whole text, those given included.
  void put_pairs(wf::accumulator& acc, wf::sample const& block, std::size_t i, text const& t, wf::tensor const& c,
                 wf::model const& m, wf::random_stream& draw) const {
    std::map<std::int32_t, std::vector<std::size_t>> places;
    for (std::size_t p = 0; p < t.tokens.size(); ++p) places[t.tokens[p]].push_back(p);
    std::vector<std::pair<std::size_t, std::size_t>> same;
    for (auto const& [token, at] : places)
      for (std::size_t a = 0; a < at.size(); ++a)
        for (std::size_t b = a + 1; b < at.size() && same.size() < most_pairs; ++b) same.emplace_back(at[a], at[b]);
    auto const divergence = [&](wf::tensor const& of, std::size_t a, std::size_t b) {
      wf::tensor const rows(wf::dtype::f32, {{"row", 2}, {"d_model", of.size(1)}});
      auto const from = of.view<float const>();
      std::copy(from.row(a).begin(), from.row(a).end(), rows.view<float>().row(0).begin());
      std::copy(from.row(b).begin(), from.row(b).end(), rows.view<float>().row(1).begin());
      auto const z = m.unembed(rows);
      distribution p, q;
      p.of(z.view<float const>().row(0)), q.of(z.view<float const>().row(1));
      return wf::language::jensen_shannon(p, q);
    };
    auto const ids = acc["pair_ids"].view<std::int32_t>();
    for (std::size_t k = 0; k < std::min(pairs_, same.size()); ++k) {
      std::swap(same[k], same[k + draw.below(static_cast<std::uint32_t>(same.size() - k))]);
      acc["divergence_same"](i, k) = divergence(c, same[k].first, same[k].second);
      ids(i, k) = t.tokens[same[k].first];
    }
    same.resize(std::min(pairs_, same.size()));
    if (!same.empty()) {
      auto const off = with_attention_off(block, i, t, m);
      auto const alone = last_tokens_alone(block, i, t, m, same);
      for (std::size_t k = 0; k < same.size(); ++k) {
        auto const [a, b] = same[k];
        if (off.defined()) acc["divergence_attention_off"](i, k) = divergence(off, a, b);
        // An encoder-decoder's decoder knows positions by distances: of one token alone there are none.
        acc["divergence_last_token"](i, k) = alone.defined() ? divergence(alone, a, b) : 0;
      }
    }
    if (places.size() < 2) return;
    auto const n = static_cast<std::uint32_t>(t.tokens.size());
    for (std::size_t k = 0; k < pairs_; ++k) {
      std::size_t a = draw.below(n), b = draw.below(n);
      while (t.tokens[a] == t.tokens[b]) a = draw.below(n), b = draw.below(n);
      acc["divergence_different"](i, k) = divergence(c, a, b);
    }
  }

  /// Context vectors of the text when no attention adds anything; undefined where the model has no such place.
  static wf::tensor with_attention_off(wf::sample const& block, std::size_t i, text const& t, wf::model const& m) {
    auto const stack = wf::language::stack_of(m.info());
    std::string const hook = stack.final_norm + "hook_out";
    auto request = block.request({i});
    request.capture = m.info().hooks_for(hook);
    bool any = false;
    for (std::size_t l = 0; l < stack.layers; ++l)
      for (auto const* out : {"hook_attn_out", "hook_cross_attn_out"})
        if (auto const name = stack.block(l, out); m.info().find_hook(name) != nullptr) {
          any = true;
          request.edits.push_back({name, [](wf::edit_site const&, wf::tensor const& x) {
                                     if (x.type() == wf::dtype::f64)
                                       std::ranges::fill(x.values<double>(), 0.0);
                                     else
                                       std::ranges::fill(x.values<float>(), 0.0f);
                                   }});
        }
    if (!any) return {};
    return m.run(batch_of(t, 0, t.tokens.size(), stack.decoder), request).at(hook, 0).to(wf::dtype::f32);
  }

  /// Context vectors of each token of the pairs when nothing stands before it, [pos, d_model]; undefined for an encoder-decoder.
  static wf::tensor last_tokens_alone(wf::sample const& block, std::size_t i, text const& t, wf::model const& m,
                                      std::vector<std::pair<std::size_t, std::size_t>> const& pairs) {
    auto const stack = wf::language::stack_of(m.info());
    if (stack.decoder) return {};
    std::vector<std::size_t> places;
    for (auto const& [a, b] : pairs) places.push_back(a), places.push_back(b);
    std::sort(places.begin(), places.end());
    places.erase(std::unique(places.begin(), places.end()), places.end());
    wf::batch alone;
    for (auto const p : places) {
      alone.tokens.push_back(std::span<std::int32_t const>(t.tokens).subspan(p, 1));
      alone.first_position.push_back(p);
    }
    std::string const hook = stack.final_norm + "hook_out";
    auto request = block.request(std::vector<std::size_t>(places.size(), i));
    request.capture = m.info().hooks_for(hook);
    auto const captured = m.run(alone, request);
    wf::tensor const out(wf::dtype::f32, {{"pos", t.tokens.size()}, {"d_model", m.info().d_model}});
    for (std::size_t k = 0; k < places.size(); ++k) {
      auto const one = captured.at(hook, k).to(wf::dtype::f32);
      std::ranges::copy(one.view<float const>().row(0), out.view<float>().row(places[k]).begin());
    }
    return out;
  }

  /// How a walk repeats itself, beside the same tokens in random order and the item's own text.
  static void put_repetition(wf::accumulator& acc, wf::sample const& block, std::size_t i, text const& t, bool decoder) {
    std::span<std::int32_t const> const walk = std::span<std::int32_t const>(t.tokens).subspan(t.prompt);
    if (walk.empty()) return;
    auto const given = decoder ? block[i].decoder_tokens() : block[i].tokens();
    auto const own = wf::repetition::repeated_ngrams(walk), usual = wf::repetition::repeated_in_windows(given, walk.size());
    auto draw = block.random("decoding_walk orders", block[i]);
    auto const mixed = wf::repetition::in_random_order({walk.begin(), walk.end()}, draw);
    for (std::size_t n = 0; n < own.size(); ++n) {
      acc["repeated_ngrams"](i, n) = own[n];
      acc["repeated_ngrams_expected"](i, n) = mixed.repeated[n];
      acc["repeated_ngrams_text"](i, n) = usual[n];
    }
    auto const round = wf::repetition::cycle_of(walk);
    acc["cycle_length"].view<std::int32_t>()(i) = static_cast<std::int32_t>(round.length);
    if (round.length != 0) acc["cycle_start"].view<std::int32_t>()(i) = static_cast<std::int32_t>(round.first);
    acc["cycles_expected"](i) = mixed.cycles;
  }

  /// Means over the walks.
  static void add_repetition(wf::accumulator const& acc, wf::results& out) {
    for (auto const& [name, about] : {std::pair{"repeated_ngrams", "mean share of a walk's n-grams that occurred before in it"},
                                      std::pair{"repeated_ngrams_expected", "its value under no bias, mean over walks"},
                                      std::pair{"repeated_ngrams_text", "base rate in the items' own texts, mean over walks"}}) {
      wf::tensor const mean(wf::dtype::f64, {{"n", wf::repetition::longest_gram}}), error = mean.clone();
      auto const rows = acc[name].view<double const>();
      for (std::size_t n = 0; n < wf::repetition::longest_gram; ++n) {
        std::vector<double> values;
        for (std::size_t i = 0; i < rows.size(0); ++i)
          if (!std::isnan(rows(i, n))) values.push_back(rows(i, n));
        auto const m = wf::moments_of(values);
        mean(n) = values.empty() ? nothing : m.mean;
        error(n) = values.size() < 2 ? nothing : m.standard_error();
      }
      std::string const to = std::string("mean_") + name;
      out.add(to, mean).about(about).missing("no walk has n tokens").coordinate("n", gram_sizes()).view("curve");
      out.add(to + "_standard_error", error)
          .about("standard error over walks")
          .missing("fewer than two walks have n tokens")
          .coordinate("n", gram_sizes())
          .view("curve");
    }
    double walks = 0, cycles = 0, expected = 0;
    auto const by_chance = acc["cycles_expected"].values<double const>();
    auto const length = acc["cycle_length"].values<std::int32_t const>();
    for (std::size_t i = 0; i < length.size(); ++i)
      if (!std::isnan(by_chance[i])) walks += 1, cycles += length[i] > 0, expected += by_chance[i];
    out.add("cycles", walks > 0 ? cycles / walks : nothing)
        .about("share of the walks that end in a cycle")
        .missing("no walk has a step");
    out.add("mean_cycles_expected", walks > 0 ? expected / walks : nothing)
        .about("its value under no bias: the share among random orders of the walks' tokens")
        .missing("no walk has a step");
  }

  static constexpr std::size_t most_pairs = 1'000'000;
  std::string preset_;
  std::size_t length_, prompt_, beams_, pairs_;
  double temperature_, top_p_;
  bool contexts_, stop_at_end_;
  std::uint64_t seed_;
};

WAYFARER_PROBE(decoding_walk, "1.0.0", "Probability, entropy and geometry of a text as it grows, and how far it is from Markov",
               wf::port::model("model"), wf::port::source("source", "prompts, or whole texts to follow"),
               wf::param("preset", "greedy", "how the walk chooses its tokens").one_of("greedy|sample|beam|forced"),
               wf::param("length", 50, "most steps").in("token").between(1, 100'000),
               wf::param("prompt", 1, "forced: tokens of the item that are given").in("token").at_least(1),
               wf::param("beams", 10, "beam: how many").between(1, 1000),
               wf::param("temperature", 0.7, "sample: logits are divided by it").at_least(0),
               wf::param("top_p", 0.9, "sample: mass of the set drawn from; also what top_p_count counts").between(0, 1),
               wf::param("pairs", 50, "pairs of contexts compared in each item").between(0, 1'000'000),
               wf::param("contexts", false, "keep the context vectors"),
               wf::param("stop_at_end", true, "end a walk at the tokenizer's end of sequence"),
               wf::param("seed", 0, "of the drawn tokens and pairs").at_least(0));
