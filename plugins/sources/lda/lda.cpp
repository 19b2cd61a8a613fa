// Documents drawn from latent Dirichlet allocation with disjoint topics: the data of "How Do Transformers Learn Topic Structure"
// (arXiv 2303.04245). The experiments have topic weights theta ~ Dirichlet(alpha), the theory tau distinct topics a document, evenly mixed.
//
// Topic t owns the words t*v .. t*v + v-1, all equally probable. A document is a pure function of (seed, split, index) and is made anew
// whenever it is asked for, so memory does not depend on the number of documents. With `path` the documents of a file take the place of
// generated ones and the topics stay what the parameters say.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <wayfarer/random.hpp>
#include <wayfarer/source.hpp>

#include "document_file.hpp"

namespace {

namespace wf = wayfarer;

/// Draws the first word of a random topic in constant time from one 32-bit number (alias method, Walker 1977; Vose 1991): the number
/// picks a column, and what is left of it chooses between the two topics that share the column. Probabilities are multiples of
/// columns / 2^32.
class topic_table {
 public:
  explicit topic_table(std::uint32_t words_per_topic) : words_per_topic_(words_per_topic) {}

  /// Topic t with probability weights[t] / sum. At least one weight is above 0.
  void set(std::vector<double> const& weights) {
    std::size_t const n = weights.size();
    double const scale = static_cast<double>(n) / std::accumulate(weights.begin(), weights.end(), 0.0);
    cut_.resize(n), first_word_.resize(2 * n), left_.resize(n);
    small_.clear(), large_.clear();
    for (std::size_t t = 0; t < n; ++t) {
      left_[t] = weights[t] * scale;
      (left_[t] < 1 ? small_ : large_).push_back(static_cast<std::uint32_t>(t));
    }
    while (!small_.empty() && !large_.empty()) {
      std::uint32_t const s = small_.back(), l = large_.back();
      small_.pop_back();
      column(s, left_[s], l);
      left_[l] -= 1 - left_[s];
      if (left_[l] < 1) {
        large_.pop_back();
        small_.push_back(l);
      }
    }
    // What rounding leaves over is full columns.
    for (auto const* rest : {&small_, &large_})
      for (std::uint32_t const t : *rest) column(t, 1, t);
  }

  /// One of these topics, all equally probable.
  void set(std::vector<std::uint32_t> const& topics, std::size_t n) {
    cut_.resize(n), first_word_.resize(2 * n);
    for (std::size_t i = 0; i < n; ++i) {
      cut_[i] = 0;
      first_word_[2 * i] = first_word_[2 * i + 1] = static_cast<std::int32_t>(topics[i] * words_per_topic_);
    }
  }

  std::int32_t first_word(std::uint32_t bits) const noexcept {
    std::uint64_t const m = std::uint64_t{bits} * cut_.size();
    std::size_t const c = m >> 32;
    return first_word_[2 * c + (static_cast<std::uint32_t>(m) >= cut_[c])];
  }

 private:
  void column(std::uint32_t t, double share, std::uint32_t other) {
    cut_[t] = static_cast<std::uint32_t>(std::clamp(share * 0x1p32, 0.0, 0x1p32 - 1));
    first_word_[2 * t] = static_cast<std::int32_t>(t * words_per_topic_);
    first_word_[2 * t + 1] = static_cast<std::int32_t>((share < 1 ? other : t) * words_per_topic_);
  }

  std::uint32_t words_per_topic_;
  std::vector<std::uint32_t> cut_;
  std::vector<std::int32_t> first_word_;  // of both topics of each column
  std::vector<double> left_;
  std::vector<std::uint32_t> small_, large_;
};

struct lda final : wf::source {
  explicit lda(wf::config const& c)
      : topics_(c["topics"]), words_per_topic_(c["words_per_topic"]), length_min_(c["length_min"]), length_max_(c["length_max"]),
        tau_(c["topics_per_document"]), alpha_(c["alpha"]), seed_(c.seed()), stream_(wf::stream_id("lda." + c["split"].text())) {
    wf::document_limits limits;
    limits.bytes = static_cast<std::size_t>(c["limit"].integer()) << 20;
    std::size_t const vocabulary = std::size_t{topics_} * words_per_topic_;
    if (vocabulary > limits.words)
      throw wf::usage_error("topics x words_per_topic is " + std::to_string(vocabulary) + ", and at most " + std::to_string(limits.words) +
                            " words are supported; lower one of them");
    if (length_min_ > length_max_)
      throw wf::usage_error("length_min " + std::to_string(length_min_) + " is above length_max " + std::to_string(length_max_) +
                            "; exchange them");
    if (tau_ > topics_)
      throw wf::usage_error("topics_per_document " + std::to_string(tau_) + " is above topics " + std::to_string(topics_) + "; lower it");

    for (std::size_t w = 0; w < vocabulary; ++w) info_.words.push_back(std::to_string(w));
    info_.vocabulary = vocabulary;
    info_.has_words = true;
    std::vector<std::int32_t> topic(vocabulary);
    for (std::size_t w = 0; w < vocabulary; ++w) topic[w] = static_cast<std::int32_t>(w / words_per_topic_);
    info_.truth["topic_of_word"] = wf::tensor::of(topic, {{"word", vocabulary}});

    if (std::string const& path = c["path"].text(); !path.empty()) {
      file_ = std::make_unique<wf::document_table>(wf::read_documents(path, wf::document_format::reference, limits, info_.words,
                                                                      "the vocabulary (topics x words_per_topic)"));
      info_.items = file_->documents.size();
      info_.longest = file_->longest;
    } else {
      info_.items = static_cast<std::size_t>(c["documents"].integer());
      info_.longest = length_max_;
    }
  }

  wf::source_info const& info() const override { return info_; }

  wf::item_block read(wf::item_range range) const override {
    if (file_) return wf::block_of(*file_, range);
    wf::item_block block;
    block.first = range.first, block.count = range.size();
    auto& words = block.words;
    words.offsets.reserve(range.size() + 1);
    words.values.resize(range.size() * length_max_);
    topic_table table(words_per_topic_);
    std::vector<double> theta(topics_);
    std::vector<std::uint32_t> order(topics_);
    std::size_t at = 0;
    for (std::size_t i = range.first; i < range.last; ++i) {
      wf::random_stream draw(seed_, stream_, i);
      std::size_t const length = length_min_ + draw.below(length_max_ - length_min_ + 1);
      if (tau_ > 0) choose_topics(draw, order, table);
      else draw_theta(draw, theta, table);
      std::int32_t* const out = words.values.data() + at;
      for (std::size_t k = 0; k < length; ++k) {
        std::int32_t const first = table.first_word(draw.bits());
        out[k] = first + static_cast<std::int32_t>(std::uint64_t{draw.bits()} * words_per_topic_ >> 32);
      }
      at += length;
      words.offsets.push_back(at);
    }
    words.values.resize(at);
    return block;
  }

 private:
  /// theta ~ Dirichlet(alpha, ..., alpha), as gamma draws up to a common factor: with a small alpha all of them may underflow, their
  /// logarithms do not.
  void draw_theta(wf::random_stream& draw, std::vector<double>& theta, topic_table& table) const {
    for (double& t : theta) t = draw.log_gamma_draw(alpha_);
    double const largest = *std::max_element(theta.begin(), theta.end());
    for (double& t : theta) t = std::exp(t - largest);
    table.set(theta);
  }

  /// tau topics out of all, each set equally probable: the beginning of a shuffle.
  void choose_topics(wf::random_stream& draw, std::vector<std::uint32_t>& order, topic_table& table) const {
    std::iota(order.begin(), order.end(), 0u);
    for (std::uint32_t i = 0; i < tau_; ++i) std::swap(order[i], order[i + draw.below(topics_ - i)]);
    table.set(order, tau_);
  }

  std::uint32_t topics_, words_per_topic_, length_min_, length_max_, tau_;
  double alpha_;
  std::uint64_t seed_;
  std::uint32_t stream_;
  std::unique_ptr<wf::document_table const> file_;  // null: documents are generated
  wf::source_info info_;
};

}  // namespace

WAYFARER_SOURCE(lda, "1.0.0", "Documents from latent Dirichlet allocation with disjoint topics, generated or read from a file",
    wf::param("topics", 10, "topics").between(1, 1 << 24),
    wf::param("words_per_topic", 10, "words of a topic, all equally probable; no word is in two topics").between(1, 1 << 24),
    wf::param("documents", 10000, "documents to generate; those of a file are always all read").between(1, 2147483647),
    wf::param("length_min", 100, "shortest document; lengths are uniform").in("words").between(0, 1 << 24),
    wf::param("length_max", 150, "longest document").in("words").between(1, 1 << 24),
    wf::param("alpha", 0.1, "Dirichlet parameter of each topic's weight in a document").between(1e-6, 1e6),
    wf::param("topics_per_document", 0, "tau: mix this many distinct topics evenly instead of drawing weights; 0: use alpha").at_least(0),
    wf::param("seed", 0, "seed of the documents; if it is not given, the pipeline's").at_least(0),
    wf::param("split", "train", "any word; another word gives other documents under the same seed"),
    wf::param::file("path", "", "read this file (word numbers, then END; plain, .gz or .bz2) instead of generating; topics stay as stated"),
    wf::param("limit", 4096, "most that a file may hold unpacked").in("MiB").between(1, 1 << 20));
