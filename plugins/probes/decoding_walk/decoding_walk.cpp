// The decoding walk: a text that goes on is a path c_n, c_{n+1}, ... of context vectors, each of which decides how likely every
// next step is. Singh 2023 (arXiv 2308.10874), decoding walk; notes 1.2, 1.3 and section 4, E4.
//
// The path is sampled (greedy, sample: temperature 0.7 and top-p 0.9, beam: the likeliest of 10 beams, as the author's presets)
// or forced (the item's own tokens after its first `prompt`). Whichever it was, it is then measured in one run over the whole
// text.
//
//     P(x_{t+1} = v | x_1..x_t) = softmax_v(<c_t, u_v>)
//
// A walk that were Markov in its tokens would have the same P after the same last token; the Jensen-Shannon divergence between
// such contexts says how far it is from that, beside the divergence between contexts that end differently.
//
//     walk: {probe: decoding_walk, model: gpt2, source: prompts, preset: sample, length: 100}
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/generate.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/language.hpp"
#include "probes/common/token_rows.hpp"
#include "probes/common/vocabulary.hpp"

namespace wf = wayfarer;
using namespace wayfarer::walks;
using distribution = wayfarer::language::distribution<float>;

namespace {

/// A prompt and where it goes on: for an encoder-decoder the encoder's tokens stand beside the decoder's.
struct text {
  std::vector<std::int32_t> encoder, tokens;
  std::size_t prompt = 0;  ///< tokens [0, prompt) were given
};

wf::batch batch_of(text const& t, std::size_t first, std::size_t last, bool decoder) {
  wf::batch b;
  std::span<std::int32_t const> const some(t.tokens.data() + first, last - first);
  b.tokens.push_back(decoder ? std::span<std::int32_t const>(t.encoder) : some);
  if (decoder) b.decoder_tokens.push_back(some);
  return b;
}

/// The path of highest probability that `width` beams find, its log probability divided by its length at the end.
std::vector<std::int32_t> beam_search(wf::model const& m, wf::sample const& block, std::size_t item, text const& start,
                                      bool decoder, std::size_t width, std::size_t length,
                                      std::vector<std::int32_t> const& stop) {
  struct beam {
    std::vector<std::int32_t> tokens;
    double log_probability = 0;
    double score() const { return log_probability / static_cast<double>(std::max<std::size_t>(1, tokens.size())); }
  };
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
    struct move {
      std::size_t from;
      std::int32_t token;
      double log_probability;
    };
    std::vector<move> moves;
    for (std::size_t b = 0; b < alive.size(); ++b) {
      auto const logits = captured.at("logits", b).to(wf::dtype::f32);
      auto const row = logits.view<float const>().row(logits.size(0) - 1);
      distribution p;
      p.of(row);
      for (auto const v : wf::top_k(row, 2 * width))
        moves.push_back({b, v, alive[b].log_probability + p.log_probability(static_cast<std::size_t>(v))});
    }
    std::sort(moves.begin(), moves.end(), [](move const& a, move const& b) {
      return a.log_probability != b.log_probability ? a.log_probability > b.log_probability
             : a.from != b.from                     ? a.from < b.from
                                                    : a.token < b.token;
    });
    std::vector<beam> next;
    std::vector<std::size_t> from;
    for (auto const& move : moves) {
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

/// Jensen-Shannon divergence (nat): mean divergence of two distributions from their mean.
double jensen_shannon(std::span<float const> a, std::span<float const> b) {
  distribution p, q;
  p.of(a), q.of(b);
  return wf::language::chained_sum(a.size(), [&](std::size_t v) {
    double const lp = p.log_probability(v), lq = q.log_probability(v), x = std::exp(lp), y = std::exp(lq);
    double const log_mean = std::log(0.5 * (x + y));
    return 0.5 * ((x > 0 ? x * (lp - log_mean) : 0) + (y > 0 ? y * (lq - log_mean) : 0));
  });
}

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
    acc.define_rows("length", {}, wf::dtype::i32);
    if (contexts_) acc.define_rows("contexts", {{"context", length_ + 1}, {"d_model", model.d_model}}, wf::dtype::f32);
    for (auto const* name : {"same", "different"}) {
      acc.define_rows(std::string("divergence_") + name, {{"pair", pairs_}});
    }
    acc.define_rows("pair_ids", {{"pair", pairs_}}, wf::dtype::i32);
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    for (auto const& [name, field] : acc.fields()) fill_missing(acc[name]);
    auto const walks = follow(block, at.model());
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto draw = block.random("decoding_walk pairs", block[i]);
      measure(acc, block, i, walks[i], at.model(), draw);
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const add = [&](char const* name, std::string const& about, char const* units = "") {
      out.add(name, acc[name]).about(about).units(units);
    };
    add("length", "steps of each walk", "token");
    add("next_ids", "token of each step; -1 beyond a walk's end");
    wf::language::add_token_texts(out, "next_tokens", acc["next_ids"], at.model());
    add("log_probability", "log probability of each step", "nat");
    add("path_log_probability", "log probability of the path so far", "nat");
    add("entropy", "entropy of the next step", "nat");
    add("rank", "how many tokens were likelier than the one taken");
    add("top_p_count", "size of the smallest set of likeliest tokens that reaches top_p");
    add("distance", "length of each step between context vectors (after the final norm)");
    add("cosine", "cosine of the context vectors before and after each step");
    add("repeat_probability", "probability that the last token comes again");
    add("repeat_rank", "its rank among the next tokens, 0: likeliest");
    if (contexts_) add("contexts", "the context vectors; one more than steps");
    add("divergence_same", "Jensen-Shannon divergence of the next-token distributions of two contexts that end in the same token",
        "nat");
    add("divergence_different", "the same for contexts that end in different tokens", "nat");
    add("pair_ids", "the token in which both contexts of divergence_same end");
    auto const mean = [&](char const* name, char const* to, char const* about) {
      std::vector<double> values;
      auto const& from = acc[name].to(wf::dtype::f64);
      for (double const x : from.values<double const>())
        if (!std::isnan(x)) values.push_back(x);
      auto const m = wf::moments_of(values);
      double const nothing = std::numeric_limits<double>::quiet_NaN();
      out.add(to, values.empty() ? nothing : m.mean).about(about).units("nat");
      out.add(std::string(to) + "_standard_error", values.size() < 2 ? nothing : m.standard_error())
          .about(std::string("standard error over what was averaged: ") + about)
          .units("nat");
      return values.empty() ? nothing : m.mean;
    };
    double const entropy = mean("entropy", "mean_entropy", "mean entropy of the next step");
    double const log_probability = mean("log_probability", "mean_log_probability", "mean log probability of a step");
    double const markov =
        mean("divergence_same", "non_markov", "mean divergence between contexts that end in the same token; 0 would be Markov");
    mean("divergence_different", "between_tokens", "mean divergence between contexts that end in different tokens");
    char line[128];
    std::snprintf(line, sizeof line, "a step: log probability %.3f, entropy %.3f nat; same last token: divergence %.3g",
                  log_probability, entropy, markov);
    out.summarise(line);
  }

 private:
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
    std::vector<std::int32_t> stop;
    if (auto const* tokenizer = m.text_tokenizer(); tokenizer != nullptr && stop_at_end_ && tokenizer->special().eos)
      stop.push_back(*tokenizer->special().eos);
    if (preset_ == "beam") {
      for (std::size_t i = 0; i < all.size(); ++i) {
        auto const path = beam_search(m, block, i, all[i], decoder, beams_, length_, stop);
        all[i].tokens.insert(all[i].tokens.end(), path.begin(), path.end());
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
    auto const paths = wf::generate(m, prompts, how, block.request(rows));
    for (std::size_t i = 0; i < all.size(); ++i) all[i].tokens.insert(all[i].tokens.end(), paths[i].begin(), paths[i].end());
    return all;
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
    if (contexts_)
      for (std::size_t s = 0; s <= steps; ++s)
        std::copy(context.row(first + s).begin(), context.row(first + s).end(), acc["contexts"][i].view<float>().row(s).begin());

    auto const next = acc["next_ids"].view<std::int32_t>(), rank = acc["rank"].view<std::int32_t>(),
               count = acc["top_p_count"].view<std::int32_t>(), repeat_rank = acc["repeat_rank"].view<std::int32_t>();
    constexpr std::size_t at_once = 32;
    double path = 0;
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
        acc["repeat_probability"](i, s) = p.probability(last);
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
    put_pairs(acc, i, t, c, m, draw);
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
  void put_pairs(wf::accumulator& acc, std::size_t i, text const& t, wf::tensor const& c, wf::model const& m,
                 wf::random_stream& draw) const {
    std::map<std::int32_t, std::vector<std::size_t>> places;
    for (std::size_t p = 0; p < t.tokens.size(); ++p) places[t.tokens[p]].push_back(p);
    std::vector<std::pair<std::size_t, std::size_t>> same;
    for (auto const& [token, at] : places)
      for (std::size_t a = 0; a < at.size(); ++a)
        for (std::size_t b = a + 1; b < at.size() && same.size() < most_pairs; ++b) same.emplace_back(at[a], at[b]);
    auto const divergence = [&](std::size_t a, std::size_t b) {
      wf::tensor const rows(wf::dtype::f32, {{"row", 2}, {"d_model", c.size(1)}});
      auto const from = c.view<float const>();
      std::copy(from.row(a).begin(), from.row(a).end(), rows.view<float>().row(0).begin());
      std::copy(from.row(b).begin(), from.row(b).end(), rows.view<float>().row(1).begin());
      auto const z = m.unembed(rows);
      return jensen_shannon(z.view<float const>().row(0), z.view<float const>().row(1));
    };
    auto const ids = acc["pair_ids"].view<std::int32_t>();
    for (std::size_t k = 0; k < std::min(pairs_, same.size()); ++k) {
      std::swap(same[k], same[k + draw.below(static_cast<std::uint32_t>(same.size() - k))]);
      acc["divergence_same"](i, k) = divergence(same[k].first, same[k].second);
      ids(i, k) = t.tokens[same[k].first];
    }
    if (places.size() < 2) return;
    auto const n = static_cast<std::uint32_t>(t.tokens.size());
    for (std::size_t k = 0; k < pairs_; ++k) {
      std::size_t a = draw.below(n), b = draw.below(n);
      while (t.tokens[a] == t.tokens[b]) a = draw.below(n), b = draw.below(n);
      acc["divergence_different"](i, k) = divergence(a, b);
    }
  }

  static constexpr std::size_t most_pairs = 1'000'000;
  std::string preset_;
  std::size_t length_, prompt_, beams_, pairs_;
  double temperature_, top_p_;
  bool contexts_, stop_at_end_;
  std::uint64_t seed_;
};

WAYFARER_PROBE(decoding_walk, "1.0.0", "Probability, entropy and geometry of a text as it goes on, and how far it is from Markov",
               wf::port::model("model"), wf::port::source("source", "prompts, or whole texts to follow"),
               wf::param("preset", "greedy", "how the walk goes on").one_of("greedy|sample|beam|forced"),
               wf::param("length", 50, "most steps").in("token").between(1, 100'000),
               wf::param("prompt", 1, "forced: tokens of the item that are given").in("token").at_least(1),
               wf::param("beams", 10, "beam: how many").between(1, 1000),
               wf::param("temperature", 0.7, "sample: logits are divided by it").at_least(0),
               wf::param("top_p", 0.9, "sample: mass of the set drawn from; also what top_p_count counts").between(0, 1),
               wf::param("pairs", 50, "pairs of contexts compared in each item").between(0, 1'000'000),
               wf::param("contexts", false, "keep the context vectors"),
               wf::param("stop_at_end", true, "end a walk at the tokenizer's end of sequence"),
               wf::param("seed", 0, "of the drawn tokens and pairs").at_least(0));
