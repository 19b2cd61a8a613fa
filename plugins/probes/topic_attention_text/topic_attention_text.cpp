// Does a model trained on real text attend to words of the same topic? Average attention between the same word, different words
// of one topic, and words of different topics, for every head. Li, Li and Risteski 2023, measurements on pretrained models; notes
// (d2) and (e).
//
//     topics:    {probe: lda_fit, source: articles}
//     attention: {probe: topic_attention_text, model: bert, source: articles, topics: topics}
//
// Only pairs of tokens that are whole words with a topic count, on both sides. Attention is rescaled to texts of `ref_length`
// tokens, so that uniform attention is 1 / ref_length. Averages are pooled over all texts.
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/pooled.hpp"
#include "probes/common/word_topics.hpp"
#include "probes/common/words.hpp"

namespace wf = wayfarer;
using namespace wayfarer::topics;

namespace {

enum pair_class : std::uint8_t { same_token, topic, non_topic, classes };
constexpr std::array<char const*, classes> class_names{"same_token", "topic", "non_topic"};
constexpr std::array<char const*, classes> class_meaning{"a word and itself, or the same word again",
                                                         "different words that share a topic", "words that share no topic"};

}  // namespace

struct topic_attention_text final : wf::probe {
  explicit topic_attention_text(wf::config const& c) : hooks_(c["hooks"].texts()), reference_(c["ref_length"]) {
    choice_.per_topic = c["filter"].text() == "per_topic";
    choice_.threshold = c["threshold"], choice_.fraction = c["fraction"], choice_.most_topics = c["most_topics"];
    for (auto const& word : c["stop_words"].texts()) stop_.insert(wf::words::lower_case(word));
  }

  wf::hook_set needs(wf::model_info const& model) const override {
    auto const hooks = model.hooks_for(hooks_);
    for (auto const& name : hooks.names()) {
      auto const* h = model.find_hook(name);
      if (!h->per_pair || h->along != wf::positions::tokens || h->keys != wf::positions::tokens)
        throw wf::usage_error(
            name +
            " is no attention of a text to itself; choose hooks like *.attn.hook_pattern of the encoder or of a "
            "decoder-only model");
    }
    return hooks;
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    acc.define_rows("attention", {{"layer", needs(model).size()}, {"head", model.heads}, {"class", classes}});
    acc.define_rows("pairs", {{"class", classes}});
    acc.define_rows("words", {});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const topics = topics_.of(at.inputs(), at.model(), choice_);
    auto const layers = needs(at.model().info()).names();
    for (std::size_t d = 0; d < block.size(); ++d) {
      auto const tokens = block[d].tokens();
      std::vector<std::size_t> words;  // positions
      for (std::size_t p = 0; p < tokens.size(); ++p)
        if (topics->has_topic(tokens[p]) && topics->whole_word(tokens, p) && !stops(tokens[p], at.model())) words.push_back(p);
      acc["words"](d) = static_cast<double>(words.size());

      std::vector<pair_class> pairs;  // [query, key]
      std::array<double, classes> count{};
      for (auto const query : words)
        for (auto const key : words) {
          pairs.push_back(tokens[query] == tokens[key]                      ? same_token
                          : topics->share_topic(tokens[query], tokens[key]) ? topic
                                                                            : non_topic);
          ++count[pairs.back()];
        }
      for (std::size_t c = 0; c < classes; ++c) acc["pairs"](d, c) = count[c];

      double const scale = static_cast<double>(tokens.size()) / reference_;
      for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        auto const pattern = block[d][layers[layer]].to(wf::dtype::f32);
        auto const from = pattern.view<float const>();  // [head, query, key]
        for (std::size_t head = 0; head < from.size(0); ++head) {
          std::array<double, classes> sum{};
          std::size_t p = 0;
          for (auto const query : words)
            for (auto const key : words) sum[pairs[p++]] += double{from(head, query, key)};
          for (std::size_t c = 0; c < classes; ++c) acc["attention"](d, layer, head, c) = scale * sum[c];
        }
      }
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const &attention = acc["attention"], &pairs = acc["pairs"];  // [item, layer, head, class], [item, class]
    std::size_t const texts = attention.size(0);
    wf::dims const per_head{{"layer", attention.size(1)}, {"head", attention.size(2)}};
    auto const names = needs(at.model().info()).names();
    auto const pool = [&](std::size_t layer, std::size_t head, std::size_t c) {
      std::vector<double> sum(texts), count(texts);
      for (std::size_t d = 0; d < texts; ++d) sum[d] = attention(d, layer, head, c), count[d] = pairs(d, c);
      return pooled_average(sum, count);
    };
    std::string const none = "no text has such a pair";
    constexpr char by_head[] = R"({"kind": "heatmap", "rows": "layer", "columns": "head"})";
    auto const add = [&](std::string const& name, std::string const& about, auto const& of) {
      wf::tensor value(wf::dtype::f64, per_head), error(wf::dtype::f64, per_head);
      for (std::size_t l = 0; l < per_head[0].size; ++l)
        for (std::size_t h = 0; h < per_head[1].size; ++h) {
          pooled const p = of(l, h);
          value(l, h) = p.value, error(l, h) = p.standard_error();
        }
      out.add(name, value).about(about).labels("layer", names).missing(none).view(by_head);
      out.add(name + "_standard_error", error)
          .about("standard error over texts: " + about)
          .labels("layer", names)
          .missing(none + "; or there are fewer than two texts")
          .view(by_head);
      return value;
    };
    for (std::size_t c = 0; c < classes; ++c) {
      std::string const name = class_names[c], what = class_meaning[c];
      double count = 0;
      for (std::size_t d = 0; d < texts; ++d) count += pairs(d, c);
      out.add(name + "_count", count).units("ordered pairs").about("pairs of positions: " + what);
      auto const average = add(name + "_average", "mean attention over " + what, [&](auto l, auto h) { return pool(l, h, c); });
      out.add(name + "_relative", average * reference_)
          .about("mean attention over " + what + ", in units of uniform attention")
          .labels("layer", names)
          .missing(none)
          .view(by_head);
    }
    add("difference", "mean attention within topics less that between topics",
        [&](auto l, auto h) { return pool(l, h, topic) - pool(l, h, non_topic); });
    auto const ratio = add("ratio", "mean attention within topics over that between topics",
                           [&](auto l, auto h) { return pool(l, h, topic) / pool(l, h, non_topic); });
    double words = 0, mean = 0;
    for (std::size_t d = 0; d < texts; ++d) words += acc["words"](d);
    for (double const r : ratio.values<double const>()) mean += r / static_cast<double>(ratio.count());
    out.add("words", acc["words"]).units("token").about("whole words with a topic in each text").view("histogram");
    out.add("mean_ratio", mean).about("mean of ratio over heads").missing(none);
    out.summarise(wf::told(words, 17) + " words in " + wf::counted(texts, "text") + "; attention within topics " +
                  wf::told(mean) + " times that between");
  }

 private:
  bool stops(std::int32_t token, wf::model const& m) const {
    if (stop_.empty()) return false;
    std::string text = wf::words::lower_case(m.token_text(token));
    text.erase(0, text.find_first_not_of(' ') == text.npos ? text.size() : text.find_first_not_of(' '));
    return stop_.count(text) != 0;
  }

  std::vector<std::string> hooks_;
  double reference_;
  topic_choice choice_;
  std::unordered_set<std::string> stop_;
  shared_token_topics topics_;
};

WAYFARER_PROBE(topic_attention_text, "1.0.0", "Attention of a pretrained model within and between topics of real text, per head",
               wf::port::model("model"), wf::port::source("source", "texts"),
               wf::port::results("topics", "node that fitted the topics: lda_fit"),
               wf::param("hooks", wf::strings("*.attn.hook_pattern"), "attention patterns to read, in layer order"),
               wf::param("filter", "per_word", "which words count for which topics").one_of("per_word|per_topic"),
               wf::param("threshold", 0.0, "per_word: least share of a word's topic").between(0, 1),
               wf::param("most_topics", 1, "per_word: topics of a word at most").at_least(1),
               wf::param("fraction", 0.001, "per_topic: share of the vocabulary that a topic keeps").between(0, 1),
               wf::param("stop_words", wf::strings(""), "words that don't count"),
               wf::param("ref_length", 100, "attention is rescaled to texts of this length").in("token").at_least(1));
