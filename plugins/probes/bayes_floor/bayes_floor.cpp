// The loss that no model can beat: masked words predicted by the exact posterior of the process that made the documents.
//
// Words come from topics that share none, all words of a topic equally probable, with topic weights theta of a document from a
// symmetric Dirichlet(alpha) or, with `topics_per_document`, even over tau distinct topics. Given the n_t unmasked words of each
// topic t, N in all, the next word is in topic t with probability
//     (n_t + alpha) / (N + T alpha)                                                          Dirichlet
//     1 / tau if n_t > 0, else (tau - |seen|) / (T - |seen|) / tau                           tau topics, |seen| of them seen
// and is then any word of the topic. That is `cross_entropy` and `squared`: the floor for a model that
// sees the unmasked words. A masked position may also show a word, the true one (p_c) or a random one (p_r), which is new
// information for a query at that position. With that word used exactly as well, the floors are `informed_cross_entropy` and
// `informed_squared`.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <wayfarer/masking.hpp>
#include <wayfarer/probe.hpp>

namespace {

namespace wf = wayfarer;

enum figure : std::size_t { cross_entropy, squared, informed_cross_entropy, informed_squared, figures };

/// The topic of each word and the number of words of each topic.
struct topic_sizes {
  std::vector<std::int32_t> topic;
  std::vector<std::uint32_t> words;

  explicit topic_sizes(wf::source_info const& info) {
    auto const truth = info.truth.find("topic_of_word");
    if (!info.has_words || truth == info.truth.end())
      throw wf::usage_error(
          "bayes_floor needs the topic of every word, and the source does not say it; give the source words_per_topic");
    if (truth->second.rank() != 1 || truth->second.count() != info.vocabulary)
      throw wf::plugin_error("the source's topic_of_word is not one number for each of its " + std::to_string(info.vocabulary) +
                             " words");
    auto const of = truth->second.values<std::int32_t const>();
    topic.assign(of.begin(), of.end());
    for (std::size_t w = 0; w < topic.size(); ++w) {
      if (topic[w] < 0 || static_cast<std::size_t>(topic[w]) >= topic.size())
        throw wf::usage_error("word " + std::to_string(w) + " has topic " + std::to_string(topic[w]) +
                              ", and bayes_floor needs a topic for every word, numbered from 0");
      if (static_cast<std::size_t>(topic[w]) >= words.size()) words.resize(static_cast<std::size_t>(topic[w]) + 1);
      ++words[static_cast<std::size_t>(topic[w])];
    }
  }
};

struct bayes_floor final : wf::probe {
  explicit bayes_floor(wf::config const& c)
      : p_m_(c["p_m"]), p_c_(c["p_c"]), p_r_(c["p_r"]), alpha_(c["alpha"]), tau_(c["topics_per_document"]), seed_(c.seed()) {
    if (p_c_ + p_r_ > 1) throw wf::usage_error("p_c and p_r add up to more than 1; they are shares of the masked words");
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    topic_sizes const known(at.data().info());
    if (tau_ > known.words.size())
      throw wf::usage_error("topics_per_document " + std::to_string(tau_) + " is above the source's " +
                            std::to_string(known.words.size()) + " topics; lower it");
    acc.define("loss", {{"figure", figures}});
    acc.define("loss_squared", {{"figure", figures}});
    acc.define("loss_times_masked", {{"figure", figures}});
    acc.define("masked", {});
    acc.define("masked_squared", {});
    acc.define("documents", {});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    topic_sizes const known(at.data().info());
    auto const vocabulary = static_cast<std::uint32_t>(known.topic.size());
    std::vector<std::uint8_t> masked;
    std::vector<std::size_t> seen(known.words.size());
    std::vector<double> probability(known.words.size());  // of one word of the topic
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const item = block[i];
      auto const words = item.words();
      wf::random_stream draw(seed_, "mask", item.index());
      masked.resize(words.size());
      double const m = static_cast<double>(wf::draw_mask(draw, p_m_, masked));
      if (m == 0) continue;

      std::fill(seen.begin(), seen.end(), 0);
      for (std::size_t k = 0; k < words.size(); ++k) {
        if (words[k] < 0 || static_cast<std::uint32_t>(words[k]) >= vocabulary)
          throw wf::plugin_error("item " + std::to_string(item.index()) + " has word " + std::to_string(words[k]) +
                                 ", outside its source's vocabulary of " + std::to_string(vocabulary));
        if (!masked[k]) ++seen[topic_of(known, words[k])];
      }
      predict(seen, known, words.size() - static_cast<std::size_t>(m), item.index(), probability);
      double squares = 0;
      for (std::size_t t = 0; t < seen.size(); ++t) squares += known.words[t] * probability[t] * probability[t];

      double loss[figures] = {};
      for (std::size_t k = 0; k < words.size(); ++k) {
        if (!masked[k]) continue;
        double const p = probability[topic_of(known, words[k])];
        if (p == 0) too_many_topics(item.index());
        loss[cross_entropy] -= std::log(p);
        loss[squared] += squares - 2 * p + 1;

        double const r = draw.uniform();
        if (r < 1 - p_c_ - p_r_) {  // shows [MASK]
          loss[informed_cross_entropy] -= std::log(p);
          loss[informed_squared] += squares - 2 * p + 1;
          continue;
        }
        std::int32_t const shown = r < 1 - p_c_ ? static_cast<std::int32_t>(draw.below(vocabulary)) : words[k];
        double const prior = probability[topic_of(known, shown)], by_chance = p_r_ / vocabulary;
        double const evidence = p_c_ * prior + by_chance;
        double const others = by_chance / evidence;  // factor by which every other word's probability falls
        double const p_shown = prior * (p_c_ + by_chance) / evidence;
        double const p_true = shown == words[k] ? p_shown : p * others;
        loss[informed_cross_entropy] -= std::log(p_true);
        loss[informed_squared] += others * others * (squares - prior * prior) + p_shown * p_shown - 2 * p_true + 1;
      }
      for (std::size_t f = 0; f < figures; ++f) {
        acc["loss"](f) += loss[f];
        acc["loss_squared"](f) += loss[f] * loss[f];
        acc["loss_times_masked"](f) += loss[f] * m;
      }
      acc["masked"]() += m;
      acc["masked_squared"]() += m * m;
      acc["documents"]() += 1;
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    double const n = acc["documents"](), masked = acc["masked"]();
    if (masked == 0) throw wf::data_error("no word could be masked: the documents observed have none, or p_m is 0");
    struct named {
      figure is;
      char const *name, *about, *units;
    };
    for (auto const& f : {
             named{cross_entropy, "cross_entropy", "least cross-entropy of a masked word given the unmasked words", "nat"},
             named{squared, "squared", "least squared distance to a masked word's one-hot vector, summed over the vocabulary",
                   ""},
             named{informed_cross_entropy, "informed_cross_entropy",
                   "least cross-entropy given also what the masked position shows", "nat"},
             named{informed_squared, "informed_squared", "least squared distance given also what the masked position shows", ""},
         }) {
      double const mean = acc["loss"](f.is) / masked;
      out.add(f.name, mean).about(f.about).units(f.units);
      // Words of a document share its topics, so documents are what varies independently: error of a ratio of two sums over
      // documents.
      double const spread =
          acc["loss_squared"](f.is) - 2 * mean * acc["loss_times_masked"](f.is) + mean * mean * acc["masked_squared"]();
      double const error = n > 1 ? std::sqrt(std::max(spread, 0.0) * n / (n - 1)) / masked : std::nan("");
      out.add(std::string(f.name) + "_error", error)
          .about("standard error of " + std::string(f.name) + " over documents")
          .units(f.units)
          .missing("fewer than two documents");
    }
    out.add("masked_words", masked).about("masked words predicted");
    out.add("documents", n).about("documents with at least one masked word");
    char line[160];
    std::snprintf(line, sizeof line, "cross-entropy %.4f, squared %.5f", acc["loss"](cross_entropy) / masked,
                  acc["loss"](squared) / masked);
    std::string found = line;
    // A model that queries with what a masked position shows may go below the first.
    if (p_c_ + p_r_ > 0) {
      std::snprintf(line, sizeof line, "; with what masked positions show, %.4f and %.5f",
                    acc["loss"](informed_cross_entropy) / masked, acc["loss"](informed_squared) / masked);
      found += line;
    }
    // The floor is one only for the process that made the documents.
    if (auto const& known = at.data().info().facts; tau_ == 0 && !known.contains("alpha")) {
      std::snprintf(line, sizeof line, ", if alpha is %.4g", alpha_);
      found += line;
    }
    out.summarise(found);
  }

 private:
  static std::size_t topic_of(topic_sizes const& known, std::int32_t word) {
    return static_cast<std::size_t>(known.topic[static_cast<std::size_t>(word)]);
  }

  [[noreturn]] void too_many_topics(std::size_t item) const {
    throw wf::usage_error("item " + std::to_string(item) + " has more than topics_per_document = " + std::to_string(tau_) +
                          " topics; set it as in the source, or 0 and the source's alpha");
  }

  /// Probability of one word of each topic, given how many words of each topic were seen.
  void predict(std::vector<std::size_t> const& seen, topic_sizes const& known, std::size_t total, std::size_t item,
               std::vector<double>& probability) const {
    double const topics = static_cast<double>(seen.size());
    if (tau_ == 0) {
      for (std::size_t t = 0; t < seen.size(); ++t)
        probability[t] = known.words[t] == 0 ? 0
                                             : (static_cast<double>(seen[t]) + alpha_) /
                                                   (static_cast<double>(total) + topics * alpha_) / known.words[t];
      return;
    }
    double distinct = 0, tau = static_cast<double>(tau_);
    for (std::size_t const n : seen) distinct += n > 0;
    if (distinct > tau) too_many_topics(item);
    double const unseen = distinct < topics ? (tau - distinct) / (topics - distinct) / tau : 0;
    for (std::size_t t = 0; t < seen.size(); ++t)
      probability[t] = known.words[t] == 0 ? 0 : (seen[t] > 0 ? 1 / tau : unseen) / known.words[t];
  }

  double p_m_, p_c_, p_r_, alpha_;
  std::size_t tau_;
  std::uint64_t seed_;
};

}  // namespace

WAYFARER_PROBE(
    bayes_floor, "1.0.0",
    "The exact posterior-predictive loss of masked words: no model that sees the unmasked words can beat it",
    wf::port::source("source", "documents whose words have known topics"),
    wf::param("p_m", 0.15, "probability that a word is masked").between(0, 1).fact("p_m"),
    wf::param("p_c", 0.1, "share of masked positions that show the correct word").between(0, 1).fact("p_c"),
    wf::param("p_r", 0.1, "share of masked positions that show a random word").between(0, 1).fact("p_r"),
    wf::param("alpha", 0.1, "Dirichlet parameter of the process that made the documents").fact("alpha").between(1e-6, 1e6),
    wf::param("topics_per_document", 0, "tau, if the process mixes that many topics evenly; 0: Dirichlet")
        .fact("topics_per_document")
        .at_least(0),
    wf::param("seed", 0, "seed of the masks; if it is not given, the pipeline's").at_least(0));
