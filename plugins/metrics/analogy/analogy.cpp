// Analogies: which word is to b as a* is to a? By vector arithmetic, in two ways (Levy and Goldberg 2014), cosines of unit
// vectors:
//
//     3CosAdd    the x of largest  cos(x, b) - cos(x, a) + cos(x, a*)
//     3CosMul    the x of largest  cos'(x, b) cos'(x, a*) / (cos'(x, a) + 0.001),  cos' = (cos + 1) / 2
//
//     words:    {probe: word_vectors, model: gpt2, words: questions-words.txt, vocabulary: true}
//     analogies: {metric: analogy, of: words, path: questions-words.txt}
//
// The file is word2vec's: "a a* b b*" on each line, and sections that begin with ": name". A question counts if its four words
// have vectors. The answer is any word with a vector but the question's own three.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/text_table.hpp>

#include "metrics/common/named_rows.hpp"

namespace wf = wayfarer;

namespace {

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();

struct question {
  std::array<std::string, 4> words;
  std::size_t section;
};

struct questions {
  std::vector<std::string> sections;
  std::vector<question> all;

  explicit questions(std::string const& path) {
    wf::text_table const table(path);
    for (auto const& line : table.lines()) {
      if (line.fields[0].starts_with(':')) {
        std::string name(line.fields[0].substr(1));
        for (std::size_t i = 1; i < line.fields.size(); ++i) name += (name.empty() ? "" : " ") + std::string(line.fields[i]);
        if (name.empty()) table.fail(line, "the section has no name");
        sections.push_back(name);
        continue;
      }
      if (line.fields.size() != 4)
        table.fail(line, "it has " + wf::counted(line.fields.size(), "column") +
                             "; expected four words, or a section's name behind a colon");
      if (sections.empty()) sections.push_back("questions");
      question q{{}, sections.size() - 1};
      for (std::size_t i = 0; i < 4; ++i) {
        if (line.fields[i].empty()) table.fail(line, "a word is missing");
        q.words[i] = line.fields[i];
      }
      all.push_back(q);
    }
    if (all.empty()) throw wf::data_error(path + ": no question in it; expected four words on each line");
  }
};

/// A question as rows of the vectors: `at` numbers the words that questions use, `row` all.
struct asked {
  std::size_t number;  ///< in the file
  std::array<std::size_t, 4> at, row;
  bool own_answer;  ///< the right answer is one of the three words that can't be given
};

/// What one method finds out of a question: the best answer, and how many come before the right one.
struct found {
  double right = nothing;
  double best = -std::numeric_limits<double>::infinity();
  std::size_t answer = 0, before = 0;
};
using both = std::array<found, 2>;

/// [3CosAdd, 3CosMul] of a candidate, from its cosines with a, a* and b.
std::array<double, 2> scores(double a, double a_star, double b) noexcept {
  return {b - a + a_star, (b + 1) / 2 * ((a_star + 1) / 2) / ((a + 1) / 2 + 0.001)};
}

class solver {
 public:
  solver(wf::named_rows const& rows, std::vector<asked> const& questions, std::vector<std::size_t> const& used)
      : rows_(rows), questions_(questions), used_(unit_rows(used)) {}

  std::vector<both> solve() const {
    std::vector<both> all(questions_.size());
    // Twice over the candidates: first for the right answers' own scores, which the others are compared with.
    each_group([&](std::size_t first, std::size_t last) {
      wf::parallel_for(last - first, [&](std::size_t c) { look_up(first + c, all); });
    });
    each_group([&](std::size_t first, std::size_t last) {
      std::vector<std::vector<both>> parts(last - first);
      wf::parallel_for(parts.size(), [&](std::size_t c) { parts[c] = compare(first + c, all); });
      for (auto const& part : parts)
        for (std::size_t q = 0; q < all.size(); ++q)
          for (std::size_t m = 0; m < 2; ++m) {
            all[q][m].before += part[q][m].before;
            if (part[q][m].best > all[q][m].best) all[q][m].best = part[q][m].best, all[q][m].answer = part[q][m].answer;
          }
    });
    return all;
  }

 private:
  static constexpr std::size_t at_once = 512, chunks_at_once = 16;  // what is held: some chunks' findings, never all

  wf::tensor unit_rows(std::vector<std::size_t> const& which) const {
    wf::tensor out(wf::dtype::f32, {{"row", which.size()}, {"feature", rows_.vectors.size(1)}});
    auto const from = rows_.vectors.view<float const>();
    auto const to = out.view<float>();
    for (std::size_t i = 0; i < which.size(); ++i)
      for (std::size_t j = 0; j < out.size(1); ++j)
        to(i, j) = static_cast<float>(static_cast<double>(from(which[i], j)) / rows_.length[which[i]]);
    return out;
  }

  template <class Group>
  void each_group(Group const& group) const {
    std::size_t const chunks = (rows_.size() + at_once - 1) / at_once;
    for (std::size_t first = 0; first < chunks; first += chunks_at_once) group(first, std::min(chunks, first + chunks_at_once));
  }

  /// Cosines of a chunk's candidates with the words of the questions: [candidate, word].
  wf::tensor cosines(std::size_t chunk) const {
    std::vector<std::size_t> which;
    for (std::size_t i = chunk * at_once; i < std::min(rows_.size(), (chunk + 1) * at_once); ++i) which.push_back(i);
    return wf::matmul(unit_rows(which), used_.transposed());
  }

  static std::array<double, 2> scores_of(std::span<float const> cosine, asked const& q) noexcept {
    return scores(static_cast<double>(cosine[q.at[0]]), static_cast<double>(cosine[q.at[1]]),
                  static_cast<double>(cosine[q.at[2]]));
  }

  void look_up(std::size_t chunk, std::vector<both>& all) const {
    auto const c = cosines(chunk);
    for (std::size_t q = 0; q < questions_.size(); ++q) {
      std::size_t const right = questions_[q].row[3];
      if (right / at_once != chunk) continue;
      auto const s = scores_of(c.view<float const>().row(right % at_once), questions_[q]);
      for (std::size_t m = 0; m < 2; ++m) all[q][m].right = s[m];
    }
  }

  std::vector<both> compare(std::size_t chunk, std::vector<both> const& all) const {
    auto const c = cosines(chunk);
    std::vector<both> out(questions_.size());
    for (std::size_t q = 0; q < questions_.size(); ++q) {
      auto const& asked = questions_[q];
      for (std::size_t i = 0; i < c.size(0); ++i) {
        std::size_t const row = chunk * at_once + i;
        if (row == asked.row[0] || row == asked.row[1] || row == asked.row[2]) continue;
        auto const s = scores_of(c.view<float const>().row(i), asked);
        for (std::size_t m = 0; m < 2; ++m) {
          auto& f = out[q][m];
          double const right = all[q][m].right;
          f.before += s[m] > right || (s[m] == right && row < asked.row[3]);
          if (s[m] > f.best) f.best = s[m], f.answer = row;
        }
      }
    }
    return out;
  }

  wf::named_rows const& rows_;
  std::vector<asked> const& questions_;
  wf::tensor used_;
};

}  // namespace

struct analogy final : wf::metric {
  explicit analogy(wf::config const& c) : path_(c["path"].text()), questions_(path_) {}

  void measure(wf::metric_input const& in, wf::results& out) const override {
    auto const rows = wf::rows_with_names(in.at("of", "vectors"), "analogy");
    std::vector<std::size_t> used, place(rows.size(), rows.size());
    auto const covered = covered_by(rows, used, place);
    if (covered.empty())
      throw wf::data_error(path_ + ": no question has its four words among the " + wf::counted(rows.size(), "word") +
                           " with a vector" + rows.told_of_zero() + "; the first is " + label(questions_.all[0]) +
                           ". Give this file to word_vectors as 'words', with 'vocabulary: true', and look at the words' case");
    auto const answers = solver(rows, covered, used).solve();
    double const n = static_cast<double>(covered.size()), choices = static_cast<double>(rows.size()) - 3;
    out.add("questions", static_cast<double>(questions_.all.size())).units("question").about("questions of the file");
    out.add("covered", n)
        .units("question")
        .about("questions whose four words have a vector, not of length zero; the others are left out");
    out.add("coverage", n / static_cast<double>(questions_.all.size())).about("share of the questions that are covered");
    out.add("candidates", static_cast<double>(rows.size()))
        .units("word")
        .about("words with a vector, of which the answer is one; those that differ in case alone and have one vector count once");
    out.add("chance", choices > 0 ? 1 / choices : nothing)
        .about("share of right answers of one that guesses: a question's own words are no answer")
        .missing("there is no word but those of a question");
    std::string line;
    for (std::size_t m = 0; m < 2; ++m) {
      double const right = report(out, rows, covered, answers, m);
      line += (m == 0 ? "3CosAdd " : ", 3CosMul ") + wf::told(100 * right) + " %";
    }
    add_sections(out, covered);
    out.summarise(line + " right of " + std::to_string(covered.size()) + " of " + wf::counted(questions_.all.size(), "question") +
                  " among " + wf::counted(rows.size(), "word") + "; a guess has " +
                  wf::told(choices > 0 ? 100 / choices : nothing) + " %" + rows.told_of_zero());
  }

 private:
  static std::string label(question const& q) { return q.words[0] + " " + q.words[1] + " " + q.words[2] + " " + q.words[3]; }

  std::vector<asked> covered_by(wf::named_rows const& rows, std::vector<std::size_t>& used,
                                std::vector<std::size_t>& place) const {
    std::vector<asked> covered;
    for (std::size_t i = 0; i < questions_.all.size(); ++i) {
      asked q{i, {}, {}, false};
      bool known = true;
      for (std::size_t w = 0; w < 4 && known; ++w)
        if (auto const at = rows.find(questions_.all[i].words[w]))
          q.row[w] = *at;
        else
          known = false;
      if (!known) continue;
      for (std::size_t w = 0; w < 4; ++w) {
        if (place[q.row[w]] == rows.size()) place[q.row[w]] = used.size(), used.push_back(q.row[w]);
        q.at[w] = place[q.row[w]];
      }
      q.own_answer = q.row[3] == q.row[0] || q.row[3] == q.row[1] || q.row[3] == q.row[2];
      covered.push_back(q);
    }
    return covered;
  }

  /// Adds one method's figures; gives its share of right answers.
  double report(wf::results& out, wf::named_rows const& rows, std::vector<asked> const& covered, std::vector<both> const& answers,
                std::size_t m) const {
    std::string const name = m == 0 ? "add" : "mul", method = m == 0 ? "3CosAdd" : "3CosMul";
    wf::tensor rank(wf::dtype::f64, {{"question", questions_.all.size()}}),
        share(wf::dtype::f64, {{"section", questions_.sections.size()}});
    for (double& r : rank.values<double>()) r = nothing;
    std::vector<std::string> given(questions_.all.size()), labels;
    for (auto const& q : questions_.all) labels.push_back(label(q));
    std::vector<double> hits, reciprocal, of_section(questions_.sections.size()), in_section = of_section;
    for (std::size_t i = 0; i < covered.size(); ++i) {
      auto const& q = covered[i];
      auto const& f = answers[i][m];
      bool const any = f.best > -std::numeric_limits<double>::infinity();
      double const hit = any && f.answer == q.row[3];
      if (!q.own_answer) rank(q.number) = static_cast<double>(f.before + 1);
      if (any) given[q.number] = rows.names[f.answer];
      hits.push_back(hit), reciprocal.push_back(q.own_answer ? 0.0 : 1 / static_cast<double>(f.before + 1));
      std::size_t const s = questions_.all[q.number].section;
      of_section[s] += hit, in_section[s] += 1;
    }
    for (std::size_t s = 0; s < share.size(0); ++s) share(s) = of_section[s] / in_section[s];
    double const n = static_cast<double>(hits.size()), right = wf::moments_of(hits).mean;
    out.add("accuracy_" + name, right).about("share of right answers by " + method);
    out.add("accuracy_" + name + "_standard_error", std::sqrt(right * (1 - right) / (n - 1)))
        .about("sqrt(a (1 - a) / (N - 1)), as if the questions had no word in common")
        .missing("there is one question");
    out.add("reciprocal_rank_" + name, wf::moments_of(reciprocal).mean)
        .about("mean of 1 / rank of the right answer by " + method + "; 0 for an answer that is a word of its question");
    out.add("section_" + name, share)
        .about("share of right answers by " + method + ", by section")
        .labels("section", questions_.sections)
        .missing("no question of the section is covered")
        .view("bars");
    out.add("rank_" + name, rank)
        .about("rank of each question's right answer by " + method + ", from 1")
        .labels("question", labels)
        .view("histogram")
        .missing("a word of the question has no vector or one of length zero, or the answer is a word of its question");
    out.add("answer_" + name, given)
        .dims("question")
        .view("table")
        .about("the answer by " + method + "; empty where a word has no vector");
    return right;
  }

  void add_sections(wf::results& out, std::vector<asked> const& covered) const {
    wf::tensor all(wf::dtype::f64, {{"section", questions_.sections.size()}}), known = all.clone();
    for (auto const& q : questions_.all) all(q.section) += 1;
    for (auto const& q : covered) known(questions_.all[q.number].section) += 1;
    out.add("section_questions", all)
        .units("question")
        .about("questions of each section")
        .labels("section", questions_.sections)
        .view("bars");
    out.add("section_covered", known).units("question").about("covered questions of each section").view("bars");
  }

  std::string path_;
  questions questions_;
};

WAYFARER_METRIC(analogy, "1.0.0", "Analogies by vector arithmetic, 3CosAdd and 3CosMul, over all words as answers",
                wf::port::results("of", "a node of word_vectors, or a matrix with a name for each row"),
                wf::param::file("path", "",
                                "text file in word2vec's format: four words on each line, sections that begin with a colon")
                    .required());
