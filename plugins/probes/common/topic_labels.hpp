// Which topic each token of a model belongs to: the ground truth against which the topic probes measure.
//
// Plain values, made by a probe from what it is wired to; any thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/probe.hpp>

namespace wayfarer::topics {

/// Topic of a token that has none: [PAD], [MASK], START, END.
inline constexpr std::int32_t no_topic = -1;

struct topic_labels {
  std::vector<std::int32_t> of_token;  ///< [token], a topic or no_topic
  std::size_t count = 0;               ///< number of topics
};

/// Topic of each word of the source's vocabulary, no_topic for words without one: the source's own truth "topic_of_word", or, for
/// a source that has words but no truth, word / words_per_topic.
inline std::vector<std::int32_t> topics_of_words(source_info const& source, std::size_t words_per_topic) {
  std::vector<std::int32_t> topic(source.vocabulary);
  auto const truth = source.truth.find("topic_of_word");
  if (truth != source.truth.end() && truth->second.count() != topic.size())
    throw data_error("the source names topics of " + std::to_string(truth->second.count()) + " words but has " +
                     std::to_string(topic.size()));
  for (std::size_t w = 0; w < topic.size(); ++w) {
    if (truth == source.truth.end()) {
      topic[w] = static_cast<std::int32_t>(w / words_per_topic);
      continue;
    }
    double const t = truth->second.get({w});
    if (!(t >= no_topic && t < 65536 && t == std::floor(t)))
      throw data_error("the topic of word " + std::to_string(w) + " is " + std::to_string(t) +
                       "; expected a whole number from -1 to 65535");
    topic[w] = static_cast<std::int32_t>(t);
  }
  return topic;
}

/// The true topics. Word w is token w + the model's fact "first_word"; of a model that doesn't say, words follow the special
/// tokens and are the last of its vocabulary. Without a source, the words start at token `first_word` and come in runs of
/// `words_per_topic`.
inline topic_labels true_labels(probe_context const& at, std::size_t words_per_topic, std::size_t first_word = 4) {
  std::size_t const vocabulary = at.model().info().vocabulary;
  std::vector<std::int32_t> words;
  if (at.has_data()) {
    words = topics_of_words(at.data().info(), words_per_topic);
    if (words.empty()) throw usage_error("the source has no words; topics are measured on sources such as lda and documents");
    auto const stated = at.model().info().facts.find("first_word");
    bool const says = stated != at.model().info().facts.end();
    if (words.size() + (says ? static_cast<std::size_t>(stated->second.integer()) : 0) > vocabulary)
      throw usage_error("the source has " + std::to_string(words.size()) + " words, the model only " +
                        std::to_string(vocabulary) + " tokens; give both the same topics and words_per_topic");
    first_word = says ? static_cast<std::size_t>(stated->second.integer()) : vocabulary - words.size();
  } else {
    if (first_word >= vocabulary)
      throw usage_error("first_word is " + std::to_string(first_word) + ", but the model has only " + std::to_string(vocabulary) +
                        " tokens");
    for (std::size_t w = 0; w < vocabulary - first_word; ++w) words.push_back(static_cast<std::int32_t>(w / words_per_topic));
  }
  topic_labels labels{std::vector<std::int32_t>(vocabulary, no_topic), 0};
  std::copy(words.begin(), words.end(), labels.of_token.begin() + static_cast<std::ptrdiff_t>(first_word));
  labels.count = static_cast<std::size_t>(*std::max_element(words.begin(), words.end())) + 1;
  return labels;
}

/// The labels of the paper's published code, which looks token ids up as if they were word numbers: every word gets the topic of
/// the word as many places later as there are special tokens, START gets a topic, and the last words have none.
inline topic_labels published_labels(probe_context const& at, std::size_t words_per_topic) {
  topic_labels labels = true_labels(at, words_per_topic);
  auto const words = topics_of_words(at.data().info(), words_per_topic);
  std::fill(labels.of_token.begin(), labels.of_token.end(), no_topic);
  std::copy(words.begin(), words.end(), labels.of_token.begin());
  return labels;
}

}  // namespace wayfarer::topics
