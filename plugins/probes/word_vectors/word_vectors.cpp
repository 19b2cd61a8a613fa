// A table of word vectors: the words of a file, or all of a vocabulary, as rows of an embedding, as states at a hook, or from a
// file of vectors that another program made. word_similarity, analogy, pca and umap read it.
//
//     words: {probe: word_vectors, model: gpt2, words: EN-WS-353-ALL.txt}
//     words: {probe: word_vectors, model: gpt2, words: questions-words.txt, vocabulary: true}
//     words: {probe: word_vectors, model: bert, words: pairs.txt, hook: blocks.6.hook_resid_post}
//     words: {probe: word_vectors, vectors: glove.6B.300d.txt, words: pairs.txt, lower_case: true}
//
// A word's tokens are those that it has behind another word (" stone" in GPT-2). A state is the model's on the word alone, with
// what the tokenizer puts around a text.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/text_table.hpp>

#include "probes/common/token_rows.hpp"
#include "probes/common/words.hpp"
#include "vector_file.hpp"

namespace wf = wayfarer;

namespace {

/// Words in their order, each once, with their tokens, and a row for each.
struct word_list {
  std::vector<std::string> names;
  std::unordered_map<std::string, std::size_t> place;
  std::vector<std::vector<std::int32_t>> tokens;

  /// Where the word is; adds it if it is new.
  std::pair<std::size_t, bool> add(std::string const& word) {
    auto const [at, fresh] = place.emplace(word, names.size());
    if (fresh) names.push_back(word), tokens.emplace_back();
    return {at->second, fresh};
  }
};

wf::tensor table_of(std::size_t words, std::size_t width) {
  wf::tensor t(wf::dtype::f32, {{"word", words}, {"feature", width}});
  wf::walks::fill_missing(t);
  return t;
}

}  // namespace

struct word_vectors final : wf::probe, wf::plan_checker {
  explicit word_vectors(wf::config const& c)
      : weight_(c["weight"].text()),
        hook_(c["hook"].text()),
        pieces_(c["pieces"].text()),
        vectors_(c["vectors"].text()),
        most_(c["most_words"]),
        lower_(c["lower_case"].flag()) {
    if (!hook_.empty() && !vectors_.empty())
      throw wf::usage_error("'vectors' is a file without hooks; leave out 'hook' or 'vectors'");
    std::string const& path = c["words"].text();
    vocabulary_ = c["vocabulary"].flag() || path.empty();
    if (path.empty()) return;
    word_list all;
    wf::text_table const table(path);
    for (auto const& line : table.lines()) {
      if (line.fields[0].starts_with(':')) continue;  // a section of questions
      for (auto const field : line.fields)
        if (double value = 0; !field.empty() && !(wf::is_number(field, &value) && std::isfinite(value)))
          all.add(std::string(field));  // "nan" and "inf" are words, too
    }
    if (all.names.empty()) throw wf::data_error(path + ": there is no word in it; expected words in columns of text");
    wanted_ = std::move(all.names);
  }

  wf::hook_set needs(wf::model_info const& model) const override {
    if (hook_.empty()) return {};
    auto const found = model.hooks_for(hook_);
    for (auto const& name : found.names()) {
      auto const& hook = *model.find_hook(name);
      if (hook.per_pair || hook.along == wf::positions::decoder)
        throw wf::usage_error(name +
                              (hook.per_pair ? " has numbers for pairs of positions, not a vector at each"
                                             : " reads decoder tokens, and a word is none") +
                              "; choose another hook, such as hook_embed");
    }
    if (found.size() != 1)
      throw wf::usage_error(hook_ + " names " + std::to_string(found.size()) +
                            " hooks, and a table of words has one; use a sweep for more: `sweep: {hook: [...]}`");
    return found;
  }

  void check_plan(wf::probe_context const& at) const override {
    if (at.has_model() != vectors_.empty())
      throw wf::usage_error(at.has_model() ? "the vectors come from 'model' or from the file 'vectors'; leave out one of them"
                                           : "name a model, or a file of 'vectors'");
    if (at.has_model())
      tokenizer_of(at.model());
    else
      wf::check_vector_file(vectors_);
  }

  void finish(wf::accumulator const&, wf::results& out, wf::probe_context const& at) const override {
    check_plan(at);
    word_list words;
    for (auto const& w : wanted_) words.add(w);
    if (!at.has_model()) {
      file_facts facts;
      wf::tensor const table = from_file(words, facts);
      report(out, words, table);
      out.add("repeated_words", static_cast<double>(facts.repeated))
          .units("word")
          .about("lines of the file whose word had a vector already; the first one counts");
      out.summarise(out.summary() +
                    (facts.repeated > 0
                         ? "; " + wf::counted(facts.repeated, "line") + " of the file left out, whose word was there before"
                         : "") +
                    (facts.whole ? "" : "; the file's last line has no end, so its last number may be cut short"));
      return;
    }
    auto const& tokenizer = tokenizer_of(at.model());
    for (std::size_t w = 0; w < words.names.size(); ++w)
      words.tokens[w] = wf::words::tokens_of_word(tokenizer, lower_ ? wf::words::lower_case(words.names[w]) : words.names[w]);
    if (vocabulary_) add_vocabulary(words, tokenizer, at.model().info().vocabulary);
    report(out, words, hook_.empty() ? from_weight(words, at.model()) : from_hook(words, at.model(), tokenizer));
    wf::tensor pieces(wf::dtype::i32, {{"word", words.names.size()}});
    auto const n = pieces.view<std::int32_t>();
    for (std::size_t w = 0; w < words.names.size(); ++w) n(w) = static_cast<std::int32_t>(words.tokens[w].size());
    out.add("pieces", pieces)
        .units("token")
        .about("tokens of each word; 0: the tokenizer does not know it")
        .labels("word", words.names)
        .view("histogram");
    auto const single = std::count_if(words.tokens.begin(), words.tokens.end(), [](auto const& t) { return t.size() == 1; });
    out.add("words_of_one_token", static_cast<double>(single)).units("word").about("words that are one token");
    out.summarise(out.summary() + "; " + std::to_string(single) + " are one token, of the others " +
                  (pieces_ == "skip"   ? "there is none"
                   : pieces_ == "mean" ? "the mean of their tokens"
                                       : "the " + pieces_ + " token"));
  }

 private:
  static wf::tokenizer const& tokenizer_of(wf::model const& m) {
    if (auto const* t = m.text_tokenizer()) return *t;
    throw wf::usage_error(m.info().architecture +
                          " has no tokenizer, so words can't be found among its tokens; put its tokenizer's files into the "
                          "model's folder");
  }

  bool room_for_more(std::size_t added) const noexcept { return most_ == 0 || added < most_; }

  void add_vocabulary(word_list& words, wf::tokenizer const& tokenizer, std::size_t vocabulary) const {
    std::size_t added = 0;
    for (std::size_t t = 0; t < std::min(vocabulary, tokenizer.vocabulary()) && room_for_more(added); ++t) {
      auto const id = static_cast<std::int32_t>(t);
      std::string const word = wf::words::spelling_of(tokenizer, id);
      if (!wf::words::begins_word(tokenizer, id, word) || !wf::words::begins_with_letter(word)) continue;
      ++added;
      if (auto const [at, fresh] = words.add(word); fresh) words.tokens[at] = {id};
    }
    if (words.names.empty()) throw wf::usage_error("no token of this model's vocabulary begins a word; name a file of 'words'");
  }

  /// Rows of the words' tokens as one, into the word's row. `row(p)`: the vector of its p-th token.
  template <class Row>
  void pool(std::size_t tokens, Row const& row, std::span<float> to) const {
    if (tokens == 0 || (pieces_ == "skip" && tokens > 1)) return;
    std::size_t const first = pieces_ == "last" ? tokens - 1 : 0, last = pieces_ == "first" ? 1 : tokens;
    std::vector<double> sum(to.size());
    for (std::size_t p = first; p < last; ++p) {
      auto const x = row(p);
      for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += static_cast<double>(x[j]);
    }
    for (std::size_t j = 0; j < sum.size(); ++j) to[j] = static_cast<float>(sum[j] / static_cast<double>(last - first));
  }

  wf::tensor from_weight(word_list const& words, wf::model const& m) const {
    wf::tensor const table = wf::words::token_table(m, weight_);
    wf::tensor out = table_of(words.names.size(), table.size(1));
    auto const to = out.view<float>();
    for (std::size_t w = 0; w < words.names.size(); ++w) {
      auto const& tokens = words.tokens[w];
      std::vector<wf::tensor> rows;
      for (auto const id : tokens) {
        if (static_cast<std::size_t>(id) >= table.size(0))
          throw wf::data_error("the tokenizer gives '" + words.names[w] + "' token " + std::to_string(id) + ", and " + weight_ +
                               " has only " + std::to_string(table.size(0)) +
                               " rows; put the tokenizer that belongs to the model into its folder");
        rows.push_back(table[static_cast<std::size_t>(id)].to(wf::dtype::f32));
      }
      pool(
          tokens.size(), [&](std::size_t p) { return rows[p].values<float const>(); }, to.row(w));
    }
    return out;
  }

  wf::tensor from_hook(word_list const& words, wf::model const& m, wf::tokenizer const& tokenizer) const {
    constexpr std::size_t at_once = 64;
    auto const hooks = needs(m.info());
    // What the tokenizer puts around a text stands for none of it.
    std::vector<std::int32_t> before, behind;
    auto const around = tokenizer.encode("the");
    for (std::size_t i = 0; i < around.ids.size(); ++i)
      if (around.spans[i].begin == around.spans[i].end) (i == before.size() ? before : behind).push_back(around.ids[i]);
    wf::run_request request;
    request.capture = hooks;
    wf::tensor out;
    for (std::size_t first = 0; first < words.names.size(); first += at_once) {
      std::size_t const last = std::min(first + at_once, words.names.size());
      wf::batch batch;
      std::vector<std::size_t> which;
      for (std::size_t w = first; w < last; ++w) {
        if (words.tokens[w].empty()) continue;
        std::vector<std::int32_t> all = before;
        all.insert(all.end(), words.tokens[w].begin(), words.tokens[w].end());
        all.insert(all.end(), behind.begin(), behind.end());
        batch.tokens.push_back(all);
        which.push_back(w);
      }
      if (which.empty()) continue;
      auto const captured = m.run(batch, request);
      for (std::size_t i = 0; i < which.size(); ++i) {
        auto const states = wf::walks::vectors_of(captured.at(hooks.names()[0], i));  // [pos, feature]
        if (!out.defined()) out = table_of(words.names.size(), states.size(1));
        auto const rows = states.view<float const>();
        pool(
            words.tokens[which[i]].size(), [&](std::size_t p) { return rows.row(before.size() + p); },
            out.view<float>().row(which[i]));
      }
    }
    if (!out.defined()) nothing_is_known();
    return out;
  }

  [[noreturn]] static void nothing_is_known() {
    throw wf::data_error("none of the words has a vector; look at their language and case (lower_case)");
  }

  struct file_facts {
    std::size_t repeated = 0;
    bool whole = true;
  };

  /// Adds the file's words to the list where they are wanted.
  wf::tensor from_file(word_list& words, file_facts& facts) const {
    std::unordered_map<std::string, std::vector<std::size_t>> sought;
    for (std::size_t w = 0; w < words.names.size(); ++w)
      sought[lower_ ? wf::words::lower_case(words.names[w]) : words.names[w]].push_back(w);
    std::size_t const given = words.names.size();
    std::size_t read = 0, width = 0;
    std::vector<std::vector<float>> rows(given);
    facts.whole = wf::read_vector_file(vectors_, [&](std::string_view word, std::span<float const> vector) {
      width = vector.size();
      std::string const text(word);
      auto const found = sought.find(text);
      bool again = found != sought.end() && !rows[found->second.front()].empty();
      if (found != sought.end() && !again)
        for (std::size_t const w : found->second) rows[w].assign(vector.begin(), vector.end());
      if (vocabulary_) {
        auto const [at, fresh] = words.add(text);
        if (fresh) rows.emplace_back(vector.begin(), vector.end());
        again = again || (!fresh && at >= given);
      }
      facts.repeated += again;
      return room_for_more(++read);
    });
    wf::tensor out = table_of(words.names.size(), width);
    for (std::size_t w = 0; w < rows.size(); ++w)
      if (!rows[w].empty()) std::copy(rows[w].begin(), rows[w].end(), out.view<float>().row(w).begin());
    return out;
  }

  /// The table and its figures. Throws data_error for a table without a vector.
  void report(wf::results& out, word_list const& words, wf::tensor const& table) const {
    std::size_t const n = words.names.size(), width = table.size(1);
    auto const rows = table.view<float const>();
    std::vector<double> direction(width);
    double with = 0, unit = 0, zero = 0;
    for (std::size_t w = 0; w < n; ++w) {
      if (std::isnan(rows(w, 0))) continue;
      ++with;
      double const length = std::sqrt(wf::dot(rows.row(w), rows.row(w)));
      zero += length == 0;
      if (!(length > 0) || !std::isfinite(length)) continue;
      ++unit;
      for (std::size_t j = 0; j < width; ++j) direction[j] += static_cast<double>(rows(w, j)) / length;
    }
    if (with == 0) nothing_is_known();
    double const all = wf::dot(std::span<double const>(direction), direction),
                 mean = unit < 2 ? std::numeric_limits<double>::quiet_NaN() : (all - unit) / (unit * (unit - 1));
    out.add("vectors", table)
        .about("vector of each word")
        .labels("word", words.names)
        .missing("the word has no vector")
        .view("heatmap");
    out.add("words", static_cast<double>(n)).units("word").about("words asked for");
    out.add("words_with_vector", with).units("word").about("words that have a vector");
    out.add("zero_vectors", zero).units("word").about("words whose vector has length zero, and so no direction");
    out.add("mean_cosine", mean)
        .about("mean cosine between two different words")
        .missing("fewer than two vectors have a direction");
    std::string const words_with = wf::counted(static_cast<std::size_t>(with), "word") + " with a vector" +
                                   (static_cast<std::size_t>(with) < n ? ", of " + std::to_string(n) : "");
    out.summarise(
        (std::isnan(mean) ? words_with + "; fewer than two have a direction, so there is no mean cosine"
                          : "mean cosine " + wf::told(mean) + " between two of " + words_with) +
        (zero > 0 ? "; the vectors of " + wf::counted(static_cast<std::size_t>(zero), "word") + " have length zero" : ""));
  }

  std::string weight_, hook_, pieces_, vectors_;
  std::size_t most_;
  bool lower_, vocabulary_ = false;
  std::vector<std::string> wanted_;
};

WAYFARER_PROBE(
    word_vectors, "1.0.0",
    "Vectors of words: rows of an embedding, states at a hook, or a file in the format of GloVe or word2vec",
    wf::port::model("model").optional(),
    wf::param::file(
        "words", "",
        "text file whose words are wanted: every field that is no finite number; lines that begin with : or # are passed over. "
        "Without it: the vocabulary's"),
    wf::param("vocabulary", false, "beside the file's words, every token that begins a word, or every word of `vectors`"),
    wf::param("most_words", 0, "read so many words of the vocabulary or of `vectors`, the first ones; 0: all")
        .in("word")
        .at_least(0),
    wf::param("weight", "embed.W_E", "table with a vector for each token").one_of("embed.W_E|unembed.W_U"),
    wf::param("hook", "", "instead of a table, the model's states there, of each word alone"),
    wf::param("pieces", "mean", "of a word of several tokens: their mean, the first or last one's vector, or none")
        .one_of("mean|first|last|skip"),
    wf::param::file("vectors", "", "instead of a model, a text file of word vectors"),
    wf::param("lower_case", false, "look words up in lower case (A to Z); they are still listed as they are written"));
