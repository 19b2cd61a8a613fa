// How well the likeness of word vectors agrees with people's ratings of word pairs: Spearman's rank correlation.
//
//     words: {probe: word_vectors, model: gpt2, words: EN-WS-353-ALL.txt}
//     rated: {metric: word_similarity, of: words, path: EN-WS-353-ALL.txt}
//
// The file has two words and a rating on each line. A pair counts if both of its words have a vector. Pairs share words, so the
// usual standard error is too small; what is left when the vectors are dealt to the words at random shows by how much.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/statistics.hpp>
#include <wayfarer/text_table.hpp>

#include "metrics/common/named_rows.hpp"

namespace wf = wayfarer;

namespace {

struct rated_pair {
  std::string first, second;
  double score;
};

/// The file's pairs. A first line without a rating is a header.
std::vector<rated_pair> read_pairs(std::string const& path, std::size_t column) {
  wf::text_table const table(path);
  std::vector<rated_pair> pairs;
  for (auto const& line : table.lines()) {
    bool const first_line = &line == &table.lines().front();
    std::size_t const n = line.fields.size();
    double score = 0;
    if (n < column || n < 3)
      table.fail(line, "it has " + wf::counted(n, "column") + "; expected two words and, in column " + std::to_string(column) +
                           " (score_column), a score");
    auto const field = line.fields[column - 1];
    if (!wf::is_number(field, &score)) {
      if (first_line) continue;
      table.fail(line,
                 "the score '" + std::string(field.substr(0, 40)) + "' in column " + std::to_string(column) + " is no number");
    }
    if (!std::isfinite(score)) table.fail(line, "the score is not finite; leave the pair out");
    if (line.fields[0].empty() || line.fields[1].empty()) table.fail(line, "a word is missing");
    pairs.push_back({std::string(line.fields[0]), std::string(line.fields[1]), score});
  }
  if (pairs.empty()) throw wf::data_error(path + ": no pair of words in it; expected two words and a score on each line");
  return pairs;
}

}  // namespace

struct word_similarity final : wf::metric {
  explicit word_similarity(wf::config const& c)
      : path_(c["path"].text()),
        cosine_(c["by"].text() == "cosine"),
        shuffles_(c["shuffles"]),
        seed_(c.seed()),
        pairs_(read_pairs(path_, c["score_column"])) {}

  void measure(wf::metric_input const& in, wf::results& out) const override {
    auto const rows = wf::rows_with_names(in.at("of", "vectors"), "word_similarity");
    std::vector<std::pair<std::size_t, std::size_t>> covered;  // rows of a pair
    std::vector<double> score, likeness;
    wf::tensor all_scores(wf::dtype::f64, {{"pair", pairs_.size()}}), all_likeness = all_scores.clone();
    std::vector<std::string> labels;
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      auto const& p = pairs_[i];
      auto const a = rows.find(p.first), b = rows.find(p.second);
      labels.push_back(p.first + " " + p.second);
      all_scores(i) = p.score, all_likeness(i) = std::numeric_limits<double>::quiet_NaN();
      if (!a || !b) continue;
      covered.emplace_back(*a, *b);
      score.push_back(p.score), likeness.push_back(all_likeness(i) = likeness_of(rows, *a, *b));
    }
    if (covered.empty())
      throw wf::data_error(path_ + ": no pair has both words among the " + wf::counted(rows.size(), "word") + " with a vector" +
                           rows.told_of_zero() + "; the first pair is " + labels[0] +
                           ". Give this file to word_vectors as 'words', and look at the words' case");

    auto const r = wf::spearman(score, likeness);
    std::string const none = "fewer than two pairs, or all scores or likenesses are equal",
                      few = none + ", or fewer than four pairs";
    out.add("spearman", r.value).about("rank correlation of the vectors' likeness with the scores").missing(none);
    out.add("spearman_standard_error", r.standard_error)
        .about("standard error of the rank correlation, the pairs independent (Bonett and Wright 2000)")
        .missing(few);
    out.add("low", r.low).about("lower end of the interval of 95 %").missing(few);
    out.add("high", r.high).about("upper end of the interval of 95 %").missing(few);
    out.add("pairs", static_cast<double>(pairs_.size())).units("pair").about("pairs of the file");
    out.add("covered", r.count)
        .units("pair")
        .about("pairs whose words both have a vector, not of length zero; the others are left out");
    out.add("coverage", r.count / static_cast<double>(pairs_.size())).about("share of the pairs that are covered");
    auto const chance = wf::moments_of(shuffled(rows, covered, score));
    std::string const constant = "the correlation of shuffled vectors is not defined";
    out.add("shuffled", chance.mean)
        .about("mean rank correlation with the vectors dealt to the words at random")
        .missing(constant);
    out.add("shuffled_deviation", chance.deviation)
        .about("its deviation over shuffles: the error that chance makes, with pairs that share words")
        .missing(constant);
    out.add("likeness", all_likeness)
        .about(std::string(cosine_ ? "cosine" : "inner product") + " of each pair's vectors")
        .labels("pair", labels)
        .view("histogram")
        .missing("a word of the pair has no vector, or one of length zero");
    out.add("scores", all_scores).about("score of each pair, as in the file").view("histogram");
    out.summarise("rank correlation " + wf::told(r.value) + " +- " + wf::told(r.standard_error, 2) + " with the scores of " +
                  std::to_string(covered.size()) + " of " + wf::counted(pairs_.size(), "pair") + "; with shuffled vectors " +
                  wf::told(chance.mean, 2) + " +- " + wf::told(chance.deviation, 2) + rows.told_of_zero());
  }

 private:
  double likeness_of(wf::named_rows const& rows, std::size_t a, std::size_t b) const {
    auto const v = rows.vectors.view<float const>();
    double const product = wf::dot(v.row(a), v.row(b));
    return cosine_ ? product / (rows.length[a] * rows.length[b]) : product;
  }

  /// The correlation in each shuffle of the covered words' vectors.
  std::vector<double> shuffled(wf::named_rows const& rows, std::vector<std::pair<std::size_t, std::size_t>> const& covered,
                               std::vector<double> const& score) const {
    std::vector<std::size_t> used;
    for (auto const& [a, b] : covered) used.push_back(a), used.push_back(b);
    std::sort(used.begin(), used.end());
    used.erase(std::unique(used.begin(), used.end()), used.end());
    auto const ranks = wf::average_ranks(score);
    std::vector<double> values(shuffles_);
    wf::parallel_for(shuffles_, [&](std::size_t s) {
      std::vector<std::size_t> dealt = used, of(rows.size());
      wf::random_stream draw(seed_, "word_similarity", s);
      draw.shuffle(static_cast<std::uint32_t>(dealt.size()),
                   [&](std::uint32_t i, std::uint32_t j) { std::swap(dealt[i], dealt[j]); });
      for (std::size_t i = 0; i < used.size(); ++i) of[used[i]] = dealt[i];
      std::vector<double> likeness;
      for (auto const& [a, b] : covered) likeness.push_back(likeness_of(rows, of[a], of[b]));
      values[s] = wf::correlation_of_ranks(ranks, wf::average_ranks(likeness));
    });
    return values;
  }

  std::string path_;
  bool cosine_;
  std::size_t shuffles_;
  std::uint64_t seed_;
  std::vector<rated_pair> pairs_;
};

WAYFARER_METRIC(
    word_similarity, "1.0.0", "Rank correlation of word vectors' likeness with people's ratings of word pairs",
    wf::port::results("of", "a node of word_vectors, or a matrix with a name for each row"),
    wf::param::file("path", "", "text file: two words and a score on each line, between tabs, commas or spaces").required(),
    wf::param("score_column", 3, "the column that holds the score").at_least(3),
    wf::param("by", "cosine", "what likeness is").one_of("cosine|dot"),
    wf::param("shuffles", 200, "how often the vectors are dealt to the words at random").between(2, 100'000),
    wf::param("seed", 0, "of the shuffles").at_least(0));
