// The sources lda and documents and the probe document_statistics, through their libraries' interfaces, and the reader of
// document files.
#include <bzlib.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>

#include "packed_text.hpp"
#include "run_plugins.hpp"
#include "sources/common/compressed_file.hpp"
#include "sources/common/document_file.hpp"

namespace {

using namespace wayfarer;
using test::gzip;
using test::make_probe;
using test::make_source;
using test::observe_all;
using testing::ElementsAre;
using testing::HasSubstr;
using i64 = std::int64_t;

class folder {
 public:
  folder() : path_(std::filesystem::temp_directory_path() / ("wayfarer-sources-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~folder() { std::filesystem::remove_all(path_); }
  std::string put(std::string const& name, std::string_view bytes) const {
    auto const file = (path_ / name).string();
    std::filesystem::remove(file);  // some file systems flush a file that is overwritten
    std::ofstream(file, std::ios::binary) << bytes;
    return file;
  }

 private:
  std::filesystem::path path_;
};

std::string bzip2(std::string const& text) {
  std::string out(text.size() + text.size() / 100 + 700, '\0');
  auto size = static_cast<unsigned>(out.size());
  if (BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(text.data()), static_cast<unsigned>(text.size()), 9, 0, 0) !=
      BZ_OK)
    throw std::runtime_error("BZ2_bzBuffToBuffCompress");
  out.resize(size);
  return out;
}

std::string unpacked(std::string const& path, std::size_t limit = std::size_t{1} << 30) {
  std::string out;
  read_unpacked(path, limit,
                [&](std::span<std::byte const> b) { out.append(reinterpret_cast<char const*>(b.data()), b.size()); });
  return out;
}

template <class Error, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (Error const& e) {
    return e.what();
  } catch (std::exception const& e) {
    return std::string("another error: ") + e.what();
  }
  return "no error";
}

std::vector<int> words(item_block const& b, std::size_t i) {
  return {b.words[i].begin(), b.words[i].end()};
}

double number(results const& r, std::string_view name) {
  return r.at(name).scalar();
}

// ---- the generator ----

TEST(lda, a_document_depends_on_seed_split_and_index_alone) {
  for (i64 const tau : {0, 4}) {
    auto const source = make_source("lda", {{"documents", i64{1000}}, {"topics_per_document", tau}, {"seed", i64{3}}});
    auto const again = make_source("lda", {{"documents", i64{2000}}, {"topics_per_document", tau}, {"seed", i64{3}}});
    item_block const whole = source->read({0, 1000});
    ASSERT_EQ(whole.count, 1000u);
    ASSERT_EQ(whole.words.size(), 1000u);
    for (std::size_t first = 0; first < 1000; first += 77) {
      item_block const part = again->read({first, std::min<std::size_t>(first + 77, 1000)});
      EXPECT_EQ(part.first, first);
      for (std::size_t i = 0; i < part.count; ++i) ASSERT_EQ(words(part, i), words(whole, first + i));
    }
    auto const other_seed = make_source("lda", {{"topics_per_document", tau}, {"seed", i64{4}}});
    auto const other_split = make_source("lda", {{"topics_per_document", tau}, {"seed", i64{3}}, {"split", std::string("dev")}});
    for (std::size_t i = 0; i < 20; ++i) {
      EXPECT_NE(words(other_seed->read({i, i + 1}), 0), words(whole, i));
      EXPECT_NE(words(other_split->read({i, i + 1}), 0), words(whole, i));
    }
  }
}

TEST(lda, says_what_it_gives) {
  auto const source = make_source("lda", {{"topics", i64{3}}, {"words_per_topic", i64{4}}});
  auto const& info = source->info();
  EXPECT_EQ(info.items, 10000u);
  EXPECT_EQ(info.vocabulary, 12u);
  EXPECT_EQ(info.longest, 150u);
  EXPECT_TRUE(info.has_words);
  EXPECT_THAT(info.words, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"));
  auto const topic = info.truth.at("topic_of_word").values<std::int32_t const>();
  EXPECT_THAT(std::vector<int>(topic.begin(), topic.end()), ElementsAre(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2));
}

// Tolerances are four standard deviations; all means over 10,000 documents.
TEST(lda, dirichlet_documents_have_the_statistics_of_the_theory) {
  auto const source = make_source("lda");
  results const r = observe_all(*make_probe("document_statistics"), *source);
  EXPECT_EQ(number(r, "documents"), 10000);
  EXPECT_NEAR(number(r, "mean_length"), 125, 0.6);
  EXPECT_EQ(number(r, "shortest"), 100);
  EXPECT_EQ(number(r, "longest"), 150);
  EXPECT_NEAR(number(r, "same_topic_probability"), 1.1 / 2, 0.01);
  EXPECT_NEAR(number(r, "same_word_probability"), 0.055, 0.001);
  EXPECT_NEAR(number(r, "least_word_frequency"), 0.01,
              0.0009);  // of a word: theta's spread gives 0.00021, the draw of words 0.00009
  EXPECT_NEAR(number(r, "greatest_word_frequency"), 0.01, 0.0009);
  EXPECT_EQ(number(r, "distinct_words"), 100);
  EXPECT_NEAR(number(r, "mean_distinct_topics"), 4.2155, 0.06);
  // The published development set, drawn by drawing theta (notes a3): chi squared with 8 degrees of freedom, 99.9% point 26.1.
  std::array<double, 10> const published{0, 126, 852, 2075, 2961, 2259, 1208, 424, 87, 8};
  auto const& histogram = r.at("documents_with_topics").values();
  double chi_squared = 0;
  for (std::size_t k = 1; k < published.size(); ++k)
    chi_squared += std::pow(histogram(k) - published[k], 2) / (histogram(k) + published[k]);
  EXPECT_LT(chi_squared, 26.1);
}

TEST(lda, words_of_a_document_are_exchangeable) {
  auto const source = make_source("lda", {{"alpha", 0.3}, {"topics", i64{5}}, {"length_min", i64{50}}, {"length_max", i64{50}}});
  item_block const b = source->read({0, 10000});
  for (auto const& [i, k] : {std::pair{0, 1}, {0, 49}, {25, 49}, {48, 49}}) {
    double same = 0;
    for (std::size_t d = 0; d < b.count; ++d)
      same += b.words[d][static_cast<std::size_t>(i)] / 10 == b.words[d][static_cast<std::size_t>(k)] / 10;
    EXPECT_NEAR(same / 10000, 1.3 / 2.5, 0.02) << i << " " << k;
  }
}

TEST(lda, extreme_alphas_give_one_topic_or_all) {
  auto const one = make_source("lda", {{"alpha", 1e-6}, {"documents", i64{500}}});
  EXPECT_DOUBLE_EQ(number(observe_all(*make_probe("document_statistics"), *one), "same_topic_probability"), 1);
  auto const all = make_source("lda", {{"alpha", 1e6}, {"documents", i64{500}}});
  EXPECT_NEAR(number(observe_all(*make_probe("document_statistics"), *all), "same_topic_probability"), 0.1, 0.001);
}

TEST(lda, tau_topics_are_mixed_evenly) {
  auto const source = make_source(
      "lda", {{"topics_per_document", i64{4}}, {"documents", i64{4000}}, {"length_min", i64{200}}, {"length_max", i64{300}}});
  results const r = observe_all(*make_probe("document_statistics"), *source);
  EXPECT_EQ(r.at("documents_with_topics").values()(4), 4000);
  EXPECT_NEAR(number(r, "same_topic_probability"), 0.25, 0.001);
  // Each topic is in 40% of the documents, each pair of topics in 4*3/(10*9) of them.
  item_block const b = source->read({0, 4000});
  std::array<std::array<double, 10>, 10> together{};
  for (std::size_t d = 0; d < b.count; ++d) {
    std::set<int> topics;
    for (int const w : b.words[d]) topics.insert(w / 10);
    for (int const s : topics)
      for (int const t : topics) ++together[static_cast<std::size_t>(s)][static_cast<std::size_t>(t)];
  }
  for (std::size_t s = 0; s < 10; ++s)
    for (std::size_t t = 0; t < 10; ++t) EXPECT_NEAR(together[s][t] / 4000, s == t ? 0.4 : 12.0 / 90, 0.034) << s << " " << t;
}

TEST(lda, two_thousand_million_documents_cost_nothing_until_they_are_read) {
  auto const source = make_source("lda", {{"documents", i64{2147483647}}});
  EXPECT_EQ(source->info().items, 2147483647u);
  item_block const last = source->read({2147483640, 2147483647});
  EXPECT_EQ(last.words.size(), 7u);
  EXPECT_NE(words(last, 0), words(last, 6));
}

TEST(lda, parameters_that_contradict_each_other_are_refused) {
  EXPECT_THAT(message_of<usage_error>([] {
                make_source("lda", {{"length_min", i64{10}}, {"length_max", i64{9}}});
              }),
              HasSubstr("length_min 10 is above length_max 9"));
  EXPECT_THAT(message_of<usage_error>([] {
                make_source("lda", {{"topics_per_document", i64{11}}});
              }),
              HasSubstr("topics_per_document 11"));
  EXPECT_THAT(message_of<usage_error>([] {
                make_source("lda", {{"topics", i64{1} << 20}, {"words_per_topic", i64{1} << 20}});
              }),
              HasSubstr("at most 16777216 words"));
}

TEST(lda, a_file_takes_the_place_of_the_generator_and_must_fit_the_topics) {
  folder const f;
  auto const good = f.put("good.gz", gzip("0 99 5 END\n7 END\n"));
  auto const source = make_source("lda", {{"path", good}});
  EXPECT_EQ(source->info().items, 2u);
  EXPECT_EQ(source->info().longest, 3u);
  EXPECT_EQ(source->info().vocabulary, 100u);
  EXPECT_THAT(words(source->read({0, 2}), 0), ElementsAre(0, 99, 5));
  EXPECT_THAT(words(source->read({1, 2}), 0), ElementsAre(7));
  auto const bad = f.put("bad", "0 99 END\n5 100 END\n");
  EXPECT_THAT(message_of<data_error>([&] { make_source("lda", {{"path", bad}}); }), HasSubstr(bad + ":2:3: word 100 is outside"));
}

// ---- files ----

TEST(documents, reads_the_three_formats) {
  folder const f;
  auto const reference =
      make_source("documents", {{"path", f.put("reference", "3 1 4 END\nEND\n1 5 9 2 6 END\n")}, {"words_per_topic", i64{5}}});
  EXPECT_EQ(reference->info().items, 3u);
  EXPECT_EQ(reference->info().vocabulary, 10u);
  EXPECT_EQ(reference->info().longest, 5u);
  auto const topic = reference->info().truth.at("topic_of_word").values<std::int32_t const>();
  EXPECT_THAT(std::vector<int>(topic.begin(), topic.end()), ElementsAre(0, 0, 0, 0, 0, 1, 1, 1, 1, 1));
  item_block const r = reference->read({0, 3});
  EXPECT_THAT(words(r, 0), ElementsAre(3, 1, 4));
  EXPECT_THAT(words(r, 1), ElementsAre());
  EXPECT_THAT(words(r, 2), ElementsAre(1, 5, 9, 2, 6));

  auto const counted = make_source("documents", {{"path", f.put("counted", "2 0:1 3:2 \n0\n1\t7:1")},
                                                 {"vocabulary", f.put("names", "a\nb\nc\nd\ne\nf\ng\nh\n")}});
  EXPECT_EQ(counted->info().vocabulary, 8u);
  EXPECT_EQ(counted->info().words.at(7), "h");
  EXPECT_TRUE(counted->info().truth.empty());
  item_block const c = counted->read({0, 3});
  EXPECT_THAT(words(c, 0), ElementsAre(0, 3, 3));
  EXPECT_THAT(words(c, 1), ElementsAre());
  EXPECT_THAT(words(c, 2), ElementsAre(7));

  auto const text =
      make_source("documents", {{"path", f.put("text", "the cat\tand  the dog\r\n\nein H\xc3\xbcndchen and the cat\n")}});
  EXPECT_THAT(text->info().words, ElementsAre("the", "cat", "and", "dog", "ein", "H\xc3\xbcndchen"));
  item_block const t = text->read({0, 3});
  EXPECT_THAT(words(t, 0), ElementsAre(0, 1, 2, 0, 3));
  EXPECT_THAT(words(t, 1), ElementsAre());
  EXPECT_THAT(words(t, 2), ElementsAre(4, 5, 2, 0, 1));

  auto const fixed = make_source("documents", {{"path", f.put("fixed", "b a b\n")}, {"vocabulary", f.put("ab", "a\nb\nc\n")}});
  EXPECT_THAT(words(fixed->read({0, 1}), 0), ElementsAre(1, 0, 1));
  EXPECT_EQ(fixed->info().vocabulary, 3u);
}

TEST(documents, ranges_are_pieces_of_the_whole) {
  folder const f;
  auto const source = make_source("documents", {{"path", f.put("d", "1 2 END\n3 END\nEND\n4 5 6 END\n")}});
  item_block const b = source->read({1, 4});
  EXPECT_EQ(b.first, 1u);
  EXPECT_EQ(b.words.offsets.front(), 0u);
  EXPECT_THAT(words(b, 0), ElementsAre(3));
  EXPECT_THAT(words(b, 1), ElementsAre());
  EXPECT_THAT(words(b, 2), ElementsAre(4, 5, 6));
  EXPECT_EQ(source->read({2, 2}).count, 0u);
}

TEST(documents, malformed_lines_are_named_with_line_and_column) {
  struct bad {
    char const *format, *text, *message;
  };
  folder const f;
  for (bad const& b : {
           bad{"reference", "1 2 END\n3 x END\n", ":2:3: expected a word number, found \"x\"; "},
           bad{"reference", "1 2 END\n3  4 END\n", ":2:3: expected a word number, found \" \"; "},
           bad{"reference", "1 2 END\n3 4\n", ":2:4: END is missing; "},
           bad{"reference", "1 2 END\n3 4 EN", ":2:5: expected END; "},
           bad{"reference", "1 2 END\n\n", ":2:1: END is missing; "},
           bad{"reference", "1 2 END 3\n", ":1:8: found \" \" after END; "},
           bad{"reference", "1 -2 END\n", ":1:3: expected a word number, found \"-2\"; "},
           bad{"reference", "1 2.5 END\n", ":1:4: expected a single space, found \".5\"; "},
           bad{"reference", "1 16777216 END\n", ":1:3: a word number \"16777216\" is not below 16777216; "},
           bad{"reference", "1 99999999999999999999999 END\n",
               ":1:3: a word number \"99999999999999999999999\" is not below 16777216; "},
           bad{"lda_c", "1 0:1\nx 0:1\n", ":2:1: expected the number of distinct words, found \"x\"; "},
           bad{"lda_c", "1 0:1\n2 0:1\n", ":2:1: the line says 2 distinct words and has 1 pairs; "},
           bad{"lda_c", "1 0:1 1:1\n", ":1:7: more pairs than the 1 that the line begins with; "},
           bad{"lda_c", "1 0-1\n", ":1:4: expected ':', found \"-1\"; "},
           bad{"lda_c", "1 0:\n", ":1:5: expected a count, found the line's end; "},
           bad{"lda_c", "1 0:0\n", ":1:5: a count of 0; "},
           bad{"lda_c", "1 16777216:1\n", ":1:3: a word number \"16777216:1\" is not below 16777216; "},
           bad{"lda_c", "2 0:1,1:1\n", ":1:6: expected a space, found \",1:1\"; "},
           bad{"lda_c", "1 0:2147483648\n", ":1:5: a count \"2147483648\" is not below 2147483648; "},
           bad{"lda_c", "1 0:2147483647\n", ":1:3: the documents up to here take more than 1 MiB; "},
           bad{"lda_c", "\n", ":1:1: expected the number of distinct words, found the line's end; "},
           bad{"text",
               "good\nb\xff"
               "d\n",
               ":2:1: \"b\\xffd\" is not UTF-8; "},
           bad{"auto", "1 2 3\n", ":1:1: numbers without END: "},
           bad{"auto", "\n1 2 END\n", ":1:1: an empty line; "},
           bad{"auto", "1 2 oh END\n", ":1:5: expected a word number, found \"oh\"; "},
           bad{"auto", "", "no document in it; "},
       }) {
    auto const path = f.put("bad", b.text);
    EXPECT_THAT(message_of<data_error>([&] {
                  make_source("documents", {{"path", path}, {"format", std::string(b.format)}, {"limit", i64{1}}});
                }),
                testing::AllOf(testing::StartsWith(path), HasSubstr(b.message)))
        << b.text;
  }
}

TEST(documents, a_vocabulary_must_fit) {
  folder const f;
  auto const names = f.put("names", "a\nb\n");
  auto const read = [&](std::string const& text, std::string const& vocabulary) {
    return message_of<data_error>([&] { make_source("documents", {{"path", f.put("d", text)}, {"vocabulary", vocabulary}}); });
  };
  EXPECT_THAT(read("1 END\n0 2 END\n", names), HasSubstr(":2:3: word 2 is outside " + names + " of 2 words; "));
  EXPECT_THAT(read("a b c\n", names), HasSubstr(":1:5: \"c\" is not in " + names + "; "));
  EXPECT_THAT(read("a b\n", f.put("twice", "a\nb\na\n")), HasSubstr("\"a\" is there twice"));
  EXPECT_THAT(read("a b\n", f.put("hole", "a\n\nb\n")), HasSubstr("hole:2:1: an empty line; "));
  EXPECT_THAT(read("a b\n", f.put("latin", "a\nb\xe9\n")), HasSubstr("latin:2:1: \"b\\xe9\" is not UTF-8; "));
  EXPECT_THAT(read("a b\n", f.put("nothing", "")), HasSubstr("nothing: no word in it; "));
}

TEST(documents, limits_hold) {
  folder const f;
  auto const path = f.put("d", "0 1 2 3 END\n4 END\n5 END\n");
  document_limits limits;
  EXPECT_EQ(read_documents(path, document_format::detect, limits).documents.size(), 3u);
  limits.documents = 2;
  EXPECT_THAT(message_of<data_error>([&] { read_documents(path, document_format::detect, limits); }),
              HasSubstr(":3:1: more than 2 documents"));
  limits = {}, limits.line = 10;
  EXPECT_THAT(message_of<data_error>([&] { read_documents(path, document_format::detect, limits); }),
              HasSubstr(":1: a line of more than 10 bytes"));
  limits = {}, limits.words = 5;
  EXPECT_THAT(message_of<data_error>([&] { read_documents(path, document_format::detect, limits); }),
              HasSubstr(":3:1: a word number \"5\" is not below 5"));
  limits = {}, limits.bytes = 20;
  EXPECT_THAT(message_of<data_error>([&] { read_documents(path, document_format::detect, limits); }),
              HasSubstr("holds more than 20 bytes unpacked"));
}

// ---- packed files ----

std::string some_text(std::size_t lines) {
  std::string text;
  auto const source = make_source("lda", {{"seed", i64{9}}});
  item_block const b = source->read({0, lines});
  for (std::size_t i = 0; i < b.count; ++i) {
    for (int const w : b.words[i]) text += std::to_string(w) + " ";
    text += "END\n";
  }
  return text;
}

TEST(packed_files, come_out_as_they_went_in) {
  folder const f;
  std::string const text = some_text(3000), more = some_text(10);  // more than one bzip2 block of 900 kB
  ASSERT_GT(text.size(), 1000000u);
  EXPECT_EQ(unpacked(f.put("plain", text)), text);
  EXPECT_EQ(unpacked(f.put("t.gz", gzip(text))), text);
  EXPECT_EQ(unpacked(f.put("t.bz2", bzip2(text))), text);
  EXPECT_EQ(unpacked(f.put("named_otherwise", bzip2(text))), text);
  EXPECT_EQ(unpacked(f.put("two.gz", gzip(text) + gzip("") + gzip(more))), text + more);
  EXPECT_EQ(unpacked(f.put("padded.gz", gzip(text) + std::string(512, '\0'))), text);
  EXPECT_EQ(unpacked(f.put("two.bz2", bzip2(text) + bzip2("") + bzip2(more))), text + more);
  EXPECT_EQ(unpacked(f.put("none.bz2", bzip2(""))), "");
  EXPECT_EQ(unpacked(f.put("none", "")), "");
  EXPECT_EQ(unpacked(f.put("words", "BZh9 is how bzip2 begins\n")), "BZh9 is how bzip2 begins\n");

  auto const a = make_source("documents", {{"path", f.put("plain", text)}});
  auto const b = make_source("documents", {{"path", f.put("t.bz2", bzip2(text))}});
  ASSERT_EQ(a->info().items, 3000u);
  EXPECT_EQ(a->read({0, 3000}).words.values, b->read({0, 3000}).words.values);
  EXPECT_EQ(a->read({0, 3000}).words.values, make_source("lda", {{"seed", i64{9}}})->read({0, 3000}).words.values);
}

TEST(packed_files, truncated_at_any_byte_are_refused) {
  folder const f;
  std::string const text = some_text(3);
  for (std::string const& whole : {gzip(text), bzip2(text)})
    for (std::size_t n = 10; n < whole.size(); ++n) {
      auto const path = f.put("cut", whole.substr(0, n));
      ASSERT_THAT(message_of<data_error>([&] { unpacked(path); }), HasSubstr(path + ": byte " + std::to_string(n) + ": ")) << n;
    }
  EXPECT_THAT(message_of<data_error>([&] { unpacked(f.put("short.bz2", "BZh9")); }), HasSubstr("not bzip2 data"));
  EXPECT_THAT(message_of<data_error>([&] { unpacked(f.put("not.gz", "1 2 END\n")); }), HasSubstr("not gzip data"));
}

TEST(packed_files, with_a_byte_changed_give_an_error_or_never_other_text) {
  folder const f;
  std::string const text = some_text(3);
  for (std::string const& whole : {gzip(text), bzip2(text)}) {
    std::size_t refused = 0;
    for (std::size_t n = 0; n < whole.size(); ++n) {
      std::string changed = whole;
      changed[n] = static_cast<char>(changed[n] ^ 0x10);
      try {
        std::string const out = unpacked(f.put("changed", changed));
        // The first bytes tell that the file is packed; without them it is a plain one.
        ASSERT_TRUE(out == changed || out == text) << n;
      } catch (data_error const&) {
        ++refused;
      }
    }
    EXPECT_GT(refused, whole.size() - 20);
  }
}

TEST(packed_files, with_something_behind_are_refused) {
  folder const f;
  EXPECT_THAT(message_of<data_error>([&] { unpacked(f.put("a.gz", gzip("1 END\n") + "more")); }), HasSubstr("corrupt gzip data"));
  EXPECT_THAT(message_of<data_error>([&] { unpacked(f.put("b.gz", gzip("1 END\n") + std::string(3, '\0') + "more")); }),
              HasSubstr("bytes after the end"));
  EXPECT_THAT(message_of<data_error>([&] { unpacked(f.put("a.bz2", bzip2("1 END\n") + "more")); }),
              HasSubstr("no bzip2 data where some should begin"));
}

TEST(packed_files, that_unpack_to_too_much_are_stopped) {
  folder const f;
  std::string const zeros(std::size_t{64} << 20, '0');
  for (auto const& path : {f.put("bomb.gz", gzip(zeros, 9)), f.put("bomb.bz2", bzip2(zeros))}) {
    ASSERT_LT(std::filesystem::file_size(path), 100000u);
    std::size_t seen = 0;
    EXPECT_THAT(message_of<data_error>([&] { read_unpacked(path, 1 << 20, [&](auto bytes) { seen += bytes.size(); }); }),
                HasSubstr("holds more than 1048576 bytes unpacked; raise `limit`"));
    EXPECT_LE(seen, std::size_t{1} << 20);
  }
}

// ---- statistics ----

TEST(document_statistics, of_documents_that_can_be_counted_by_hand) {
  folder const f;
  // Topics 0: words 0 to 1, 1: words 2 to 3.
  auto const source =
      make_source("documents", {{"path", f.put("d", "0 0 1 2 END\n3 3 END\nEND\n2 END\n")}, {"words_per_topic", i64{2}}});
  for (std::size_t const block : {1, 2, 3, 4}) {
    results const r = observe_all(*make_probe("document_statistics"), *source, block);
    EXPECT_EQ(number(r, "documents"), 4);
    EXPECT_EQ(number(r, "words"), 7);
    EXPECT_DOUBLE_EQ(number(r, "mean_length"), 7.0 / 4);
    EXPECT_EQ(number(r, "shortest"), 0);
    EXPECT_EQ(number(r, "longest"), 4);
    EXPECT_DOUBLE_EQ(number(r, "same_word_probability"), 4.0 / 14);  // pairs: 12, 2, 0, 0
    EXPECT_DOUBLE_EQ(number(r, "same_topic_probability"), 8.0 / 14);
    EXPECT_DOUBLE_EQ(number(r, "mean_distinct_topics"), 4.0 / 4);
    EXPECT_DOUBLE_EQ(number(r, "mean_squared_shares"), (10.0 / 16 + 1 + 1) / 3);
    EXPECT_EQ(number(r, "distinct_words"), 4);
    EXPECT_DOUBLE_EQ(number(r, "least_word_frequency"), 1.0 / 7);
    EXPECT_DOUBLE_EQ(number(r, "greatest_word_frequency"), 2.0 / 7);
    auto const histogram = r.at("documents_with_topics").values().values<double const>();
    EXPECT_THAT(std::vector<double>(histogram.begin(), histogram.end()), ElementsAre(1, 2, 1));
  }
}

TEST(document_statistics, without_topics_count_words_alone) {
  folder const f;
  auto const source = make_source("documents", {{"path", f.put("d", "a b a\n")}});
  results const r = observe_all(*make_probe("document_statistics"), *source);
  EXPECT_EQ(number(r, "words"), 3);
  EXPECT_EQ(r.find("same_topic_probability"), nullptr);
  ASSERT_NE(r.at("word_frequency").find_labels("word"), nullptr);
  EXPECT_THAT(*r.at("word_frequency").find_labels("word"), ElementsAre("a", "b"));
}

// ---- published files: notes a3 ----

class published_files : public testing::Test {
 protected:
  void SetUp() override {
    char const* const data = std::getenv("WAYFARER_DATA");
    if (!data) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
    folder_ = std::string(data) + "/lda/";
  }
  std::string folder_;
};

TEST_F(published_files, of_the_icml_2023_paper_are_what_they_should_be) {
  struct split {
    char const *name, *digest;
    std::size_t bytes;
    double words, mean_length, distinct_topics, squared_shares, same_word, same_topic, least, greatest;
  };
  for (split const& s : {
           split{"train", "e81cb6b7e709650c", 3661463, 1248849, 124.8849, 4.2124, 0.556545, 0.0552890, 0.5528387, 0.0096169,
                 0.0104240},
           split{"dev", "0b1722e7d5d9183b", 3666113, 1250704, 125.0704, 4.2178, 0.554949, 0.0551160, 0.5508291, 0.0095962,
                 0.0104325},
           split{"test", "7b723020ffdc42c2", 3661318, 1249642, 124.9642, 4.2161, 0.554101, 0.0551164, 0.5514016, 0.0096484,
                 0.0103038},
       }) {
    SCOPED_TRACE(s.name);
    std::string const path = folder_ + "icml2023-synthetic/topic10_word100_long." + s.name + ".bz2";
    std::string const text = unpacked(path);
    EXPECT_EQ(text.size(), s.bytes);
    EXPECT_EQ(sha256_hex(text).substr(0, 16), s.digest);

    auto const source = make_source("documents", {{"path", path}, {"words_per_topic", i64{10}}});
    results const r = observe_all(*make_probe("document_statistics"), *source);
    EXPECT_EQ(number(r, "documents"), 10000);
    EXPECT_EQ(number(r, "words"), s.words);
    EXPECT_NEAR(number(r, "mean_length"), s.mean_length, 0.5e-4 + 1e-9);
    EXPECT_NEAR(number(r, "mean_distinct_topics"), s.distinct_topics, 0.5e-4 + 1e-9);
    EXPECT_NEAR(number(r, "mean_squared_shares"), s.squared_shares, 0.5e-6);
    EXPECT_NEAR(number(r, "same_word_probability"), s.same_word, 0.5e-7);
    EXPECT_NEAR(number(r, "same_topic_probability"), s.same_topic, 0.5e-7);
    EXPECT_EQ(number(r, "shortest"), 100);
    EXPECT_EQ(number(r, "longest"), 150);
    EXPECT_EQ(number(r, "distinct_words"), 100);
    EXPECT_NEAR(number(r, "least_word_frequency"), s.least, 0.5e-7);  // counted apart: the notes have the range of all three
    EXPECT_NEAR(number(r, "greatest_word_frequency"), s.greatest, 0.5e-7);
    if (s.name != std::string("dev")) continue;
    auto const histogram = r.at("documents_with_topics").values().values<double const>();
    EXPECT_THAT(std::vector<double>(histogram.begin(), histogram.end()),
                ElementsAre(0, 126, 852, 2075, 2961, 2259, 1208, 424, 87, 8, 0));
    item_block const first = source->read({0, 5});
    std::vector<std::size_t> lengths;
    for (std::size_t i = 0; i < 5; ++i) lengths.push_back(first.words[i].size());
    EXPECT_THAT(lengths, ElementsAre(134, 100, 102, 120, 112));
  }
}

TEST_F(published_files, of_the_icml_2023_paper_take_the_generators_place) {
  std::string const path = folder_ + "icml2023-synthetic/topic10_word100_long.dev.bz2";
  auto const source = make_source("lda", {{"path", path}});
  EXPECT_EQ(source->info().items, 10000u);
  EXPECT_EQ(source->read({0, 10000}).words.values, make_source("documents", {{"path", path}})->read({0, 10000}).words.values);
}

TEST_F(published_files, of_reuters_are_read_as_lda_c) {
  auto const source =
      make_source("documents", {{"path", folder_ + "reuters/reuters.ldac"}, {"vocabulary", folder_ + "reuters/reuters.tokens"}});
  EXPECT_EQ(source->info().items, 395u);
  EXPECT_EQ(source->info().vocabulary, 4258u);
  EXPECT_EQ(source->info().longest, 541u);
  EXPECT_EQ(source->info().words[0], "church");
  item_block const all = source->read({0, 395});
  EXPECT_EQ(all.words.values.size(), 84010u);
  // The first line begins 159 0:1 2:1 6:1 9:1 12:5.
  std::vector<int> const first = words(all, 0);
  EXPECT_THAT(std::vector<int>(first.begin(), first.begin() + 9), ElementsAre(0, 2, 6, 9, 12, 12, 12, 12, 12));
}

}  // namespace
