// Are the embeddings of words of one topic more alike than those of different topics, in a model trained on real text?
// Li, Li and Risteski 2023, measurements on pretrained models; notes (e).
//
//     topics:     {probe: lda_fit, source: articles}
//     similarity: {probe: topic_similarity, model: bert, topics: topics}
//
// Inner products and cosines of all pairs of different tokens that are whole words with a topic (word_topics.hpp), or of a sample
// of them. The same with randomly assigned topics shows the effect of chance.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/word_topics.hpp"

namespace wf = wayfarer;
using namespace wayfarer::topics;

namespace {

/// Sums over the pairs of one row with all others.
struct row_sums {
  std::array<double, 2> count{}, dot{}, dot2{}, cosine{}, cosine2{};  // [different, same]
};

/// Mean and deviation over pairs, by class, with the standard error over rows.
struct figures {
  double mean = 0, deviation = 0, error = 0;
  std::vector<double> influence;  // of each row on the mean

  figures(std::vector<row_sums> const& rows, std::array<double, 2> row_sums::*sum, std::array<double, 2> row_sums::*squares,
          std::size_t which) {
    double n = 0, total = 0, total2 = 0;
    for (auto const& r : rows) n += r.count[which], total += (r.*sum)[which], total2 += (r.*squares)[which];
    mean = total / n;
    deviation = std::sqrt(std::max(0.0, total2 / n - mean * mean));
    for (auto const& r : rows) influence.push_back(((r.*sum)[which] - mean * r.count[which]) / n);
    error = error_of(influence);
  }
  static double error_of(std::vector<double> const& influence) {
    double squares = 0;
    for (double const e : influence) squares += e * e;
    // Every pair is in two rows, so rows move the mean twice as much as their own sums say.
    auto const n = static_cast<double>(influence.size());
    return 2 * std::sqrt(squares * n / (n - 1));
  }
};

}  // namespace

struct topic_similarity final : wf::probe {
  explicit topic_similarity(wf::config const& c)
      : weight_(c["weight"].text()), most_(c["most_tokens"]), self_(c["self_pairs"]), seed_(c.seed()) {
    choice_.per_topic = c["filter"].text() == "per_topic";
    choice_.threshold = c["threshold"], choice_.fraction = c["fraction"], choice_.most_topics = c["most_topics"];
  }

  void finish(wf::accumulator const&, wf::results& out, wf::probe_context const& at) const override {
    token_topics const topics(at.inputs(), at.model(), choice_);
    wf::tensor const table = at.model().weight(weight_);  // [token, d_model]
    if (table.rank() != 2 || table.size(0) < topics.of_token.size())
      throw wf::usage_error(weight_ + " is " + wf::describe(table.shape()) + ", not one row for each token; choose embed.W_E");

    std::vector<std::int32_t> tokens = with_topic(topics);
    double const all = static_cast<double>(tokens.size());
    wf::random_stream draw(seed_, "topic_similarity");
    draw.shuffle(static_cast<std::uint32_t>(tokens.size()),
                 [&](std::uint32_t i, std::uint32_t j) { std::swap(tokens[i], tokens[j]); });
    if (tokens.size() > most_) tokens.resize(most_);
    std::sort(tokens.begin(), tokens.end());

    std::size_t const n = tokens.size();
    wf::tensor const x(wf::dtype::f32, {{"token", n}, {"d_model", table.size(1)}});
    for (std::size_t i = 0; i < n; ++i) wf::copy_into(x[i], table[static_cast<std::size_t>(tokens[i])]);
    std::vector<std::size_t> dealt(n);
    std::iota(dealt.begin(), dealt.end(), std::size_t{0});
    draw.shuffle(static_cast<std::uint32_t>(n), [&](std::uint32_t i, std::uint32_t j) { std::swap(dealt[i], dealt[j]); });

    auto const own = sums(x, [&](std::size_t i, std::size_t j) { return topics.share_topic(tokens[i], tokens[j]); });
    auto const chance =
        sums(x, [&](std::size_t i, std::size_t j) { return topics.share_topic(tokens[dealt[i]], tokens[dealt[j]]); });

    out.add("tokens_with_topic", all).units("token").about("tokens of the vocabulary that are whole words with a topic");
    out.add("tokens", static_cast<double>(n)).units("token").about("those that were compared");
    put(out, false, own, chance);
    std::array<figures, 2> const f = put(out, true, own, chance);
    char line[96] = "";
    std::snprintf(line, sizeof line, "%zu tokens: cosine %.4f within topics, %.4f between", n, f[1].mean, f[0].mean);
    out.summarise(line);
  }

 private:
  /// Tokens that are whole words with a topic.
  static std::vector<std::int32_t> with_topic(token_topics const& topics) {
    std::vector<std::int32_t> tokens;
    for (std::size_t t = 0; t < topics.of_token.size(); ++t)
      if (topics.has_topic(static_cast<std::int32_t>(t))) tokens.push_back(static_cast<std::int32_t>(t));
    if (tokens.size() < 3)
      throw wf::usage_error("only " + std::to_string(tokens.size()) +
                            " tokens are whole words with a topic; fit the topics to text of the "
                            "model's language, or loosen the filter");
    return tokens;
  }

  /// What the pairs' cosines, or inner products, are between topics and within them.
  static std::array<figures, 2> put(wf::results& out, bool cosine, std::vector<row_sums> const& own,
                                    std::vector<row_sums> const& chance) {
    std::string const prefix = cosine ? "cosine_" : "dot_", what = cosine ? "cosine" : "inner product";
    auto const sum = cosine ? &row_sums::cosine : &row_sums::dot, squares = cosine ? &row_sums::cosine2 : &row_sums::dot2;
    std::array<figures, 2> const f{figures(own, sum, squares, 0), figures(own, sum, squares, 1)};
    for (std::size_t which : {1, 0}) {
      std::string const name = which ? "same" : "different", of = which ? "tokens that share a topic" : "tokens that share none";
      std::string const none = "no two " + of;
      out.add(prefix + name, f[which].mean).about("mean " + what + " of two " + of).missing(none);
      out.add(prefix + name + "_deviation", f[which].deviation)
          .about("deviation over pairs of the " + what + " of two " + of)
          .missing(none);
      out.add(prefix + name + "_standard_error", f[which].error)
          .about("standard error over tokens of the mean " + what + " of two " + of)
          .missing(none);
      if (cosine) continue;
      double pairs = 0;
      for (auto const& r : own) pairs += r.count[which];
      out.add(name + "_pairs", pairs).units("ordered pairs").about("pairs of different " + of);
    }
    put_contrast(out, prefix, what, f);
    figures const same(chance, sum, squares, 1), different(chance, sum, squares, 0);
    out.add(prefix + "chance_difference", same.mean - different.mean)
        .about("the difference with randomly assigned topics")
        .missing(one_kind);
    return f;
  }

  static constexpr char one_kind[] = "no two tokens share a topic, or all do";

  static void put_contrast(wf::results& out, std::string const& prefix, std::string const& what,
                           std::array<figures, 2> const& f) {
    auto difference = f[1].influence, ratio = f[1].influence;
    for (std::size_t i = 0; i < difference.size(); ++i) {
      difference[i] -= f[0].influence[i];
      ratio[i] = (f[1].influence[i] - f[1].mean / f[0].mean * f[0].influence[i]) / f[0].mean;
    }
    out.add(prefix + "difference", f[1].mean - f[0].mean)
        .about("mean " + what + " within topics less that between topics")
        .missing(one_kind);
    out.add(prefix + "difference_standard_error", figures::error_of(difference))
        .about("standard error over tokens of the difference")
        .missing(one_kind);
    out.add(prefix + "ratio", f[1].mean / f[0].mean)
        .about("mean " + what + " within topics over that between topics")
        .missing(one_kind);
    out.add(prefix + "ratio_standard_error", figures::error_of(ratio))
        .about("standard error over tokens of the ratio")
        .missing(one_kind);
  }

  /// [row], over pairs with all other rows. `same(i, j)`: whether they share a topic.
  template <class Same>
  std::vector<row_sums> sums(wf::tensor const& x, Same const& same) const {
    constexpr std::size_t block = 64;
    std::size_t const n = x.size(0);
    auto const rows = x.view<float const>();
    std::vector<double> norm(n);
    for (std::size_t i = 0; i < n; ++i) norm[i] = std::sqrt(wf::dot(rows.row(i), rows.row(i)));
    std::vector<row_sums> out(n);
    wf::parallel_for((n + block - 1) / block, [&](std::size_t b) {
      std::size_t const first = b * block, last = std::min(first + block, n);
      auto const products = wf::matmul(x.slice(0, first, last), x.transposed());
      auto const g = products.view<float const>();
      for (std::size_t i = first; i < last; ++i)
        for (std::size_t j = 0; j < n; ++j) {
          if (i == j && !self_) continue;
          std::size_t const which = same(i, j);
          double const dot = g(i - first, j), scale = norm[i] * norm[j], cosine = scale > 0 ? dot / scale : 0;
          auto& r = out[i];
          r.count[which] += 1;
          r.dot[which] += dot, r.dot2[which] += dot * dot;
          r.cosine[which] += cosine, r.cosine2[which] += cosine * cosine;
        }
    });
    return out;
  }

  std::string weight_;
  std::size_t most_;
  bool self_;
  std::uint64_t seed_;
  topic_choice choice_;
};

WAYFARER_PROBE(
    topic_similarity, "1.0.0", "Similarity of embeddings within and between topics of a fitted topic model",
    wf::port::model("model"), wf::port::results("topics", "node that fitted the topics: lda_fit"),
    wf::param("filter", "per_word", "which words count for which topics").one_of("per_word|per_topic"),
    wf::param("threshold", 0.0, "per_word: least share of a word's topic").between(0, 1),
    wf::param("most_topics", 1, "per_word: topics of a word at most").at_least(1),
    wf::param("fraction", 0.001, "per_topic: share of the vocabulary that a topic keeps").between(0, 1),
    wf::param("weight", "embed.W_E", "embeddings, [token, d_model]"),
    wf::param("most_tokens", 10'000, "compare at most this many tokens, drawn at random").in("token").between(3, 100'000),
    wf::param("self_pairs", false, "count a token's pair with itself as same topic, as the published code does"),
    wf::param("seed", 0, "of the draw").at_least(0));
