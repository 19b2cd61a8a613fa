// Documents drawn from latent Dirichlet allocation with disjoint topics: the data of "How Do Transformers Learn Topic Structure"
// (arXiv 2303.04245). The experiments have topic weights theta ~ Dirichlet(alpha), the theory tau distinct topics a document,
// evenly mixed.
//
// Topic t owns the words t*v .. t*v + v-1, all equally probable. A document is a pure function of (seed, split, index) and is
// generated at each request, so memory does not depend on the number of documents. With `path` the documents of a file
// replace generated ones; the parameters then describe the process that made the file.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/random.hpp>
#include <wayfarer/source.hpp>

#include "sources/common/document_file.hpp"

namespace {

namespace wf = wayfarer;

struct lda final : wf::source {
  explicit lda(wf::config const& c)
      : topics_(c["topics"]),
        words_per_topic_(c["words_per_topic"]),
        length_min_(c["length_min"]),
        length_max_(c["length_max"]),
        tau_(c["topics_per_document"]),
        alpha_(c["alpha"]),
        seed_(c.seed()),
        stream_(wf::stream_id("lda." + c["split"].text())) {
    wf::document_limits limits;
    limits.bytes = static_cast<std::size_t>(c["limit"].integer()) << 20;
    std::size_t const vocabulary = std::size_t{topics_} * words_per_topic_;
    if (vocabulary > limits.words)
      throw wf::usage_error("topics x words_per_topic is " + std::to_string(vocabulary) + ", and at most " +
                            std::to_string(limits.words) + " words are supported; lower one of them");
    if (length_min_ > length_max_)
      throw wf::usage_error("length_min " + std::to_string(length_min_) + " is above length_max " + std::to_string(length_max_) +
                            "; exchange them");
    if (tau_ > topics_)
      throw wf::usage_error("topics_per_document " + std::to_string(tau_) + " is above topics " + std::to_string(topics_) +
                            "; lower it");

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
      info_.notes = file_->notes;
    } else {
      info_.items = static_cast<std::size_t>(c["documents"].integer());
      info_.longest = length_max_;
      for (auto const* name : {"length_min", "length_max"}) info_.facts[name] = c[name];
    }
    // Of a file as well: the parameters say what process made it.
    for (auto const* name : {"topics", "words_per_topic", "topics_per_document"}) info_.facts[name] = c[name];
    if (tau_ == 0) info_.facts["alpha"] = c["alpha"];
    info_.facts["vocabulary"] = wf::param_value(static_cast<std::int64_t>(vocabulary));
  }

  wf::source_info const& info() const override { return info_; }

  wf::item_block read(wf::item_range range) const override {
    if (file_) return wf::block_of(*file_, range);
    wf::item_block block;
    block.first = range.first, block.count = range.size();
    auto& words = block.words;
    words.offsets.reserve(range.size() + 1);
    words.values.resize(range.size() * length_max_);
    std::vector<std::int32_t> first_words(std::max(length_max_, topics_));  // of the topics drawn
    std::size_t at = 0;
    for (std::size_t i = range.first; i < range.last; ++i) {
      wf::random_stream draw(seed_, stream_, i);
      std::size_t const length = length_min_ + draw.below(length_max_ - length_min_ + 1);
      std::int32_t* const out = words.values.data() + at;
      if (tau_ > 0)
        mix_evenly(draw, {out, length}, first_words);
      else
        mix_by_dirichlet(draw, {out, length}, first_words);
      at += length;
      words.offsets.push_back(at);
    }
    words.values.resize(at);
    return block;
  }

 private:
  /// theta is integrated out: given the topics of the words before it, word k has a topic that was not drawn from them with
  /// probability T alpha / (T alpha + k), any topic being as good as another, and else that of one of them (Blackwell and
  /// MacQueen 1973). Documents have exactly the distribution that drawing theta first gives, at a cost that does not depend on
  /// the number of topics.
  void mix_by_dirichlet(wf::random_stream& draw, std::span<std::int32_t> out, std::span<std::int32_t> first_words) const {
    double const fresh = topics_ * alpha_;
    for (std::size_t k = 0; k < out.size(); ++k) {
      double const x = draw.bits() * 0x1p-32 * (fresh + static_cast<double>(k));
      std::int32_t const first = x < fresh ? static_cast<std::int32_t>(draw.below(topics_) * words_per_topic_)
                                           : first_words[static_cast<std::size_t>(x - fresh)];
      first_words[k] = first;
      out[k] = word_from(first, draw);
    }
  }

  /// tau topics out of all, each set equally probable (the beginning of a shuffle), and each word's topic any of them.
  void mix_evenly(wf::random_stream& draw, std::span<std::int32_t> out, std::span<std::int32_t> first_words) const {
    for (std::uint32_t t = 0; t < topics_; ++t) first_words[t] = static_cast<std::int32_t>(t * words_per_topic_);
    for (std::uint32_t i = 0; i < tau_; ++i) std::swap(first_words[i], first_words[i + draw.below(topics_ - i)]);
    for (std::int32_t& word : out) {
      std::int32_t const first = first_words[std::uint64_t{draw.bits()} * tau_ >> 32];
      word = word_from(first, draw);
    }
  }

  /// Any word of the topic whose first word this is; as everywhere here, to within 2^-32 of even.
  std::int32_t word_from(std::int32_t first, wf::random_stream& draw) const noexcept {
    return first + static_cast<std::int32_t>(std::uint64_t{draw.bits()} * words_per_topic_ >> 32);
  }

  std::uint32_t topics_, words_per_topic_, length_min_, length_max_, tau_;
  double alpha_;
  std::uint64_t seed_;
  std::uint32_t stream_;
  std::unique_ptr<wf::document_table const> file_;  // null: documents are generated
  wf::source_info info_;
};

}  // namespace

WAYFARER_SOURCE(
    lda, "1.0.0", "Documents from latent Dirichlet allocation with disjoint topics, generated or read from a file",
    wf::param("topics", 10, "topics").between(1, 1 << 24),
    wf::param("words_per_topic", 10, "words of a topic, all equally probable; no word is in two topics").between(1, 1 << 24),
    wf::param("documents", 10000, "documents to generate; those of a file are always all read").between(1, 2147483647),
    wf::param("length_min", 100, "shortest document; lengths are uniform").in("words").between(0, 1 << 20),
    wf::param("length_max", 150, "longest document").in("words").between(1, 1 << 20),
    wf::param("alpha", 0.1, "Dirichlet parameter of each topic's weight in a document").between(1e-6, 1e6),
    wf::param("topics_per_document", 0, "tau: mix this many distinct topics evenly instead of drawing weights; 0: use alpha")
        .at_least(0),
    wf::param("seed", 0, "seed of the documents; if it is not given, the pipeline's").at_least(0),
    wf::param("split", "train", "any word; another word gives other documents with the same seed"),
    wf::param::file(
        "path", "",
        "read this file (word numbers, then END; plain, .gz, .bz2 or .zst) instead of generating; the other parameters say "
        "how it was made"),
    wf::param("limit", 256, "limit of a file's size when unpacked").in("MiB").between(1, 1 << 20));
