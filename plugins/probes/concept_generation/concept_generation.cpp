// How likely is each answer after the vectors of its context? Test 1, "token generation conditioned on aggregated
// concepts", of arXiv 2308.10874: a context's vectors (composition.hpp) take the place of its tokens. A decoder-only model reads
// them as embeddings, at positions from 0; an encoder-decoder takes them for its encoder's final states.
//
//     generation: {probe: concept_generation, model: gpt2, source: items, scheme: sentences, word: mean, layer: E}
//
// With word: concat, scheme: concat_all and layer E (of an encoder-decoder: top) nothing is aggregated, and the scores are those
// of cross_encoding.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/choice_scoring.hpp"
#include "probes/common/composition.hpp"

namespace wf = wayfarer;
using namespace wayfarer::concepts;

namespace {

/// Characters of UTF-8 text, as Python's len counts them.
std::size_t characters(std::string_view text) noexcept {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

/// A context, cut to a length, as one answer or some see it.
struct reading {
  std::size_t item = 0;
  std::vector<std::size_t> choices;  // numbers of those that follow
};

/// Index of the largest number.
std::int32_t largest(std::vector<double> const& x) {
  auto const best = wf::top_k(std::span<double const>(x), 1);
  return best.empty() ? -1 : best[0];
}

}  // namespace

struct concept_generation final : wf::probe {
  explicit concept_generation(wf::config const& c)
      : scheme_(cutting_of(c["scheme"].text())),
        word_(c["word"].text(), "word"),
        layer_(c["layer"].text()),
        segment_mean_(c["segment"].text() == "mean"),
        example_mean_(c["example"].text() == "mean"),
        norm_(norm_of(c["norm"].text())),
        encoder_("concept_generation", static_cast<std::size_t>(c["cache"].integer()) << 20, c["longest"]) {}

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    wanted(at.model().info());  // refuses layers that are not there
    wf::dim const choice{"choice", choices_of(at)};
    acc.define_rows("scores", {choice});
    for (auto const* name : {"choice_characters", "choice_tokens"}) acc.define_rows(name, {choice}, wf::dtype::i32);
    for (auto const* name : {"prediction", "prediction_norm", "gold", "exact_match", "context_vectors", "cut"})
      acc.define_rows(name, {}, wf::dtype::i32);
  }

  void announce(wf::shared_values& of_sweep, wf::probe_context const& at) const override {
    encoder_.announce(of_sweep, encoder::context, wanted(at.model().info()));
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& m = at.model();
    auto const pieces = encoder_.contexts(block, m, scheme_), answers = encoder_.choices(block, m, false);
    auto const contexts = encoder_.encode(block, m, encoder::context, *pieces, wanted(m.info()));
    pyramid const how{norm_, segment_mean_, example_mean_, word_.is_normalised()};
    bool const decoder = wf::language::stack_of(m.info()).decoder;
    std::size_t const n = acc["scores"].size(1), width = m.info().d_model;
    auto const number = [&](char const* name) { return acc[name].view<std::int32_t>(); };
    auto const gold = number("gold"), exact = number("exact_match"), count = number("context_vectors"), cut = number("cut"),
               characters_of = number("choice_characters"), tokens_of = number("choice_tokens");
    wf::batch given;
    std::vector<wf::language::token_lists> lists;
    std::vector<reading> readings;
    std::vector<double> all;  // [vector, d_model]
    for (std::size_t i = 0; i < block.size(); ++i) {
      check_choices(block.items(), i, n);
      std::string const name = "item " + std::to_string(block[i].index());
      vectors const context = compose(contexts[i], how);
      if (context.count() == 0) throw wf::data_error(name + " has an empty context: no vector can be made of it");
      gold(i) = gold_of(block.items(), i, n);
      count(i) = static_cast<std::int32_t>(context.count());
      // A decoder-only model has positions for some vectors and an answer, whose last token it need not read.
      std::map<std::size_t, std::vector<std::size_t>> by_cut;
      for (std::size_t k = 0; k < n; ++k) {
        std::size_t const beside = (*answers)[i][k][0].tokens.size() - 1, most = decoder ? 0 : m.info().longest;
        if (most != 0 && beside >= most)
          throw wf::data_error(name + ": an answer of " + std::to_string(beside + 1) +
                               " tokens leaves no room for its context: at most " + std::to_string(most) + " are read");
        std::size_t const room = most == 0 ? context.count() : most - beside;
        by_cut[context.count() - std::min(context.count(), room)].push_back(k);
      }
      cut(i) = static_cast<std::int32_t>(tokens_cut((*pieces)[i]) + by_cut.rbegin()->first);
      for (auto& [off, choices] : by_cut) {
        std::vector<std::int32_t> const unread(context.count() - off);
        given.tokens.push_back(std::span<std::int32_t const>(unread));
        if (decoder) given.decoder_tokens.push_back(block[i].decoder_tokens());
        all.insert(all.end(), context.values.begin() + static_cast<std::ptrdiff_t>(off * width), context.values.end());
        lists.emplace_back();
        for (auto const k : choices) lists.back().push_back((*answers)[i][k][0].tokens);
        readings.push_back({i, std::move(choices)});
      }
    }
    if (readings.empty()) return;
    auto const in_place = wf::tensor::of(all, {{"token", all.size() / width}, {"d_model", width}});
    bool const exactly = block.request({}).precision == wf::dtype::f64;
    (decoder ? given.encoder_states : given.embeddings) = in_place.to(exactly ? wf::dtype::f64 : wf::dtype::f32);
    auto const scored = wf::language::score_choices(m, given, lists, [&](std::vector<std::size_t> rows) {
      for (auto& r : rows) r = readings[r].item;
      return block.request(std::move(rows));
    });
    for (std::size_t r = 0; r < readings.size(); ++r)
      for (std::size_t j = 0; j < readings[r].choices.size(); ++j) {
        std::size_t const i = readings[r].item, k = readings[r].choices[j];
        acc["scores"](i, k) = scored[r][j].log_probability;
        tokens_of(i, k) = static_cast<std::int32_t>(scored[r][j].tokens);
        characters_of(i, k) = static_cast<std::int32_t>(characters(block.items().choices[i][k]));
        if (static_cast<std::size_t>(gold(i)) == k) exact(i) = scored[r][j].greedy;
      }
    predict(acc, block.size());
  }

  /// From the scores of all choices.
  static void predict(wf::accumulator& acc, std::size_t items) {
    auto const number = [&](char const* name) { return acc[name].view<std::int32_t>(); };
    auto const prediction = number("prediction"), norm = number("prediction_norm"), characters_of = number("choice_characters");
    std::size_t const n = acc["scores"].size(1);
    for (std::size_t i = 0; i < items; ++i) {
      std::vector<double> sums(n), rates(n);
      for (std::size_t k = 0; k < n; ++k) {
        sums[k] = acc["scores"](i, k);
        rates[k] = sums[k] / std::max(1, characters_of(i, k));
      }
      prediction(i) = largest(sums), norm(i) = largest(rates);
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const column = [&](char const* name) { return acc[name].values<std::int32_t const>(); };
    auto const gold = column("gold"), exact = column("exact_match"), cut = column("cut");
    std::size_t const n = gold.size();
    constexpr char by_choice[] = R"({"kind": "heatmap", "rows": "item", "columns": "choice"})";
    auto const share = [&](std::string const& name, std::vector<double> const& hits, std::string const& about) {
      auto const m = wf::moments_of(hits);
      double const nothing = std::numeric_limits<double>::quiet_NaN();
      out.add(name, n == 0 ? nothing : m.mean).about(about).missing("no item");
      out.add(name + "_standard_error", n < 2 ? nothing : m.standard_error())
          .about("sample deviation of hit and miss over the root of N")
          .missing("fewer than two items");
      return n == 0 ? nothing : m.mean;
    };
    auto const right = [&](char const* predicted, char const* name, std::string const& about) {
      wf::tensor const correct(wf::dtype::u8, {{"item", n}});
      std::vector<double> hits(n);
      for (std::size_t i = 0; i < n; ++i) hits[i] = correct.view<std::uint8_t>()(i) = column(predicted)[i] == gold[i];
      out.add(name, correct).about(about).view("histogram");
      return hits;
    };
    out.add("scores", acc["scores"])
        .units("nat")
        .about("log probability of each answer's tokens, given the context vectors")
        .view(by_choice);
    out.add("choice_characters", acc["choice_characters"])
        .units("character")
        .about("Unicode code points of each answer, the space before it included")
        .view(by_choice);
    out.add("choice_tokens", acc["choice_tokens"]).units("token").about("tokens of each answer").view(by_choice);
    out.add("prediction", acc["prediction"]).about("answer of the largest score, the first among equals").view("histogram");
    out.add("prediction_norm", acc["prediction_norm"])
        .about("answer of the largest score over its number of characters")
        .view("histogram");
    out.add("gold", acc["gold"]).about("the right answer").view("histogram");
    out.add("context_vectors", acc["context_vectors"]).about("vectors that each context became").view("histogram");
    auto const hits = right("prediction", "correct", "1 where prediction is right");
    auto const hits_norm = right("prediction_norm", "correct_norm", "1 where prediction_norm is right");
    out.add("exact_match", acc["exact_match"])
        .about("1: every token of the right answer is the likeliest after those before it")
        .view("histogram");
    out.add("cut", acc["cut"])
        .units("token")
        .about("tokens cut from the left of segments, and vectors cut from the left of contexts, that the model can't take whole")
        .view("histogram");
    double shortened = 0;
    for (auto const c : cut) shortened += c > 0;
    out.add("contexts_cut", shortened).units("item").about("items that lost tokens or vectors so");
    double const plain = share("acc", hits, "share of items whose prediction is right");
    double const normed = share("acc_norm", hits_norm, "share of items whose prediction_norm is right");
    share("em", {exact.begin(), exact.end()}, "share of items whose right answer is what greedy decoding would write");
    if (at.has_data()) wf::language::add_text_note(out, at.data().info());
    out.summarise(hits.empty() ? "no items, so no accuracy"
                               : "acc " + wf::told(plain, 4) + ", acc_norm " + wf::told(normed, 4) + " of " +
                                     wf::counted(hits.size(), "item"));
  }

 private:
  want wanted(wf::model_info const& m) const {
    bool const decoder = wf::language::stack_of(m).decoder;  // refuses models that predict nothing
    if (word_.pools() == word_rule::pooling::concat && segment_mean_)
      throw wf::usage_error(
          "'concat' keeps all vectors of a segment, so that there is no mean of segments; set 'segment' to none");
    return {layer_of(layer_ == "auto" ? (decoder ? "top" : "0") : layer_, "layer", m), word_};
  }

  cutting scheme_;
  word_rule word_;
  std::string layer_;
  bool segment_mean_, example_mean_;
  norm_rule norm_;
  encoder encoder_;
};

WAYFARER_PROBE(
    concept_generation, "1.0.0", "How likely several answers are after the vectors that their context became",
    wf::port::model("model"), wf::port::source("source", "texts with answers to choose from, as hellaswag gives them"),
    wf::param("scheme", "concat_all", "how contexts are cut into segments").one_of(cuttings),
    wf::param("word", "mean",
              "how a segment's states become one vector: mean, w1mean, last, or concat (they stay), after steps, as in "
              "relu|mean"),
    wf::param("segment", "none", "how an example's segments become one vector; none: they stay").one_of("mean|none"),
    wf::param("example", "none", "how all become one vector; none: they stay").one_of("mean|none"),
    wf::param("norm", "none", "what vectors go through after word, segment and example").one_of(norms),
    wf::param("layer", "auto",
              "states of contexts: top, middle, a number, E or OE (embeddings); auto: top of an encoder, else 0"),
    wf::param("longest", 0, "limit of a segment's tokens, cut on the left; 0: the model's limit")
        .in("token")
        .between(0, 16'777'216),
    wf::param("cache", 64, "vectors kept for segments that come again").in("MiB").between(0, 1'048'576));
