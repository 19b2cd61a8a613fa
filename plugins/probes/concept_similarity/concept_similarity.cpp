// Which answer lies nearest to its context? Test 2, "concept similarity", of arXiv 2308.10874: a context becomes one vector or a
// few (composition.hpp), each answer becomes one, and the answer with the largest inner product is chosen. No decoder runs.
//
//     similarity: {probe: concept_similarity, model: t5, source: items, scheme: concat_all, word: mean, layer: top}
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
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

double similarity_of(std::span<double const> a, std::span<double const> b, bool cosine) {
  return cosine ? wf::cosine(a, b) : wf::dot(a, b);
}

/// softmax(M q) M: the context vectors, weighted by how much each is like the answer.
std::vector<double> clustered(vectors const& m, std::span<double const> q, norm_rule norm) {
  std::vector<double> weights(m.count()), out(m.width);
  for (std::size_t i = 0; i < m.count(); ++i) weights[i] = wf::dot(m[i], q);
  double const most = *std::max_element(weights.begin(), weights.end());
  double total = 0;
  for (double& w : weights) total += w = std::exp(w - most);
  for (std::size_t i = 0; i < m.count(); ++i)
    for (std::size_t j = 0; j < m.width; ++j) out[j] += weights[i] / total * m[i][j];
  normalise(out, norm);
  return out;
}

}  // namespace

struct concept_similarity final : wf::probe {
  explicit concept_similarity(wf::config const& c)
      : scheme_(cutting_of(c["scheme"].text())),
        word_(c["word"].text(), "word"),
        out_word_(c["out_word"].text().empty() ? word_ : word_rule(c["out_word"].text(), "out_word")),
        layer_(c["layer"].text()),
        out_layer_(c["out_layer"].text().empty() ? layer_ : c["out_layer"].text()),
        segment_mean_(c["segment"].text() == "mean"),
        example_(example_rule_of(c["example"].text())),
        norm_(norm_of(c["norm"].text())),
        cosine_(c["similarity"].text() == "cosine"),
        encoder_("concept_similarity", static_cast<std::size_t>(c["cache"].integer()) << 20, c["longest"]) {
    for (auto const* w : {&word_, &out_word_})
      if (w->pools() == word_rule::pooling::concat)
        throw wf::usage_error("'concat' keeps all vectors, which can't be compared with an answer's; use mean, w1mean or last");
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    wants(at.model().info());  // refuses layers that are not there
    acc.define_rows("scores", {{"choice", choices_of(at)}});
    for (auto const* name : {"prediction", "gold", "context_vectors", "cut"}) acc.define_rows(name, {}, wf::dtype::i32);
  }

  void announce(wf::shared_values& of_sweep, wf::probe_context const& at) const override {
    auto const [context, choice] = wants(at.model().info());
    encoder_.announce(of_sweep, encoder::context, context);
    encoder_.announce(of_sweep, encoder::choice, choice);
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& m = at.model();
    std::size_t const n = acc["scores"].size(1);
    auto const [of_context, of_choice] = wants(m.info());
    auto const pieces = encoder_.contexts(block, m, scheme_), answers = encoder_.choices(block, m, true);
    auto const contexts = encoder_.encode(block, m, encoder::context, *pieces, of_context);
    auto const choices = encoder_.encode(block, m, encoder::choice, *answers, of_choice);
    pyramid const how{norm_, segment_mean_, example_ == example_rule::mean, word_.is_normalised()};
    pyramid const alone{norm_, false, false, out_word_.is_normalised()};
    auto const prediction = acc["prediction"].view<std::int32_t>(), gold = acc["gold"].view<std::int32_t>(),
               count = acc["context_vectors"].view<std::int32_t>(), cut = acc["cut"].view<std::int32_t>();
    for (std::size_t i = 0; i < block.size(); ++i) {
      check_choices(block.items(), i, n);
      vectors const context = compose(contexts[i], how), answer = compose(choices[i], alone);
      if (context.count() == 0)
        throw wf::data_error("item " + std::to_string(block[i].index()) + " has an empty context: no vector can be made of it");
      std::vector<double> scores(n);
      for (std::size_t k = 0; k < n; ++k) {
        scores[k] = -std::numeric_limits<double>::infinity();
        if (example_ == example_rule::soft_cluster) {
          scores[k] = similarity_of(answer[k], clustered(context, answer[k], norm_), cosine_);
        } else {
          for (std::size_t c = 0; c < context.count(); ++c)
            if (double const s = similarity_of(answer[k], context[c], cosine_); std::isnan(s) || s > scores[k]) scores[k] = s;
        }
        acc["scores"](i, k) = scores[k];
      }
      auto const best = wf::top_k(std::span<double const>(scores), 1);
      prediction(i) = best.empty() ? -1 : best[0];
      gold(i) = gold_of(block.items(), i, n);
      count(i) = example_ == example_rule::soft_cluster ? 1 : static_cast<std::int32_t>(context.count());
      cut(i) = static_cast<std::int32_t>(tokens_cut((*pieces)[i]) + tokens_cut((*answers)[i]));
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const prediction = acc["prediction"].values<std::int32_t const>(), gold = acc["gold"].values<std::int32_t const>(),
               cut = acc["cut"].values<std::int32_t const>();
    std::size_t const n = gold.size();
    wf::tensor const correct(wf::dtype::u8, {{"item", n}});
    std::vector<double> hits(n);
    double shortened = 0;
    for (std::size_t i = 0; i < n; ++i) {
      hits[i] = correct.view<std::uint8_t>()(i) = prediction[i] == gold[i];
      shortened += cut[i] > 0;
    }
    auto const m = wf::moments_of(hits);
    double const nothing = std::numeric_limits<double>::quiet_NaN();
    out.add("scores", acc["scores"])
        .about("largest similarity of each answer to a context vector")
        .missing("the context or the answer has no vector, or one of length 0")
        .view(R"({"kind": "heatmap", "rows": "item", "columns": "choice"})");
    out.add("prediction", acc["prediction"]).about("answer of the largest score; -1 if no score is a number").view("histogram");
    out.add("gold", acc["gold"]).about("the right answer").view("histogram");
    out.add("correct", correct).about("1 where the prediction is right").view("histogram");
    out.add("context_vectors", acc["context_vectors"]).about("vectors that each context became").view("histogram");
    out.add("cut", acc["cut"])
        .units("token")
        .about("tokens cut from the left of segments that the model can't take whole")
        .view("histogram");
    out.add("contexts_cut", shortened).units("item").about("items that lost tokens so");
    out.add("acc", n == 0 ? nothing : m.mean).about("share of items whose prediction is right").missing("no item");
    out.add("acc_standard_error", n < 2 ? nothing : m.standard_error())
        .about("sample deviation of hit and miss over the root of N")
        .missing("fewer than two items");
    if (at.has_data()) wf::language::add_text_note(out, at.data().info());
    out.summarise(n == 0 ? "no items, so no accuracy"
                         : "acc " + wf::told(m.mean, 4) + (n < 2 ? "" : " +- " + wf::told(m.standard_error(), 2)) + " of " +
                               wf::counted(n, "item"));
  }

 private:
  /// Of contexts and of answers.
  std::pair<want, want> wants(wf::model_info const& m) const {
    return {{layer_of(layer_, "layer", m), word_}, {layer_of(out_layer_, "out_layer", m), out_word_}};
  }

  cutting scheme_;
  word_rule word_, out_word_;
  std::string layer_, out_layer_;
  bool segment_mean_;
  example_rule example_;
  norm_rule norm_;
  bool cosine_;
  encoder encoder_;
};

WAYFARER_PROBE(concept_similarity, "1.0.0", "Which of several answers lies nearest to its context in embedding space",
               wf::port::model("model"), wf::port::source("source", "texts with answers to choose from, as hellaswag gives them"),
               wf::param("scheme", "concat_all", "how contexts are cut into segments").one_of(cuttings),
               wf::param("word", "mean",
                         "how a segment's states become one vector: mean, w1mean or last, after steps, as in relu|mean"),
               wf::param("segment", "mean", "how an example's segments become one vector; none: they stay").one_of("mean|none"),
               wf::param("example", "mean", "how all become one vector; none: they stay").one_of(example_rules),
               wf::param("norm", "none", "what vectors go through after word, segment and example").one_of(norms),
               wf::param("similarity", "dot", "of context and answer").one_of("dot|cosine"),
               wf::param("layer", "top", "states of contexts: top, middle, a number, E or OE (embeddings)"),
               wf::param("out_layer", "", "the same of answers; empty: as layer"),
               wf::param("out_word", "", "as word, of answers; empty: as word"),
               wf::param("longest", 0, "limit of a segment's tokens, cut on the left; 0: the model's limit")
                   .in("token")
                   .between(0, 16'777'216),
               wf::param("cache", 64, "vectors kept for segments that come again").in("MiB").between(0, 1'048'576));
