// Topics of a model's tokens, from a topic model fitted to text (lda_fit): which tokens are words of which topics.
//
// Li, Li and Risteski 2023, measurements on pretrained models; notes (e). A word with many topics carries little information,
// so one of two filters selects words (the paper's "ambiguity threshold" is one of them):
//   per_word   the word's topics by exp(E[log beta]), as shares of their sum, largest first: those of at least `threshold`, at
//              most `most_topics` of them
//   per_topic  a topic's words are its likeliest `fraction` of the vocabulary; a word has the topics that keep it
// Only whole words count: a token that stands for a word's text and begins a word. Immutable once made; any thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/ops.hpp>

#include "probes/common/digamma.hpp"
#include "probes/common/words.hpp"

namespace wayfarer::topics {

struct topic_choice {
  bool per_topic = false;
  double threshold = 0, fraction = 0.001;
  std::size_t most_topics = 1;
};

/// The topics of each word of a fitted model, [word]; none: the word is left out.
inline std::vector<std::vector<std::int32_t>> topics_of_words(dataset const& topic_word, dataset const& topic_total,
                                                              topic_choice const& choice) {
  tensor const p = topic_word.values().to(dtype::f32);
  if (p.rank() != 2 || topic_total.values().count() != p.size(0))
    throw usage_error(
        "the topics must come from a topic model such as lda_fit: topic_word [topic, word] and topic_total [topic]");
  std::size_t const K = p.size(0), V = p.size(1);
  auto const of = p.view<float const>();
  std::vector<std::vector<std::int32_t>> topics(V);
  if (choice.per_topic) {
    auto const keep = static_cast<std::size_t>(static_cast<double>(V) * choice.fraction) + 1;
    for (std::size_t k = 0; k < K; ++k)
      for (auto const w : top_k(std::span<float const>(of.row(k)), keep))
        topics[static_cast<std::size_t>(w)].push_back(static_cast<std::int32_t>(k));
    return topics;
  }
  std::vector<double> total(K), log_total(K), weight(K);
  for (std::size_t k = 0; k < K; ++k) total[k] = topic_total.values().get({k}), log_total[k] = digamma(total[k]);
  std::vector<std::size_t> order(K);
  for (std::size_t w = 0; w < V; ++w) {
    double sum = 0;
    for (std::size_t k = 0; k < K; ++k) {
      double const lambda = static_cast<double>(of(k, w)) * total[k];
      weight[k] = lambda > 0 ? std::exp(digamma(lambda) - log_total[k]) : 0;
      if (weight[k] < 1e-8) weight[k] = 0;  // as gensim's get_term_topics
      sum += weight[k], order[k] = k;
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return weight[a] > weight[b]; });
    for (std::size_t r = 0; r < std::min(choice.most_topics, K); ++r)
      if (weight[order[r]] > 0 && weight[order[r]] / sum >= choice.threshold)
        topics[w].push_back(static_cast<std::int32_t>(order[r]));
    std::sort(topics[w].begin(), topics[w].end());
  }
  return topics;
}

/// Topics of tokens.
class token_topics {
 public:
  /// `inputs` has the port "topics". Throws usage_error if the topic model does not name its words or the model has no tokenizer.
  token_topics(metric_input const& inputs, model const& m, topic_choice const& choice) {
    auto const& topic_word = inputs.at("topics", "topic_word");
    auto const* names = topic_word.find_labels("word");
    if (!names)
      throw usage_error(
          "the topic model does not name its words, so they can't be found among tokens; fit it to texts, or to "
          "documents with a vocabulary file");
    auto const* tokenizer = m.text_tokenizer();
    if (!tokenizer)
      throw usage_error(m.info().architecture +
                        " has no tokenizer, so words can't be found among its tokens; put its tokenizer's "
                        "files into the model's folder");
    auto const of_words = topics_of_words(topic_word, inputs.at("topics", "topic_total"), choice);
    topics = topic_word.values().size(0);
    std::unordered_map<std::string_view, std::size_t> number;
    for (std::size_t w = 0; w < names->size(); ++w) number.emplace((*names)[w], w);
    of_token.resize(m.info().vocabulary);
    begins.resize(m.info().vocabulary);
    letters.resize(m.info().vocabulary);
    for (std::size_t t = 0; t < std::min(of_token.size(), tokenizer->vocabulary()); ++t) {
      auto const id = static_cast<std::int32_t>(t);
      std::string const text = words::spelling_of(*tokenizer, id);
      begins[t] = tokenizer->begins_word(id);
      letters[t] = words::begins_with_letter(text);
      if (!words::begins_word(*tokenizer, id, text)) continue;
      auto const found = number.find(words::lower_case(text));
      if (found != number.end()) of_token[t] = of_words[found->second];
    }
  }

  bool has_topic(std::int32_t token) const noexcept { return !of_token[static_cast<std::size_t>(token)].empty(); }
  bool share_topic(std::int32_t a, std::int32_t b) const noexcept {
    auto const &x = of_token[static_cast<std::size_t>(a)], &y = of_token[static_cast<std::size_t>(b)];
    for (std::size_t i = 0, j = 0; i < x.size() && j < y.size();) {
      if (x[i] == y[j]) return true;
      x[i] < y[j] ? ++i : ++j;
    }
    return false;
  }
  /// Whether the token at a position is a word by itself: the next token does not continue it.
  bool whole_word(std::span<std::int32_t const> tokens, std::size_t at) const noexcept {
    auto const here = static_cast<std::size_t>(tokens[at]);
    if (!begins[here]) return false;
    if (at + 1 == tokens.size()) return true;
    auto const next = static_cast<std::size_t>(tokens[at + 1]);
    return begins[next] || !letters[next];
  }

  std::size_t topics = 0;
  std::vector<std::vector<std::int32_t>> of_token;  ///< [token], ascending; empty: not a word with a topic

 private:
  std::vector<std::uint8_t> begins, letters;  ///< [token]: begins a word; its text begins with a letter
};

/// The same for all blocks of a run: made at the first request.
class shared_token_topics {
 public:
  std::shared_ptr<token_topics const> of(metric_input const& inputs, model const& m, topic_choice const& choice) const {
    void const* const key = inputs.at("topics", "topic_word").values().raw();
    std::scoped_lock const lock(mutex_);
    if (!made_ || key_ != key || model_ != &m)
      made_ = std::make_shared<token_topics const>(inputs, m, choice), key_ = key, model_ = &m;
    return made_;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::shared_ptr<token_topics const> made_;
  mutable void const* key_ = nullptr;
  mutable model const* model_ = nullptr;
};

}  // namespace wayfarer::topics
