// Do words attend to words of their own topic? Average attention between the same token, different words of one topic, and words
// of different topics, for every head. Li, Li and Risteski 2023, section on topic-wise attention.
//
// `labels: repo` repeats a mistake of the paper's published code (see published_labels), so that its counts can be reproduced.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/pooled.hpp"
#include "probes/common/topic_labels.hpp"

namespace wf = wayfarer;
using namespace wayfarer::topics;

namespace {

enum pair_class : std::uint8_t { same_token, topic, non_topic, empty, classes };
constexpr std::array<char const*, classes> class_names{"same_token", "topic", "non_topic", "empty"};
constexpr std::array<char const*, classes> class_meaning{"a token and itself, or the same word again",
                                                         "different words of one topic", "words of different topics",
                                                         "pairs in which a token has no topic"};

/// Classes of all ordered pairs of positions, [query, key], from the token and the topic at each.
std::vector<pair_class> classify(std::span<std::int32_t const> token, std::vector<std::int32_t> const& topic_at) {
  std::size_t const n = token.size();
  std::vector<pair_class> pairs(n * n);
  for (std::size_t query = 0; query < n; ++query)
    for (std::size_t key = 0; key < n; ++key) {
      auto& pair = pairs[query * n + key];
      if (token[query] == token[key])
        pair = same_token;
      else if (topic_at[query] == no_topic || topic_at[key] == no_topic)
        pair = empty;
      else
        pair = topic_at[query] == topic_at[key] ? topic : non_topic;
    }
  return pairs;
}

}  // namespace

struct topic_attention final : wf::probe {
  explicit topic_attention(wf::config const& c)
      : hooks_(c["hooks"].texts()),
        repo_(c["labels"].text() == "repo"),
        reference_(c["ref_length"]),
        words_per_topic_(c["words_per_topic"]) {}

  wf::hook_set needs(wf::model_info const& model) const override { return model.hooks_for(hooks_); }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    acc.define_rows("attention", {{"layer", needs(model).size()}, {"head", model.heads}, {"class", classes}});
    acc.define_rows("pairs", {{"class", classes}});
    acc.define_rows("topics", {});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const topic_of = labels(at).of_token;
    auto const layers = needs(at.model().info()).names();
    for (std::size_t d = 0; d < block.size(); ++d) {
      auto const document = block[d];
      auto const tokens = document.tokens();
      std::vector<std::int32_t> topic_at;
      for (auto const token : tokens) topic_at.push_back(topic_of.at(static_cast<std::size_t>(token)));
      std::set<std::int32_t> topics(topic_at.begin(), topic_at.end());
      topics.erase(no_topic);
      acc["topics"](d) = static_cast<double>(topics.size());

      auto const pairs = classify(tokens, topic_at);
      std::array<double, classes> count{};
      for (auto const pair : pairs) ++count[pair];
      for (std::size_t c = 0; c < classes; ++c) acc["pairs"](d, c) = count[c];

      // Rescaled to documents of the reference length, so that uniform attention is 1 / ref_length everywhere.
      double const scale = static_cast<double>(tokens.size()) / reference_;
      for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        auto const pattern = document[layers[layer]].to(wf::dtype::f64);  // [head, query, key]
        if (pattern.rank() != 3 || pattern.size(1) * pattern.size(2) != pairs.size())
          throw wf::usage_error(
              layers[layer] +
              " is not an attention pattern over the document's own tokens; choose hooks like blocks.*.attn.hook_pattern");
        for (std::size_t head = 0; head < pattern.size(0); ++head) {
          auto const attention = pattern[head].values<double const>();
          std::array<double, classes> sum{};
          for (std::size_t p = 0; p < pairs.size(); ++p) sum[pairs[p]] += attention[p];
          for (std::size_t c = 0; c < classes; ++c) acc["attention"](d, layer, head, c) = scale * sum[c];
        }
      }
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const&) const override {
    auto const &attention = acc["attention"], &pairs = acc["pairs"];  // [item, layer, head, class], [item, class]
    std::size_t const documents = attention.size(0);
    wf::dims const per_head{{"layer", attention.size(1)}, {"head", attention.size(2)}};
    auto table = [&] { return wf::tensor(wf::dtype::f64, per_head); };
    auto columns_of = [&] { return columns{table(), table()}; };
    std::array<columns, classes> average{columns_of(), columns_of(), columns_of(), columns_of()};
    std::array<wf::tensor, classes> sums{table(), table(), table(), table()};
    auto difference = columns_of(), ratio = columns_of(), own_topic = columns_of();

    for (std::size_t layer = 0; layer < per_head[0].size; ++layer)
      for (std::size_t head = 0; head < per_head[1].size; ++head) {
        auto put = [&](columns const& to, pooled const& p) {
          to.value(layer, head) = p.value, to.error(layer, head) = p.standard_error();
        };
        // The pooled average of some classes together.
        auto mean = [&](std::initializer_list<pair_class> which) {
          std::vector<double> sum(documents), count(documents);
          for (auto const c : which)
            for (std::size_t d = 0; d < documents; ++d) sum[d] += attention(d, layer, head, c), count[d] += pairs(d, c);
          return pooled_average(sum, count);
        };
        for (std::uint8_t c = 0; c < classes; ++c) {
          put(average[c], mean({pair_class{c}}));
          for (std::size_t d = 0; d < documents; ++d) sums[c](layer, head) += attention(d, layer, head, c);
        }
        put(difference, mean({topic}) - mean({non_topic}));
        put(ratio, mean({topic}) / mean({non_topic}));
        put(own_topic, mean({same_token, topic}) / mean({non_topic}));
      }

    for (std::size_t c = 0; c < classes; ++c) {
      std::string const name = class_names[c], what = class_meaning[c];
      double count = 0;
      for (std::size_t d = 0; d < documents; ++d) count += pairs(d, c);
      out.add(name + "_count", count).units("ordered pairs").about("pairs of positions: " + what);
      out.add(name + "_attention", sums[c]).about("sum of attention over " + what).view(by_head);
      std::string const none = "no document has such a pair: " + what;
      out.add(name + "_average", average[c].value).about("mean attention over " + what).missing(none).view(by_head);
      out.add(name + "_average_standard_error", average[c].error)
          .about("standard error over documents of the mean attention over " + what)
          .missing(none + "; or there are fewer than two documents")
          .view(by_head);
      out.add(name + "_relative", average[c].value * reference_)
          .about("mean attention over " + what + ", in units of uniform attention")
          .missing(none)
          .view(by_head);
    }
    add(out, "difference", difference, "mean attention within topics less that between topics");
    add(out, "ratio", ratio, "mean attention within topics over that between topics");
    add(out, "own_topic_ratio", own_topic, "as ratio, the same token counted as its own topic: R of the theorem on attention");
    summarise(out, average[topic].value.count() == 1);
    out.add("num_topics", acc["topics"]).dims("item").about("distinct topics of each document").view("histogram");
  }

 private:
  static constexpr char by_head[] = R"({"kind": "heatmap", "rows": "layer", "columns": "head"})";

  struct columns {
    wf::tensor value, error;
  };

  static void add(wf::results& out, std::string const& name, columns const& value, std::string const& about) {
    std::string const none = "no document has two different words of one topic, or none has words of two topics";
    out.add(name, value.value).about(about).missing(none).view(by_head);
    out.add(name + "_standard_error", value.error)
        .about("standard error over documents: " + about)
        .missing(none + "; or there are fewer than two documents")
        .view(by_head);
  }

  static void summarise(wf::results& out, bool one_head) {
    if (one_head) {
      out.summarise("attention to own topic " + wf::told(out.at("topic_relative").scalar()) + ", to others " +
                    wf::told(out.at("non_topic_relative").scalar()) + " times uniform");
    } else {
      auto const mean = [&](char const* name) {
        auto const v = out.at(name).values().values<double const>();
        double sum = 0, n = 0;
        for (double const x : v)
          if (!std::isnan(x)) sum += x, n += 1;
        return wf::told(sum / n);
      };
      out.summarise("attention to own topic " + mean("topic_relative") + ", to others " + mean("non_topic_relative") +
                    " times uniform, in the mean over heads");
    }
  }

  topic_labels labels(wf::probe_context const& at) const {
    return repo_ ? published_labels(at, words_per_topic_) : true_labels(at, words_per_topic_);
  }

  std::vector<std::string> hooks_;
  bool repo_;
  double reference_;
  std::size_t words_per_topic_;
};

WAYFARER_PROBE(
    topic_attention, "1.0.0", "Average attention between words of the same and of different topics, per head",
    wf::port::model("model"), wf::port::source("source", "documents, and the topics of their words"),
    wf::param("hooks", wf::strings("blocks.*.attn.hook_pattern"), "attention patterns to read, in layer order"),
    wf::param("labels", "true", "topics of the tokens; repo: the published code's, four words off").one_of("true|repo"),
    wf::param("ref_length", 100, "attention is rescaled to documents of this length").in("token").at_least(1),
    wf::param("words_per_topic", 10, "topic of word w is w / words_per_topic, where the source doesn't say")
        .fact("words_per_topic")
        .at_least(1));
