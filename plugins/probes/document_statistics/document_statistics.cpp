// What a set of documents is like: how many, how long, how much of one topic; the check that data are the data they should be.
//
// Pairs are ordered pairs of distinct positions of one document, pooled over all documents. With topic weights from a symmetric
// Dirichlet(alpha) over T topics, P(same topic) is (alpha + 1) / (T alpha + 1), and P(same word) is that over the words of a
// topic.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

namespace {

namespace wf = wayfarer;

/// Topic of each word, or nothing where the source does not know: then only words are counted.
std::vector<std::int32_t> topics_of_words(wf::source_info const& info) {
  auto const truth = info.truth.find("topic_of_word");
  if (truth == info.truth.end()) return {};
  auto const of = truth->second.values<std::int32_t const>();
  std::vector<std::int32_t> topics(of.begin(), of.end());
  if (topics.size() != info.vocabulary || std::any_of(topics.begin(), topics.end(), [&](std::int32_t t) {
        return t < 0 || static_cast<std::size_t>(t) >= info.vocabulary;
      }))
    throw wf::plugin_error("the source's topic_of_word is not one topic, numbered from 0, for each of its words");
  return topics;
}

std::size_t number_of(std::vector<std::int32_t> const& topics) {
  return topics.empty() ? 0 : static_cast<std::size_t>(*std::max_element(topics.begin(), topics.end())) + 1;
}

struct document_statistics final : wf::probe {
  explicit document_statistics(wf::config const&) {}

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& info = at.data().info();
    if (!info.has_words)
      throw wf::usage_error("document_statistics counts words, and the source has none; use a source of words");
    auto const topics = topics_of_words(info);
    acc.define("word_count", {{"word", info.vocabulary}});
    for (auto const* sum : {"documents", "words", "pairs", "same_word_pairs", "longest", "shortest_and_one"}) acc.define(sum, {});
    if (topics.empty()) return;
    acc.define("documents_with_topics", {{"distinct_topics", number_of(topics) + 1}});
    for (auto const* sum : {"same_topic_pairs", "squared_shares", "documents_not_empty"}) acc.define(sum, {});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& info = at.data().info();
    auto const topics = topics_of_words(info);
    auto const word_count = acc["word_count"].values<double>();
    std::vector<std::uint32_t> here(info.vocabulary), of_topic(number_of(topics));
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const words = block[i].words();
      double const n = static_cast<double>(words.size());
      double same_word = 0, same_topic = 0, shares = 0;
      std::size_t distinct = 0;
      for (std::int32_t const w : words) {
        if (w < 0 || static_cast<std::size_t>(w) >= info.vocabulary)
          throw wf::plugin_error("item " + std::to_string(block[i].index()) + " has word " + std::to_string(w) +
                                 ", outside its source's vocabulary of " + std::to_string(info.vocabulary));
        word_count[static_cast<std::size_t>(w)] += 1;
        same_word += 2.0 * here[static_cast<std::size_t>(w)]++;
      }
      for (std::int32_t const w : words) here[static_cast<std::size_t>(w)] = 0;

      acc["documents"]() += 1;
      acc["words"]() += n;
      acc["pairs"]() += n * (n - 1);
      acc["same_word_pairs"]() += same_word;
      keep_range(acc, n + 1, n);
      if (topics.empty()) continue;

      std::fill(of_topic.begin(), of_topic.end(), 0);
      for (std::int32_t const w : words) ++of_topic[static_cast<std::size_t>(topics[static_cast<std::size_t>(w)])];
      for (double const k : of_topic) {
        distinct += k > 0;
        same_topic += k * (k - 1);
        if (n > 0) shares += k / n * (k / n);
      }
      acc["documents_with_topics"](distinct) += 1;
      acc["same_topic_pairs"]() += same_topic;
      acc["squared_shares"]() += shares;
      acc["documents_not_empty"]() += n > 0;
    }
  }

  void merge(wf::accumulator& into, wf::accumulator const& from) const override {
    double const longest = into["longest"](), shortest = into["shortest_and_one"]();
    into.append(from);
    into["longest"]() = longest, into["shortest_and_one"]() = shortest;
    if (from["shortest_and_one"]() > 0) keep_range(into, from["shortest_and_one"](), from["longest"]());
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    double const documents = acc["documents"](), words = acc["words"]();
    double const pairs = acc["pairs"]() > 0 ? acc["pairs"]() : std::nan("");
    if (words == 0) throw wf::data_error("the documents observed hold no word, so there is nothing to count");
    out.add("documents", documents).about("documents");
    out.add("words", words).about("words of all documents");
    out.add("mean_length", words / documents).about("mean length of a document").units("words");
    out.add("shortest", acc["shortest_and_one"]() - 1).about("length of the shortest document").units("words");
    out.add("longest", acc["longest"]()).about("length of the longest document").units("words");
    out.add("same_word_probability", acc["same_word_pairs"]() / pairs)
        .about("share of pairs of positions that hold the same word")
        .missing("no document has two words");

    auto const frequency = acc["word_count"] / words;
    auto const all = frequency.values<double const>();
    auto& frequencies = out.add("word_frequency", frequency).about("share of each word in all words").view("bars");
    if (auto const& names = at.data().info().words; !names.empty()) frequencies.labels("word", names);
    out.add("distinct_words", static_cast<double>(std::count_if(all.begin(), all.end(), [](double f) { return f > 0; })))
        .about("words that occur");
    out.add("least_word_frequency", *std::min_element(all.begin(), all.end())).about("frequency of the rarest word");
    out.add("greatest_word_frequency", *std::max_element(all.begin(), all.end())).about("frequency of the commonest word");

    std::size_t const commonest = static_cast<std::size_t>(std::max_element(all.begin(), all.end()) - all.begin());
    auto const& known = at.data().info().words;
    out.summarise(wf::counted(static_cast<std::size_t>(documents), "document") + " of " + wf::told(words / documents, 4) +
                  " words; the commonest is " +
                  (commonest < known.size() ? "'" + known[commonest] + "'" : "number " + std::to_string(commonest)) + " with " +
                  wf::told(100 * all[commonest]) + " %");
    if (topics_of_words(at.data().info()).empty()) return;

    auto const& histogram = acc["documents_with_topics"];
    double distinct = 0;
    for (std::size_t k = 0; k < histogram.size(0); ++k) distinct += static_cast<double>(k) * histogram(k);
    out.add("documents_with_topics", histogram).about("documents with that many distinct topics").view("bars");
    out.add("mean_distinct_topics", distinct / documents).about("mean number of distinct topics of a document");
    out.add("mean_squared_shares", acc["squared_shares"]() / acc["documents_not_empty"]())
        .about("mean over documents of the sum over topics of (n_t / N)^2");
    out.add("same_topic_probability", acc["same_topic_pairs"]() / pairs)
        .about("share of pairs of positions whose words have the same topic")
        .missing("no document has two words");
  }

 private:
  static void keep_range(wf::accumulator& acc, double shortest_and_one, double longest) {
    double& s = acc["shortest_and_one"]();  // 0: no document yet
    s = s == 0 ? shortest_and_one : std::min(s, shortest_and_one);
    double& l = acc["longest"]();
    l = std::max(l, longest);
  }
};

}  // namespace

WAYFARER_PROBE(document_statistics, "1.0.0",
               "Counts of documents, words and topics, and how often two words of a document are alike",
               wf::port::source("source", "documents to count"));
