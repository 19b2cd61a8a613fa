// Topic structure in the weights of a trained transformer: words of one topic have similar embeddings, and seeing a word raises
// the score of its topic's words. Li, Li and Risteski 2023, sections on the embedding layer and on W^V.
#include <algorithm>
#include <cmath>
#include <string>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

#include "block_statistics.hpp"
#include "probes/common/topic_labels.hpp"

namespace wf = wayfarer;
using namespace wayfarer::topics;

namespace {

/// The token-by-token matrices are kept whole, three of them a snapshot.
constexpr std::size_t most_tokens = 4096;

double frobenius(wf::tensor const& m) {
  auto const own = m.to(wf::dtype::f64);
  return std::sqrt(wf::dot(own.values<double const>(), own.values<double const>()));
}

/// A mean as two scalars; a standard error only where there is one.
void report(wf::results& out, std::string const& name, entry_mean const& m, std::string const& about) {
  out.add(name, m.mean).about(about).missing("no such pair of words");
  if (!std::isnan(m.standard_error))
    out.add(name + "_standard_error", m.standard_error).about("standard error over words: " + about);
}

void report_blocks(wf::results& out, std::string const& matrix, block_statistics const& s) {
  out.add(matrix + "_blocks", s.blocks)
      .about("mean entry for each pair of topics, words with themselves left out")
      .missing("no such pair of words: a topic of no word, or of one")
      .view("heatmap");
  report(out, matrix + "_diagonal", s.diagonal, "mean entry of a word with itself");
  report(out, matrix + "_same", s.same, "mean entry of different words of one topic");
  report(out, matrix + "_different", s.different, "mean entry of words of different topics");
  report(out, matrix + "_topic_sum_contrast", s.topic_sum_contrast,
         "sum over the row's own topic less sum over another topic (theorem: 1/kappa)");
  out.add(matrix + "_contrast_mean", s.contrast.mean).about("own topic less other topics within a column: mean over columns");
  out.add(matrix + "_contrast_sd", s.contrast.deviation).about("standard deviation of the column contrast");
  out.add(matrix + "_contrast_min", s.contrast.minimum).about("smallest column contrast");
  out.add(matrix + "_contrast_max", s.contrast.maximum).about("largest column contrast");
  out.add(matrix + "_positive_same", s.positive_same)
      .about("fraction of same-topic entries, diagonal left out, above zero")
      .missing("no topic has two words");
  out.add(matrix + "_min", s.minimum).about("smallest entry among words");
  out.add(matrix + "_max", s.maximum).about("largest entry among words");
}

void report_cosines(wf::results& out, std::string const& matrix, block_statistics const& s) {
  report(out, matrix + "_cosine_same", s.same, "mean cosine of different words of one topic");
  report(out, matrix + "_cosine_different", s.different, "mean cosine of words of different topics");
}

}  // namespace

struct topic_blocks final : wf::probe {
  explicit topic_blocks(wf::config const& c)
      : layer_(c["layer"]), words_per_topic_(c["words_per_topic"]), first_word_(c["first_word"]) {}

  void finish(wf::accumulator const&, wf::results& out, wf::probe_context const& at) const override {
    auto const topic = true_labels(at, words_per_topic_, first_word_).of_token;
    if (topic.size() > most_tokens)
      throw wf::usage_error("topic_blocks keeps whole token-by-token matrices, of at most " + std::to_string(most_tokens) +
                            " tokens; this model has " + std::to_string(topic.size()));
    if (std::all_of(topic.begin(), topic.end(), [](auto t) { return t < 1; }))
      throw wf::usage_error(
          "topic_blocks compares words of one topic with those of others, and here is only one topic; give the "
          "source two `topics` or more");
    auto const w_e = weight(at, "embed.W_E"), w_v = attention(at, "W_V");

    auto const embedding = wf::gram(w_e).named({"token", "other_token"});   // W_E^T W_E of the paper
    auto const from = seen(at, wf::matmul(w_e, w_v));                       // [token seen, token scored]
    auto const value = from.transposed().named({"token_out", "token_in"});  // W^V of the paper: rows are scored
    auto const gram = wf::gram(from).named({"token", "other_token"});       // its columns with each other

    out.add("embedding", embedding).about("inner products of the tokens' embeddings").view("heatmap");
    out.add("value", value.clone())
        .about("what attending to token_in adds to the score of token_out: W^V where embedding and decoder are one-hot")
        .view("heatmap");
    out.add("gram", gram).about("inner products of the columns of value").view("heatmap");
    report_blocks(out, "embedding", measure_blocks(embedding, topic));
    report_blocks(out, "value", measure_blocks(value, topic));
    report_blocks(out, "gram", measure_blocks(gram, topic));
    report_cosines(out, "embedding", measure_blocks(cosines_of(embedding), topic));
    report_cosines(out, "gram", measure_blocks(cosines_of(gram), topic));
    report_specials(out, value, topic, at.model());
    out.add("norms", wf::tensor::of(std::vector{frobenius(attention(at, "W_K")), frobenius(attention(at, "W_Q")), frobenius(w_v)},
                                    {{"matrix", 3}}))
        .labels("matrix", {"K", "Q", "V"})
        .about("Frobenius norms")
        .view("bars");
    out.summarise("same topic " + wf::told(out.at("value_same").scalar()) + ", different topics " +
                  wf::told(out.at("value_different").scalar()));
  }

 private:
  static wf::tensor weight(wf::probe_context const& at, std::string const& name) {
    return at.model().weight(name).to(wf::dtype::f64);
  }
  wf::tensor attention(wf::probe_context const& at, std::string const& name) const {
    return weight(at, "blocks." + std::to_string(layer_) + ".attn." + name);
  }

  /// What the vectors of the values become when they are read as scores: through the heads' output, if the model has one, and the
  /// decoder.
  wf::tensor seen(wf::probe_context const& at, wf::tensor values) const {
    auto const& known = at.model().info().weights;
    auto const output = "blocks." + std::to_string(layer_) + ".attn.W_O";
    if (std::find(known.begin(), known.end(), output) != known.end()) values = wf::matmul(values, weight(at, output));
    return wf::matmul(values, weight(at, "unembed.W_U"));
  }

  /// Tokens that are no words: they are never predicted, so that their rows and columns show what training leaves alone.
  static void report_specials(wf::results& out, wf::tensor const& value, std::vector<std::int32_t> const& topic,
                              wf::model const& model) {
    std::vector<double> squares;
    std::vector<std::string> names;
    double rows = 0, entries = 0;
    for (std::size_t special = 0; special < topic.size(); ++special) {
      if (topic[special] != no_topic) continue;
      double column = 0;
      for (std::size_t word = 0; word < topic.size(); ++word) {
        if (topic[word] == no_topic) continue;
        column += value(word, special) * value(word, special);
        rows += value(special, word) * value(special, word);
        ++entries;
      }
      squares.push_back(column);
      names.push_back(model.token_text(static_cast<std::int32_t>(special)));
    }
    if (squares.empty()) return;
    out.add("special_columns", wf::tensor::of(squares, {{"special", squares.size()}}))
        .labels("special", names)
        .about("sum of squares over the words of the column of value that belongs to a special token")
        .view("bars");
    out.add("special_rows_rms", std::sqrt(rows / entries))
        .about("root mean square over the words of the rows of value of special tokens");
  }

  std::size_t layer_, words_per_topic_, first_word_;
};

WAYFARER_PROBE(topic_blocks, "1.0.0", "Topic structure of embeddings and value matrix: block means and contrasts per snapshot",
               wf::port::model("model"), wf::port::source("source", "where the topics of the words come from").optional(),
               wf::param("layer", 0, "layer whose attention is measured").at_least(0),
               wf::param("words_per_topic", 10, "topic of word w is w / words_per_topic, where no source says otherwise")
                   .fact("words_per_topic")
                   .at_least(1),
               wf::param("first_word", 4, "token of the first word, where there is no source").fact("first_word").at_least(0));
