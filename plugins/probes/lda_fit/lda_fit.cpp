// Topics of a corpus: latent Dirichlet allocation by online variational Bayes (Hoffman, Blei and Bach 2010), with gensim's
// defaults. Li, Li and Risteski 2023 use it to label words of real text. Other nodes read the topics from the results:
//
//     topics:     {probe: lda_fit, source: articles, topics: 100}
//     similarity: {probe: topic_similarity, model: bert, topics: topics}
//
// Bounds are per word and in nat, as gensim's log_perplexity reports them.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/probe.hpp>

#include "corpus.hpp"
#include "variational.hpp"

namespace wf = wayfarer;

namespace {
constexpr double smallest_in_float32 = 1e-15;
}

struct lda_fit final : wf::probe {
  explicit lda_fit(wf::config const& c)
      : passes_(c["passes"]),
        evaluate_every_(c["evaluate_every"]),
        top_words_(c["top_words"]),
        double_(c["precision"].text() == "float64"),
        by_rarity_(c["weights"].text() == "tf_idf") {
    fit_.topics = c["topics"];
    fit_.chunk = c["chunk_size"];
    fit_.update_every = c["update_every"];
    fit_.iterations = c["iterations"];
    fit_.decay = c["decay"];
    fit_.offset = c["offset"];
    fit_.gamma_threshold = c["gamma_threshold"];
    fit_.alpha = c["alpha"];
    fit_.eta = c["eta"];
    for (double const prior : {fit_.alpha, fit_.eta})
      if (!double_ && prior > 0 && prior < smallest_in_float32)
        throw wf::usage_error("float32 can't tell words apart with a prior below 1e-15; set precision: float64");
    fit_.seed = c.seed();
    words_.min_documents = c["min_documents"];
    words_.max_share = c["max_share"];
    words_.most = c["most_words"];
  }

  // The fit goes over the documents in its own order and more than once, so it reads the source itself.
  void finish(wf::accumulator const&, wf::results& out, wf::probe_context const& at) const override {
    auto corpus = wf::lda::read_corpus(at.data(), at.items(), words_);
    if (by_rarity_) wf::lda::weigh_by_rarity(corpus);
    if (double_)
      fit<double>(corpus, out);
    else
      fit<float>(corpus, out);
  }

 private:
  template <class T>
  void fit(wf::lda::corpus const& corpus, wf::results& out) const {
    wf::lda::online_lda<T> lda(corpus, fit_);
    std::vector<double> curve;
    std::vector<std::int64_t> evaluated;
    for (std::size_t p = 1; p <= passes_; ++p) {
      lda.pass();
      if (p == passes_ || (evaluate_every_ != 0 && p % evaluate_every_ == 0)) {
        curve.push_back(lda.per_word_bound());
        evaluated.push_back(static_cast<std::int64_t>(p));
      }
    }

    std::size_t const K = fit_.topics, V = corpus.vocabulary;
    auto const lambda = lda.lambda();  // [word, topic]
    std::vector<double> total(K);
    for (std::size_t w = 0; w < V; ++w)
      for (std::size_t k = 0; k < K; ++k) total[k] += lambda[w * K + k];
    wf::tensor topic_word(wf::dtype::f32, {{"topic", K}, {"word", V}});
    auto const p = topic_word.view<float>();
    for (std::size_t k = 0; k < K; ++k)
      for (std::size_t w = 0; w < V; ++w) p(k, w) = static_cast<float>(lambda[w * K + k] / total[k]);

    auto& topics = out.add("topic_word", topic_word)
                       .about("probability of each word in each topic: the mean of its Dirichlet")
                       .view("heatmap");
    if (!corpus.names.empty()) topics.labels("word", corpus.names);
    out.add("topic_total", wf::tensor::of(total, {{"topic", K}}))
        .units("words")
        .about("sum of a topic's Dirichlet parameters: topic_word times this is the Dirichlet itself")
        .view("bars");
    out.add("topic_share", wf::tensor::of(lda.shares(), {{"topic", K}}))
        .about("share of all words that the topic makes")
        .view("bars");
    out.add("top_words", top_words(p, corpus.names))
        .dims("topic")
        .about("the likeliest words of each topic, likeliest first")
        .view("table");
    out.add("per_word_bound", curve.back()).units("nat").about("variational bound on the log likelihood, per word");
    out.add("bound_curve", wf::tensor::of(curve, {{"pass", curve.size()}}))
        .units("nat")
        .about("variational bound per word after so many passes")
        .view("curve")
        .coordinate("pass", wf::tensor::of(evaluated, {{"pass", evaluated.size()}}));
    out.add("documents", static_cast<double>(corpus.documents())).units("documents").about("documents in the corpus");
    double words = 0;
    for (float const c : corpus.counts) words += static_cast<double>(c);
    out.add("words", words).units("words").about("words in the corpus, or their weights");
    out.add("updates", static_cast<double>(lda.updates())).about("updates of the topics");
    out.add("iterations", lda.mean_iterations()).about("mean iterations of a document in the last pass");
    char line[96];
    std::snprintf(line, sizeof line, "%zu topics, %zu documents, bound %.4f nat a word", K, corpus.documents(), curve.back());
    out.summarise(line);
  }

  std::vector<std::string> top_words(wf::tensor_view<float> const& topic_word, std::vector<std::string> const& names) const {
    std::vector<std::string> lines(topic_word.size(0));
    for (std::size_t k = 0; k < lines.size(); ++k)
      for (auto const w : wf::top_k(std::span<float const>(topic_word.row(k)), top_words_))
        lines[k] += (lines[k].empty() ? "" : " ") + (names.empty() ? std::to_string(w) : names[static_cast<std::size_t>(w)]);
    return lines;
  }

  wf::lda::settings fit_;
  wf::lda::word_choice words_;
  std::size_t passes_, evaluate_every_, top_words_;
  bool double_, by_rarity_;
};

WAYFARER_PROBE(lda_fit, "1.0.0", "Topics of a corpus by online variational Bayes: latent Dirichlet allocation",
               wf::port::source("source", "documents, as words or texts"),
               wf::param("topics", 100, "number of topics").between(1, 4096),
               wf::param("passes", 1, "passes over the documents").between(1, 1'000'000),
               wf::param("chunk_size", 2000, "documents whose topics are inferred at once").in("document").at_least(1),
               wf::param("update_every", 1, "chunks between updates of the topics; 0: once a pass, batch").at_least(0),
               wf::param("decay", 0.5,
                         "kappa: how fast older statistics are forgotten; 0: at once, which with update_every 0 is batch VB")
                   .between(0, 1),
               wf::param("offset", 1.0, "tau_0: slows the first updates down").at_least(0),
               wf::param("iterations", 50, "limit of iterations for a document's topics").at_least(1),
               wf::param("gamma_threshold", 0.001,
                         "a document's topics are settled when their change, averaged over topics, is below this; for a document "
                         "with fewer than topics / 4 words "
                         "the change is divided by 4 times its words")
                   .at_least(0),
               wf::param("alpha", 0.0, "prior of a document's topics, symmetric; 0: 1 / topics").between(0, 1e6),
               wf::param("eta", 0.0, "prior of a topic's words, symmetric; 0: 1 / topics").between(0, 1e6),
               wf::param("weights", "counts", "what a word in a document counts: occurrences, or these times its rarity")
                   .one_of("counts|tf_idf"),
               wf::param("min_documents", 20, "of texts: leave out words in fewer documents").in("document").at_least(1),
               wf::param("max_share", 0.1, "of texts: leave out words in a larger share of the documents").between(0, 1),
               wf::param("most_words", 100'000, "of texts: keep the words in most documents").in("word").between(1, 1 << 24),
               wf::param("evaluate_every", 0, "passes between bounds; 0: after the last alone").at_least(0),
               wf::param("top_words", 10, "words shown of each topic").between(1, 1000),
               wf::param("precision", "float32", "of the arithmetic").one_of("float32|float64"),
               wf::param("seed", 0, "of the first topics").at_least(0));
