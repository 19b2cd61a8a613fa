// word_vectors against the tables and states that it reads; word_similarity and analogy against plain loops, on vectors with a
// planted structure and on vectors without any.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/statistics.hpp>
#include <wayfarer/text_table.hpp>

#include "golden_models.hpp"
#include "run_plugins.hpp"

namespace wf = wayfarer;
using settings = wf::test::values;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

namespace {

std::string const runs = WAYFARER_SOURCE_DIR "/runs/data/";

struct words_test : testing::Test {
  std::string write(std::string const& name, std::string const& text) const {
    wf::write_file_atomically(folder.file(name), text);
    return folder.file(name);
  }
  wf::test::scratch_folder folder;
};

double number(wf::results const& r, std::string_view name) {
  return r.at(name).scalar();
}

wf::results vectors_of(settings given, wf::model const* m) {
  wf::results out;
  wf::test::make_probe("word_vectors", std::move(given))
      ->finish(wf::accumulator(0), out, wf::probe_context(m, nullptr, {0, 0}, 0));
  return out;
}

wf::results measure(std::string const& id, settings const& given, wf::dataset const& of) {
  wf::metric_input in;
  in.put("of", "words/vectors", nullptr, &of);
  wf::results out;
  wf::test::make<wf::metric>(id, given)->measure(in, out);
  return out;
}

wf::dataset named(std::vector<std::string> const& names, wf::tensor const& rows) {
  wf::dataset d(rows);
  d.labels("word", names);
  return d;
}

wf::tensor random_rows(std::size_t n, std::size_t width, std::uint64_t seed) {
  wf::tensor t(wf::dtype::f32, {{"word", n}, {"feature", width}});
  wf::random_stream draw(seed, "rows");
  for (float& v : t.values<float>()) v = static_cast<float>(draw.normal());
  return t;
}

/// A file of random vectors for the words of a table.
std::string random_file(std::string const& path) {
  std::set<std::string> words;
  wf::text_table const table(path);
  for (auto const& line : table.lines())
    for (auto const field : line.fields)
      if (!wf::is_number(field)) words.emplace(field);
  wf::random_stream draw(1, "file");
  std::string text;
  for (auto const& w : words) {
    text += w;
    for (int j = 0; j < 20; ++j) text += " " + std::to_string(draw.normal());
    text += "\n";
  }
  return text;
}

std::vector<std::string> numbered(std::size_t n) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < n; ++i) names.push_back("w" + std::to_string(i));
  return names;
}

// ---- word_vectors ----------------------------------------------------------------------------------------------------------

struct word_vectors : words_test {
  std::unique_ptr<wf::model> gpt2 = wf::test::open_model("gpt2", runs + "austen-gpt2");

  std::size_t place(wf::results const& r, std::string const& word) const {
    auto const& names = *r.at("vectors").find_labels("word");
    return static_cast<std::size_t>(std::find(names.begin(), names.end(), word) - names.begin());
  }
  std::vector<float> row(wf::results const& r, std::string const& word) const {
    auto const t = r.at("vectors").values()[place(r, word)];
    auto const v = t.values<float const>();
    return {v.begin(), v.end()};
  }
  std::vector<float> token(std::string const& text) const {
    auto const t = gpt2->weight("embed.W_E")[static_cast<std::size_t>(*gpt2->text_tokenizer()->find(text))].to(wf::dtype::f32);
    auto const v = t.values<float const>();
    return {v.begin(), v.end()};
  }
  /// A file of vectors with this text is a data error that says why.
  void refused(std::string const& text, std::string const& why) const {
    EXPECT_THAT(
        [&] {
          vectors_of({{"vectors", write("vectors.txt", text)}}, nullptr);
        },
        ThrowsMessage<wf::data_error>(HasSubstr(why)))
        << text;
  }
};

TEST_F(word_vectors, are_the_rows_of_the_words_tokens) {
  // " above" is " ab" and "ove" or the like: several tokens.
  auto const words = write("words.txt", ": family\nfather above 9.5\nfather,daughter\n");
  auto const ids = gpt2->text_tokenizer()->encode(" above").ids;
  ASSERT_GT(ids.size(), 1u);
  std::vector<float> first = token(gpt2->text_tokenizer()->token_bytes(ids.front())),
                     last = token(gpt2->text_tokenizer()->token_bytes(ids.back()));
  for (std::string const pieces : {"mean", "first", "last", "skip"}) {
    auto const r = vectors_of({{"words", words}, {"pieces", pieces}}, gpt2.get());
    EXPECT_THAT(*r.at("vectors").find_labels("word"), ElementsAre("father", "above", "daughter"));
    EXPECT_EQ(row(r, "father"), token(" father"));
    EXPECT_EQ(row(r, "daughter"), token(" daughter"));
    EXPECT_EQ(r.at("pieces").values().get({1}), static_cast<double>(ids.size()));
    EXPECT_EQ(number(r, "words_of_one_token"), 2);
    auto const above = row(r, "above");
    if (pieces == "skip") {
      EXPECT_TRUE(std::isnan(above[0]));
      EXPECT_EQ(number(r, "words_with_vector"), 2);
    } else if (pieces == "mean") {
      for (std::size_t j = 0; j < above.size(); ++j) {
        double sum = 0;
        for (auto const id : ids) sum += gpt2->weight("embed.W_E").get({static_cast<std::size_t>(id), j});
        EXPECT_NEAR(above[j], sum / static_cast<double>(ids.size()), 1e-7);
      }
    } else {
      EXPECT_EQ(above, pieces == "first" ? first : last);
    }
  }
}

TEST_F(word_vectors, of_a_tied_head_are_those_of_the_embedding) {
  auto const words = write("words.txt", "father\ndaughter\n");
  EXPECT_EQ(row(vectors_of({{"words", words}, {"weight", std::string("unembed.W_U")}}, gpt2.get()), "father"), token(" father"));
  EXPECT_THAT(
      [&] {
        vectors_of({{"words", words}, {"weight", std::string("pos_embed.W_pos")}}, gpt2.get());
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("choose embed.W_E or unembed.W_U")));
}

TEST_F(word_vectors, of_a_vocabulary_are_the_tokens_that_begin_a_word) {
  auto const r = vectors_of({}, gpt2.get());
  auto const& names = *r.at("vectors").find_labels("word");
  EXPECT_GT(names.size(), 900u);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size()) << "each once";
  EXPECT_THAT(names, Contains("father"));
  EXPECT_THAT(names, Not(Contains(".")));
  EXPECT_EQ(row(r, "father"), token(" father"));
  // The mean cosine over all pairs, pair by pair.
  auto const rows = r.at("vectors").values().view<float const>();
  double sum = 0, pairs = 0;
  for (std::size_t i = 0; i < names.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) sum += wf::cosine(rows.row(i), rows.row(j)), ++pairs;
  EXPECT_NEAR(number(r, "mean_cosine"), sum / pairs, 1e-10);
  auto const few = vectors_of({{"most_words", std::int64_t{7}}}, gpt2.get());
  EXPECT_EQ(few.at("vectors").values().size(0), 7u);
  auto const both = vectors_of({{"words", write("words.txt", "zeppelin father\n")}, {"vocabulary", true}}, gpt2.get());
  EXPECT_EQ(both.at("vectors").values().size(0), names.size() + 1) << "the file's words first, each once";
  EXPECT_EQ(both.at("vectors").find_labels("word")->at(0), "zeppelin");
}

TEST_F(word_vectors, at_a_hook_are_the_states_of_the_word_alone) {
  auto const words = write("words.txt", "father above\n");
  auto const embedded = vectors_of({{"words", words}, {"hook", std::string("hook_embed")}}, gpt2.get());
  auto const table = vectors_of({{"words", words}}, gpt2.get());
  EXPECT_EQ(row(embedded, "father"), row(table, "father"));
  std::string const hook = "blocks.1.hook_resid_post";
  auto const r = vectors_of({{"words", words}, {"hook", hook}, {"pieces", std::string("last")}}, gpt2.get());
  wf::batch b;
  b.tokens.push_back(gpt2->text_tokenizer()->encode(" above").ids);
  wf::run_request request;
  request.capture = gpt2->info().hooks_for(hook);
  auto const states = gpt2->run(b, request).at(hook, 0).view<float const>();
  auto const last = states.row(states.size(0) - 1);
  EXPECT_EQ(row(r, "above"), std::vector<float>(last.begin(), last.end()));
  for (auto const* wrong : {"blocks.0.attn.hook_pattern", "blocks.*.hook_resid_post"})
    EXPECT_THROW(wf::test::make_probe("word_vectors", {{"hook", std::string(wrong)}})->needs(gpt2->info()), wf::usage_error)
        << wrong;
}

TEST_F(word_vectors, stand_between_what_the_tokenizer_puts_around_a_text) {
  auto const bert = wf::test::open_model("bert", runs + "tiny-bert");
  auto const& t = *bert->text_tokenizer();
  std::string known;
  for (std::int32_t id = 0; known.empty(); ++id)
    if (auto const text = t.token_text(id); t.begins_word(id) && text.size() > 3 && text[0] >= 'a' && text[0] <= 'z')
      known = text;
  std::string const hook = "blocks.0.hook_resid_post";
  auto const r = vectors_of({{"words", write("words.txt", known + "\n\xE4\xB8\x80\xE4\xB8\x81\n")}, {"hook", hook}}, bert.get());
  wf::batch b;
  b.tokens.push_back(t.encode(known).ids);
  ASSERT_EQ(b.tokens[0].size(), 3u) << "[CLS] " << known << " [SEP]";
  wf::run_request request;
  request.capture = bert->info().hooks_for(hook);
  auto const state = bert->run(b, request).at(hook, 0).view<float const>().row(1);
  EXPECT_EQ(row(r, known), std::vector<float>(state.begin(), state.end()));
  EXPECT_EQ(r.at("pieces").values().get({1}), 0) << "an unknown word has no token";
  EXPECT_EQ(number(r, "words_with_vector"), 1);
}

TEST_F(word_vectors, come_out_of_files_of_other_programs) {
  std::string const glove = "the 1 0 -1\nfather 0.5 2 3e-1\n. . 7 8 9\nabove 4 5 6\n";
  for (bool const header : {false, true}) {
    auto const file = write("vectors.txt", (header ? "4 3\n" : "") + glove);
    auto const r =
        vectors_of({{"vectors", file}, {"words", write("words.txt", "Father zebra above")}, {"lower_case", true}}, nullptr);
    EXPECT_THAT(*r.at("vectors").find_labels("word"), ElementsAre("Father", "zebra", "above"));
    EXPECT_THAT(row(r, "Father"), ElementsAre(0.5f, 2.0f, 0.3f));
    EXPECT_TRUE(std::isnan(row(r, "zebra")[0]));
    EXPECT_THAT(row(r, "above"), ElementsAre(4.0f, 5.0f, 6.0f));
    auto const all = vectors_of({{"vectors", file}}, nullptr);
    EXPECT_THAT(*all.at("vectors").find_labels("word"), ElementsAre("the", "father", ". .", "above"));
    EXPECT_EQ(vectors_of({{"vectors", file}, {"most_words", std::int64_t{2}}}, nullptr).at("vectors").values().size(0), 2u);
  }
}

TEST_F(word_vectors, refuse_what_they_can_not_read) {
  refused("", "no word vector in it");
  refused("lonely\n", "line 1: there is no number");
  refused("a 1 2\nb 1\n", "line 2: it has fewer numbers");
  refused("a 1 2\nb 1 x\n", "line 2: 'x' is no number");
  refused("a 1 nan\n", "line 1: 'nan' is no number");
  refused("a 1 1e39\n", "line 1: '1e39' is too large for float32");
  refused("a 1 2\nb 1 2 3\n", "line 2: it has more numbers than the first line has, which is 2");
  refused("a 1 2\n 1 2\n", "line 2: the word is missing");
  EXPECT_THAT(
      [&] {
        wf::test::make_probe("word_vectors", {{"words", write("w.txt", "")}});
      },
      ThrowsMessage<wf::data_error>(HasSubstr("no line")));
  EXPECT_THAT(
      [&] {
        wf::test::make_probe("word_vectors", {{"words", write("w.txt", "1 2\n3\n")}});
      },
      ThrowsMessage<wf::data_error>(HasSubstr("no word in it")));
  auto const file = write("vectors.txt", "a 1 2\n");
  EXPECT_THROW(vectors_of({{"vectors", file}}, gpt2.get()), wf::usage_error);
  EXPECT_THROW(vectors_of({}, nullptr), wf::usage_error);
  EXPECT_THROW(vectors_of({{"vectors", file}, {"words", write("w.txt", "zebra")}}, nullptr), wf::data_error);
  EXPECT_THROW(wf::test::make_probe("word_vectors", {{"vectors", file}, {"hook", std::string("hook_embed")}}), wf::usage_error);
}

TEST_F(word_vectors, hold_a_file_to_its_header) {
  std::string const five = "a 1 2\nb 3 4\nc 5 6\nd 7 8\ne 9 10\n";
  EXPECT_EQ(number(vectors_of({{"vectors", write("vectors.txt", "5 2\n" + five)}}, nullptr), "words"), 5);
  refused("7 3\n" + five, "line 2: it has fewer numbers (2) than the header (line 1) promises, which is 3");
  refused("5 1\n" + five, "line 2: it has more numbers than the header (line 1) promises, which is 1");
  refused("6 2\n" + five, "line 6: the file ends after 5 words, and the header (line 1) promises 6");
  refused("4 2\n" + five, "line 6: there is a word more than the header (line 1) promises, which is 4");
  refused("5 2\n" + five.substr(0, five.size() - 4), "line 6: it has fewer numbers (1)");
  refused("5 0\n" + five, "line 1: the header promises vectors without a number");
  refused("5 2\n", "ends after 0 words");
  auto const few = vectors_of({{"vectors", write("vectors.txt", "9 2\n" + five)}, {"most_words", std::int64_t{3}}}, nullptr);
  EXPECT_EQ(number(few, "words"), 3) << "what was not read is not counted";
  auto const told = [&](std::string const& text) {
    return vectors_of({{"vectors", write("vectors.txt", text)}}, nullptr).summary();
  };
  EXPECT_THAT(told("5 2\n" + five.substr(0, five.size() - 2)),
              HasSubstr("last line has no end, so its last number may be cut short"));
  EXPECT_THAT(told("5 2\n" + five), Not(HasSubstr("cut short")));
}

TEST_F(word_vectors, read_words_as_text_whatever_they_say) {
  auto const file = write("vectors.txt", "\xEF\xBB\xBFnan +1 1e-46\ninf -2 3\n2003 4 -1e-400\nthe 1 1\n");
  auto const r = vectors_of({{"vectors", file}, {"words", write("words.txt", "nan inf 7.5\nthe,infinity,3\n")}}, nullptr);
  EXPECT_THAT(*r.at("vectors").find_labels("word"), ElementsAre("nan", "inf", "the", "infinity"));
  EXPECT_THAT(row(r, "nan"), ElementsAre(1.0f, 0.0f)) << "behind a byte order mark";
  EXPECT_THAT(row(r, "inf"), ElementsAre(-2.0f, 3.0f));
  auto const all = vectors_of({{"vectors", file}}, nullptr);
  EXPECT_THAT(*all.at("vectors").find_labels("word"), ElementsAre("nan", "inf", "2003", "the"));
  EXPECT_THAT(row(all, "2003"), ElementsAre(4.0f, 0.0f));
}

TEST_F(word_vectors, come_from_text_only) {
  using namespace std::string_literals;
  auto const refused = [&](std::string const& text, std::string const& why) {
    auto const file = write("vectors.txt", text);
    EXPECT_THAT([&] { vectors_of({{"vectors", file}}, nullptr); }, ThrowsMessage<wf::data_error>(HasSubstr(why))) << why;
  };
  refused("a 1 2\ncaf\xe9 1 2\n", "line 2: this is not UTF-8: byte 9 is 0xe9");
  refused("caf\xe9 1 2\n", "1: this is not UTF-8: byte 3 is 0xe9");
  refused("2 2\na \0\1\xff 3\nb 4 5\n"s, "line 2: byte 6 is NUL, which no text holds; if this is word2vec's binary format");
  refused("2 2\na \xff\xfe\n",
          "this is not UTF-8: byte 6 is 0xff; convert the text (from Latin-1: iconv -f LATIN1 -t UTF-8); if this is "
          "word2vec's binary format, save it as text");
  refused("a\0 \0001\0\n\0"s, "UTF-16LE");
  refused("\x1f\x8b\x08\0abc"s, "this is packed (gzip), not text; unpack it: zcat '");
  refused("\x28\xb5\x2f\xfd\0abc"s, "zstdcat");
}

TEST_F(word_vectors, of_a_word_that_comes_twice_are_the_first_ones) {
  auto const file = write("vectors.txt", "a 1 2\nb 3 4\na 5 6\nA 7 8\na 9 9\nb 1 1\n");
  auto const all = vectors_of({{"vectors", file}}, nullptr);
  EXPECT_EQ(number(all, "repeated_words"), 3);
  EXPECT_THAT(all.summary(), HasSubstr("3 lines of the file left out, whose word was there before"));
  EXPECT_THAT(row(all, "a"), ElementsAre(1.0f, 2.0f));
  for (bool const vocabulary : {false, true}) {
    auto const r = vectors_of(
        {{"vectors", file}, {"words", write("words.txt", "A a\n")}, {"lower_case", true}, {"vocabulary", vocabulary}}, nullptr);
    EXPECT_EQ(number(r, "repeated_words"), vocabulary ? 3 : 2);
    EXPECT_THAT(row(r, "A"), ElementsAre(1.0f, 2.0f));
  }
  EXPECT_EQ(number(vectors_of({{"vectors", write("vectors.txt", "a 1\nb 2\n")}}, nullptr), "repeated_words"), 0);
}

TEST_F(word_vectors, without_a_direction_are_told) {
  auto const one = vectors_of({{"vectors", write("vectors.txt", "a 0.1 0.7 0.3\nb 0 0 0\n")}}, nullptr);
  EXPECT_TRUE(std::isnan(number(one, "mean_cosine")));
  EXPECT_EQ(number(one, "zero_vectors"), 1);
  EXPECT_EQ(one.summary(),
            "2 words with a vector; fewer than two have a direction, so there is no mean cosine; the vectors of 1 word have "
            "length zero");
  EXPECT_NEAR(number(vectors_of({{"vectors", write("vectors.txt", "a 1 0\nb 1 1\nc 0 0\n")}}, nullptr), "mean_cosine"),
              std::sqrt(0.5), 1e-6);
  std::string wide = "a";
  for (int i = 0; i < 300'000; ++i) wide += " 0.1";
  EXPECT_TRUE(std::isnan(number(vectors_of({{"vectors", write("vectors.txt", wide + "\n")}}, nullptr), "mean_cosine")));
}

TEST_F(word_vectors, are_looked_for_before_anything_runs) {
  auto const check = [&](settings given, wf::model const* m) {
    auto const p = wf::test::make_probe("word_vectors", std::move(given));
    dynamic_cast<wf::plan_checker const&>(*p).check_plan(wf::probe_context(m, nullptr, {0, 0}, 0));
  };
  EXPECT_THROW(check({}, nullptr), wf::usage_error);
  EXPECT_THROW(check({{"vectors", std::string("/does/not/exist")}}, nullptr), wf::data_error);
  EXPECT_THROW(check({{"vectors", write("v.txt", "\x1f\x8b\x08 1\n")}}, nullptr), wf::data_error);
  EXPECT_THROW(check({{"vectors", write("v.txt", "a 1\n")}}, gpt2.get()), wf::usage_error);
  check({{"vectors", write("v.txt", "a 1\n")}}, nullptr);
  check({}, gpt2.get());
}

// ---- word_similarity -------------------------------------------------------------------------------------------------------

struct word_similarity : words_test {
  /// Words on a quarter of a circle, so that a pair's cosine falls with the distance of its numbers; rated by that distance.
  static constexpr std::size_t n = 24;
  wf::dataset circle() const {
    wf::tensor t(wf::dtype::f32, {{"word", n}, {"feature", 2}});
    for (std::size_t i = 0; i < n; ++i) {
      double const angle = M_PI / 2 * static_cast<double>(i) / n;
      t.view<float>()(i, 0) = static_cast<float>(std::cos(angle) * (1 + static_cast<double>(i)));
      t.view<float>()(i, 1) = static_cast<float>(std::sin(angle) * (1 + static_cast<double>(i)));
    }
    return named(numbered(n), t);
  }
  std::string rated(int sign) const {
    std::string text;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < i; j += 3)
        text += "w" + std::to_string(i) + "\tw" + std::to_string(j) + "\t" +
                std::to_string(sign * (static_cast<int>(j) - static_cast<int>(i))) + "\n";
    return text;
  }
};

TEST_F(word_similarity, finds_a_planted_order_and_its_reverse) {
  for (int const sign : {1, -1}) {
    auto const r = measure("word_similarity", {{"path", write("pairs.txt", rated(sign))}}, circle());
    // Ratings tie where cosines differ in the last digits, so not exactly 1.
    EXPECT_NEAR(number(r, "spearman"), sign, 0.01);
    EXPECT_EQ(number(r, "coverage"), 1);
    EXPECT_LT(std::abs(number(r, "shuffled")), 0.1);
    EXPECT_GT(number(r, "shuffled_deviation"), 0.02);
    EXPECT_THAT(r.summary(), HasSubstr("with shuffled vectors"));
  }
}

TEST_F(word_similarity, finds_nothing_in_random_vectors) {
  std::vector<double> values;
  auto const path = write("pairs.txt", rated(1));
  double deviation = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    auto const r = measure("word_similarity", {{"path", path}, {"shuffles", std::int64_t{50}}},
                           named(numbered(n), random_rows(n, 16, seed)));
    values.push_back(number(r, "spearman"));
    deviation += number(r, "shuffled_deviation") / 40;
  }
  auto const m = wf::moments_of(values);
  EXPECT_LT(std::abs(m.mean), 4 * m.standard_error());
  EXPECT_NEAR(deviation / m.deviation, 1, 0.35) << "shuffles say how far chance alone goes";
}

TEST_F(word_similarity, equals_plain_loops_with_what_is_not_covered_left_out) {
  std::size_t const words = 30;
  auto rows = random_rows(words, 8, 3);
  rows.view<float>()(5, 2) = std::nanf("");
  for (std::size_t j = 0; j < 8; ++j) rows.view<float>()(6, j) = 0;
  wf::random_stream draw(4, "pairs");
  for (std::string const by : {"cosine", "dot"}) {
    std::string text = "Word 1,Word 2,Human (mean)\n";
    std::vector<double> score, likeness;
    for (int p = 0; p < 60; ++p) {
      std::size_t const a = draw.below(words + 2), b = draw.below(words + 2);
      int const s = static_cast<int>(draw.below(6));  // ties
      text += "w" + std::to_string(a) + ", w" + std::to_string(b) + "," + std::to_string(s) + "\n";
      if (std::max(a, b) >= words || a == 5 || b == 5 || a == 6 || b == 6) continue;
      auto const v = rows.view<float const>();
      score.push_back(s), likeness.push_back(by == "dot" ? wf::dot(v.row(a), v.row(b)) : wf::cosine(v.row(a), v.row(b)));
    }
    auto const r = measure("word_similarity", {{"path", write("pairs.txt", text)}, {"by", by}}, named(numbered(words), rows));
    EXPECT_NEAR(number(r, "spearman"), wf::spearman(score, likeness).value, 1e-12) << by;
    EXPECT_EQ(number(r, "pairs"), 60);
    EXPECT_EQ(number(r, "covered"), static_cast<double>(score.size()));
    EXPECT_EQ(r.at("likeness").values().size(0), 60u);
  }
}

TEST_F(word_similarity, takes_the_score_from_the_column_that_is_named) {
  auto const path = write("simlex.txt", "word1\tword2\tPOS\tSimLex999\nw0\tw1\tA\t9\nw0\tw9\tN\t2\nw3\tw20\tN\t1\n");
  EXPECT_NEAR(number(measure("word_similarity", {{"path", path}, {"score_column", std::int64_t{4}}}, circle()), "spearman"), 1,
              1e-12);
  EXPECT_THAT(
      [&] {
        measure("word_similarity", {{"path", path}}, circle());
      },
      ThrowsMessage<wf::data_error>(HasSubstr("line 2: the score 'A' in column 3 is no number")));
}

TEST_F(word_similarity, refuses_what_can_not_be_rated) {
  auto const refused = [&](std::string const& text, std::string const& why) {
    EXPECT_THAT(
        [&] {
          measure("word_similarity", {{"path", write("pairs.txt", text)}}, circle());
        },
        ThrowsMessage<wf::data_error>(HasSubstr(why)))
        << text;
  };
  refused("", "no line holds anything");
  refused("w0\nw1\n", "line 1: it has 1 column");
  refused("w0 w1 2\nw1 w2\n", "line 2: it has 2 columns");
  refused("w0 w1 nan\n", "line 1: the score is not finite");
  refused("w0 w1 inf\n", "not finite");
  refused("a b score\n", "no pair of words");
  refused("w0,,3\n", "a word is missing");
  refused("tiger cat 7\nlove sex 6\n", "no pair has both words among the 24 words with a vector; the first pair is tiger cat");
  auto const path = write("pairs.txt", "w0 w1 2\n");
  EXPECT_THAT(
      [&] {
        measure("word_similarity", {{"path", path}}, wf::dataset(random_rows(4, 3, 0)));
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("a name for each row")));
  auto const one = measure("word_similarity", {{"path", path}}, circle());
  EXPECT_TRUE(std::isnan(number(one, "spearman"))) << "one pair has no order";
  EXPECT_THAT(one.summary(), HasSubstr("no number"));
}

TEST_F(word_similarity, tells_of_vectors_without_length) {
  wf::tensor rows = random_rows(6, 4, 2);
  for (std::size_t j = 0; j < 4; ++j) rows.view<float>()(5, j) = 0;
  auto const r =
      measure("word_similarity", {{"path", write("pairs.txt", "w0 w1 1\nw2 w3 2\nw4 w5 3\n")}}, named(numbered(6), rows));
  EXPECT_EQ(number(r, "covered"), 2);
  EXPECT_THAT(r.summary(), HasSubstr("; 1 vector of length zero is left out"));
  EXPECT_THAT(
      [&] {
        measure("word_similarity", {{"path", write("pairs.txt", "w4 w5 3\n")}}, named(numbered(6), rows));
      },
      ThrowsMessage<wf::data_error>(HasSubstr("1 vector of length zero")));
}

// ---- analogy ---------------------------------------------------------------------------------------------------------------

struct analogy : words_test {
  /// Eight words in two forms each, "w0" and "w8" and so on, whose difference is the same up to noise, among other words.
  static constexpr std::size_t pairs = 8, all = 700;
  wf::tensor planted(double noise) const {
    auto rows = random_rows(all, 48, 7);
    auto const v = rows.view<float>();
    auto const shift = random_rows(1, 48, 8), off = random_rows(pairs, 48, 9);
    for (std::size_t i = 0; i < pairs; ++i)
      for (std::size_t j = 0; j < 48; ++j)
        v(i + pairs, j) = v(i, j) + shift.view<float>()(0, j) + static_cast<float>(noise) * off.view<float>()(i, j);
    return rows;
  }
  static std::string word(std::size_t i) { return "w" + std::to_string(i); }
  std::string questions() const {
    std::string text = ": first half\n";
    for (std::size_t i = 0; i < pairs; ++i) {
      if (i == pairs / 2) text += ":second\n";
      for (std::size_t j = 0; j < pairs; ++j)
        if (i != j) text += word(i) + " " + word(i + pairs) + " " + word(j) + " " + word(j + pairs) + "\n";
    }
    return text;
  }
};

TEST_F(analogy, finds_a_planted_relation_and_not_the_questions_own_words) {
  auto const path = write("questions.txt", questions());
  for (double const size : {1.0, 0.01}) {  // with a small shift the nearest word would be b itself
    auto rows = planted(0.05);
    auto const v = rows.view<float>();
    if (size < 1)
      for (std::size_t i = 0; i < pairs; ++i)
        for (std::size_t j = 0; j < 48; ++j) v(i + pairs, j) = v(i, j) + static_cast<float>(size) * (v(i + pairs, j) - v(i, j));
    auto const r = measure("analogy", {{"path", path}}, named(numbered(all), rows));
    for (auto const* m : {"add", "mul"}) {
      EXPECT_EQ(number(r, std::string("accuracy_") + m), 1) << m;
      EXPECT_EQ(number(r, std::string("reciprocal_rank_") + m), 1) << m;
    }
    EXPECT_EQ(number(r, "covered"), pairs * (pairs - 1));
    EXPECT_NEAR(number(r, "chance"), 1.0 / (all - 3), 1e-15);
    EXPECT_THAT(*r.at("section_add").find_labels("section"), ElementsAre("first half", "second"));
    EXPECT_EQ(r.at("section_questions").values()(0), pairs * (pairs - 1) / 2);
  }
}

TEST_F(analogy, takes_a_word_in_capitals_and_in_small_letters_with_one_vector_for_one) {
  auto rows = planted(0.05);
  auto const v = rows.view<float>();
  for (std::size_t i = 0; i < pairs; ++i)  // a small shift: b itself would win
    for (std::size_t j = 0; j < 48; ++j) v(i + pairs, j) = v(i, j) + 0.01f * (v(i + pairs, j) - v(i, j));
  auto const path = write("questions.txt", questions());
  auto const small = measure("analogy", {{"path", path}}, named(numbered(all), rows));
  // The questions' words once more, in capitals and as word_vectors lists them: before the vocabulary's.
  std::string text = questions();
  for (char& c : text) c = c == 'w' ? 'W' : c;
  auto names = numbered(2 * pairs);
  for (auto& n : names) n[0] = 'W';
  wf::tensor twice(wf::dtype::f32, {{"word", all + 2 * pairs}, {"feature", 48}});
  for (std::size_t i = 0; i < 2 * pairs; ++i) wf::copy_into(twice[i], rows[i]);
  for (std::size_t i = 0; i < all; ++i) names.push_back(word(i)), wf::copy_into(twice[2 * pairs + i], rows[i]);
  auto const capitals = measure("analogy", {{"path", write("capitals.txt", text)}}, named(names, twice));
  for (auto const* m : {"accuracy_add", "accuracy_mul", "candidates", "chance", "covered"})
    EXPECT_EQ(number(capitals, m), number(small, m)) << m;
  EXPECT_EQ(number(capitals, "accuracy_add"), 1);
  // With a vector of its own the other spelling is a word of its own.
  twice.view<float>()(0, 0) += 1;
  EXPECT_EQ(number(measure("analogy", {{"path", path}}, named(names, twice)), "candidates"), all + 1);
}

TEST_F(analogy, tells_the_chance_of_a_guess_as_a_share) {
  auto const r =
      measure("analogy", {{"path", write("questions.txt", "w0 w1 w2 w3\n")}}, named(numbered(4), random_rows(4, 8, 1)));
  EXPECT_EQ(number(r, "chance"), 1);
  EXPECT_THAT(r.summary(), HasSubstr("a guess has 100 %"));
}

TEST_F(analogy, finds_nothing_in_random_vectors) {
  auto const r =
      measure("analogy", {{"path", write("questions.txt", questions())}}, named(numbered(all), random_rows(all, 48, 11)));
  EXPECT_LT(number(r, "accuracy_add"), 0.06);
  EXPECT_LT(number(r, "accuracy_mul"), 0.06);
}

/// Scores of every candidate by both methods, with loops in float64.
std::array<std::vector<double>, 2> plain(wf::tensor const& rows, std::array<std::size_t, 3> const& q) {
  std::array<std::vector<double>, 2> s;
  auto const v = rows.view<float const>();
  for (std::size_t x = 0; x < rows.size(0); ++x) {
    double const a = wf::cosine(v.row(x), v.row(q[0])), a_star = wf::cosine(v.row(x), v.row(q[1])),
                 b = wf::cosine(v.row(x), v.row(q[2]));
    bool const own = x == q[0] || x == q[1] || x == q[2];
    s[0].push_back(own ? -INFINITY : b - a + a_star);
    s[1].push_back(own ? -INFINITY : (b + 1) / 2 * (a_star + 1) / 2 / ((a + 1) / 2 + 0.001));
  }
  return s;
}

TEST_F(analogy, equals_plain_loops_on_every_number_of_threads) {
  std::size_t const n = 1100;  // three chunks
  auto const rows = random_rows(n, 12, 21);
  std::string text;
  std::vector<std::array<std::size_t, 4>> asked;
  wf::random_stream draw(22, "questions");
  for (int i = 0; i < 50; ++i) {
    std::array<std::size_t, 4> q{};
    for (auto& w : q) w = draw.below(n + 30);
    if (i == 3) q = {1, 2, 3, 2};  // the answer is a word of the question
    for (auto const w : q) text += word(w) + " ";
    text += "\n";
    asked.push_back(q);
  }
  auto const path = write("questions.txt", text);
  auto const of = named(numbered(n), rows);
  for (int const threads : {1, 2, 4}) {
    auto const r = wf::test::on_threads(threads, [&] { return measure("analogy", {{"path", path}}, of); });
    double hits[2] = {}, covered = 0;
    for (std::size_t i = 0; i < asked.size(); ++i) {
      auto const& q = asked[i];
      bool const known = *std::max_element(q.begin(), q.end()) < n;
      covered += known;
      auto const s = known ? plain(rows, {q[0], q[1], q[2]}) : std::array<std::vector<double>, 2>{};
      for (std::size_t m = 0; m < 2; ++m) {
        std::string const name = m == 0 ? "add" : "mul";
        double const rank = r.at("rank_" + name).values()(i);
        auto const& answer = r.at("answer_" + name).texts()[i];
        if (!known) {
          EXPECT_TRUE(std::isnan(rank));
          EXPECT_EQ(answer, "");
          continue;
        }
        auto const best = static_cast<std::size_t>(std::max_element(s[m].begin(), s[m].end()) - s[m].begin());
        EXPECT_EQ(answer, word(best));
        hits[m] += best == q[3];
        if (std::find(q.begin(), q.begin() + 3, q[3]) != q.begin() + 3)
          EXPECT_TRUE(std::isnan(rank)) << "it can't be given: question " << i << ", " << q[0] << ' ' << q[1] << ' ' << q[2];
        else
          EXPECT_EQ(rank,
                    1 + static_cast<double>(std::count_if(s[m].begin(), s[m].end(), [&](double v) { return v > s[m][q[3]]; })));
      }
    }
    EXPECT_EQ(number(r, "covered"), covered);
    EXPECT_NEAR(number(r, "accuracy_add"), hits[0] / covered, 1e-15);
    EXPECT_NEAR(number(r, "accuracy_mul"), hits[1] / covered, 1e-15);
  }
}

TEST_F(analogy, refuses_what_asks_nothing) {
  auto const of = named(numbered(9), random_rows(9, 4, 1));
  auto const refused = [&](std::string const& text, std::string const& why) {
    EXPECT_THAT(
        [&] {
          measure("analogy", {{"path", write("questions.txt", text)}}, of);
        },
        ThrowsMessage<wf::data_error>(HasSubstr(why)))
        << text;
  };
  refused("", "no line holds anything");
  refused(": only a section\n", "no question in it");
  refused("w0 w1 w2\n", "line 1: it has 3 columns");
  refused(":\nw0 w1 w2 w3\n", "line 1: the section has no name");
  refused("Athens Greece Oslo Norway\n", "the first is Athens Greece Oslo Norway");
  EXPECT_THROW(measure("analogy", {{"path", write("questions.txt", "w0 w1 w2 w3\n")}}, wf::dataset(random_rows(4, 3, 0))),
               wf::usage_error);
}

// ---- published sets --------------------------------------------------------------------------------------------------------

TEST_F(words_test, published_sets_are_read_whole) {
  char const* const data = std::getenv("WAYFARER_DATA");
  if (!data) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  std::string const sets = std::string(data) + "/word-similarity/EN-",
                    analogies = std::string(data) + "/word-analogies/questions-";
  for (auto const& [name, pairs] : {std::pair{"MEN-TR-3k", 3000},
                                    {"MTurk-287", 287},
                                    {"MTurk-771", 771},
                                    {"RW-STANFORD", 2034},
                                    {"SIMLEX-999", 999},
                                    {"SimVerb-3500", 3500},
                                    {"VERB-143", 144},
                                    {"WS-353-ALL", 353},
                                    {"WS-353-REL", 252},
                                    {"WS-353-SIM", 203},
                                    {"YP-130", 130}}) {
    std::string const path = sets + name + ".txt";
    auto const words = vectors_of({{"words", path}, {"vectors", write("v.txt", random_file(path))}}, nullptr);
    auto const r = measure("word_similarity", {{"path", path}, {"shuffles", std::int64_t{2}}}, words.at("vectors"));
    EXPECT_EQ(number(r, "pairs"), pairs) << name;
    EXPECT_EQ(number(r, "coverage"), 1) << name;
    EXPECT_LT(std::abs(number(r, "spearman")), 4 / std::sqrt(pairs - 1.0)) << name << ": of random vectors";
  }
  for (auto const& [name, questions, sections] : {std::tuple{"words", 19544, 14}, {"phrases", 3218, 5}}) {
    std::string const path = analogies + name + ".txt";
    auto const words = vectors_of({{"words", path}, {"vectors", write("v.txt", random_file(path))}}, nullptr);
    auto const r = measure("analogy", {{"path", path}}, words.at("vectors"));
    EXPECT_EQ(number(r, "covered"), questions) << name;
    EXPECT_EQ(r.at("section_add").values().size(0), static_cast<std::size_t>(sections)) << name;
    EXPECT_LT(number(r, "accuracy_add"), 0.02) << name << ": of random vectors";
  }
}

}  // namespace
