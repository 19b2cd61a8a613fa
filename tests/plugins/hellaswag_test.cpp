// The source hellaswag: its text and its draw of examples against python3, its files in every form, and files that are wrong.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/source.hpp>

#include "cleaning.hpp"
#include "python_random.hpp"
#include "run_plugins.hpp"

namespace {

namespace wf = wayfarer;
namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using texts = std::vector<std::string>;
using settings = wf::test::values;

struct hellaswag : testing::Test {
  hellaswag() {
    std::string name = (fs::temp_directory_path() / "wayfarer-hellaswag-XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~hellaswag() override { fs::remove_all(folder); }
  std::string file(std::string const& name, std::string const& text) const {
    std::ofstream(folder / name, std::ios::binary) << text;
    return (folder / name).string();
  }
  /// What python3 prints, a line each.
  texts python(std::string const& program) const {
    std::string const script = file("script.py", program), out = (folder / "out").string();
    std::string const command = "python3 '" + script + "' '" + folder.string() + "' > '" + out + "'";
    if (std::system(command.c_str()) != 0) ADD_FAILURE() << "python3 failed";
    texts lines;
    std::ifstream in(out);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  /// Items in HellaSwag's own form, told apart by their numbers.
  static std::string line(int i, std::string const& label = "2") {
    auto const n = std::to_string(i);
    return R"({"ind": 4, "activity_label": "Rowing )" + n + R"(", "ctx_a": "A [step] boat  goes.", "ctx_b": "the ÉLAN Of it )" +
           n + R"(", "ctx": "x", "split": "val", "endings": ["[header] A [title] B", "goes.", "  is  wet. ", "sinks )" + n +
           R"("], "label": )" + label + "}\n";
  }
  static std::string lines(int count) {
    std::string all;
    for (int i = 0; i < count; ++i) all += line(i, std::to_string(i % 4));
    return all;
  }
  static std::unique_ptr<wf::source> open(std::string const& path, settings more = {}) {
    more["path"] = path;
    return wf::test::make_source("hellaswag", more);
  }
  static auto refusal(std::string const& path, std::string const& what, settings more = {}) {
    EXPECT_THAT([&] { open(path, more); }, ThrowsMessage<wf::data_error>(HasSubstr(what)));
  }
  fs::path folder;
};

texts list(std::span<std::string const> all) {
  return {all.begin(), all.end()};
}

// ---- against python3 ----------------------------------------------------------------------------------------------------------

TEST_F(hellaswag, shuffles_and_samples_as_python_does) {
  struct one_case {
    std::uint64_t seed;
    std::uint32_t items, pool, shots;
  };
  std::vector<one_case> cases;
  std::string spelled;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    wf::random_stream draw(1, "cases", i);
    one_case c;
    // Seeds of one and of two words, 0 among them; pools smaller and larger than where CPython changes its method.
    c.seed = i == 0 ? 0 : i % 3 == 0 ? (std::uint64_t{draw.bits()} << 32 | draw.bits()) >> 1 : draw.below(100000);
    c.items = 1 + draw.below(40);
    c.pool = 1 + draw.below(i % 2 == 0 ? 60 : 50000);
    c.shots = draw.below(std::min<std::uint32_t>(c.pool, i % 5 == 0 ? 300 : 12) + 1);
    cases.push_back(c);
    for (std::uint64_t const v : {c.seed, std::uint64_t{c.items}, std::uint64_t{c.pool}, std::uint64_t{c.shots}})
      spelled += std::to_string(v) + " ";
    spelled += "\n";
  }
  file("cases", spelled);
  auto const expected = python(R"(import random, sys
for line in open(sys.argv[1] + "/cases"):
    seed, items, pool, shots = map(int, line.split())
    r = random.Random(seed)
    order = list(range(items))
    r.shuffle(order)
    print(order, r.sample(range(pool), shots), r.sample(range(pool), shots))
)");
  ASSERT_EQ(expected.size(), cases.size());
  auto const spell = [](std::vector<std::uint32_t> const& all) {
    std::string text = "[";
    for (auto const v : all) text += (text.size() > 1 ? ", " : "") + std::to_string(v);
    return text + "]";
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    auto const& c = cases[i];
    wf::python_random random(c.seed);
    std::vector<std::uint32_t> order(c.items);
    for (std::uint32_t k = 0; k < c.items; ++k) order[k] = k;
    random.shuffle(std::span(order));
    auto const first = random.sample(c.pool, c.shots), second = random.sample(c.pool, c.shots);
    ASSERT_EQ(spell(order) + " " + spell(first) + " " + spell(second), expected[i]) << "seed " << c.seed << ", case " << i;
  }
}

TEST_F(hellaswag, cleans_and_capitalises_as_python_does) {
  texts const pieces{" ",      "  ",     "\t",           "[title]", " [title]", "[",   "]",     "[a b]", "step", "THE end",
                     ".",      "é",      "Éa",           "ß",       "ŉx",       "İI",  "ΣΑΣ",   "ς Σ.",  "ﬁre",  "ǆ",
                     "\u00a0", "\u2003", "\n",           "\"",      "日本",     "'s ", "1St B", "-",     "oF",   "\u0085",
                     "Ǆa",     "ΐ",      "\u1c90\u10d0", "ｆＦ",    "😀",        "x"};
  texts cases;
  std::string spelled;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    wf::random_stream draw(2, "texts", i);
    std::string text;
    for (std::uint32_t n = draw.below(9); n > 0; --n) text += pieces[draw.below(static_cast<std::uint32_t>(pieces.size()))];
    cases.push_back(text);
    spelled += wf::to_json(wf::json_value(text)) + "\n";
  }
  file("cases", spelled);
  auto const expected = python(R"(import json, re, sys
for line in open(sys.argv[1] + "/cases", encoding="utf-8"):
    text = json.loads(line)
    clean = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")
    print(json.dumps([clean, text.capitalize()]))
)");
  ASSERT_EQ(expected.size(), cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    auto const e = wf::parse_json(expected[i], "python's");
    EXPECT_EQ(wf::clean(cases[i]), e.at(0).as_string()) << cases[i];
    EXPECT_EQ(wf::capitalize(cases[i]), e.at(1).as_string()) << cases[i];
  }
}

TEST_F(hellaswag, draws_the_examples_that_the_published_runs_drew) {
  auto const path = file("val.jsonl", lines(37)), pool = file("train.jsonl", lines(61));
  auto const expected = python(R"(import random
r = random.Random(42)
order = list(range(37))
r.shuffle(order)
drawn = {i: r.sample(list(range(61)), 5) for i in order}
for i in range(37):
    print(*drawn[i])
)");
  ASSERT_EQ(expected.size(), 37u);
  auto const s = open(path, {{"pool", pool}, {"shots", std::int64_t{5}}});
  auto const all = s->read({0, 37});
  for (std::size_t i = 0; i < 37; ++i) {
    std::istringstream numbers(expected[i]);
    texts segments;
    std::string text;
    for (std::size_t k; numbers >> k;) {
      auto const n = std::to_string(k);
      segments.push_back("Rowing " + n + ": A boat goes. The élan of it " + n);
      segments.push_back(texts{"  A. B", " goes.", " is wet.", " sinks " + n}[k % 4]);
      text += segments[segments.size() - 2] + segments.back() + "\n\n";
    }
    segments.push_back("Rowing " + std::to_string(i) + ": A boat goes. The élan of it " + std::to_string(i));
    EXPECT_EQ(list(all.segments[i]), segments);
    EXPECT_EQ(all.texts[i], text + segments.back());
    EXPECT_THAT(std::vector(all.segment_example[i].begin(), all.segment_example[i].end()),
                ElementsAre(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5));
  }
  // Any part alone is the same, and another seed draws others.
  EXPECT_EQ(s->read({20, 21}).texts[0], all.texts[20]);
  auto const other = open(path, {{"pool", pool}, {"shots", std::int64_t{5}}, {"seed", std::int64_t{43}}});
  EXPECT_NE(other->read({0, 37}).texts, all.texts);
}

// ---- files
// ---------------------------------------------------------------------------------------------------------------------

TEST_F(hellaswag, reads_the_original) {
  auto const s = open(file("val.jsonl", line(1) + "\n" + line(2, "\"3\"") + "\n\n"));
  EXPECT_EQ(s->info().items, 2u);
  EXPECT_TRUE(s->info().has_texts && s->info().has_choices);
  EXPECT_EQ(s->info().truth.at("preprocessed").get({}), 0);
  auto const b = s->read({0, 2});
  EXPECT_EQ(b.texts[0], "Rowing 1: A boat goes. The élan of it 1");
  EXPECT_THAT(list(b.choices[0]), ElementsAre("  A. B", " goes.", " is wet.", " sinks 1"));
  EXPECT_THAT(list(b.segments[1]), ElementsAre(b.texts[1]));
  EXPECT_THAT(std::vector(b.segment_example[1].begin(), b.segment_example[1].end()), ElementsAre(0));
  EXPECT_EQ(b.truth.at("gold").get({0}), 2);
  EXPECT_EQ(b.truth.at("gold").get({1}), 3);
}

TEST_F(hellaswag, takes_preprocessed_text_as_it_is_and_says_so) {
  auto const s = open(file("val.txt", "A:  b [c]. he\r\n1\r\none.\r\ntwo.\r\nthree.\r\nfour.\r\nC: d\n0\n1\n2\n3\n4\n\n\n"));
  EXPECT_EQ(s->info().items, 2u);
  EXPECT_EQ(s->info().truth.at("preprocessed").get({}), 1);
  auto const b = s->read({0, 2});
  EXPECT_EQ(b.texts[0], "A:  b [c]. he");
  EXPECT_THAT(list(b.choices[0]), ElementsAre(" one.", " two.", " three.", " four."));
  EXPECT_THAT(list(b.choices[1]), ElementsAre(" 1", " 2", " 3", " 4"));
  EXPECT_EQ(b.truth.at("gold").get({0}), 1);
}

TEST_F(hellaswag, reads_packed_files_alike) {
  std::string const text = lines(20);
  auto const plain = open(file("val.jsonl", text))->read({0, 20});
  auto const packed = (folder / "val.jsonl.gz").string();
  gzFile const to = gzopen(packed.c_str(), "wb");
  gzwrite(to, text.data(), static_cast<unsigned>(text.size()));
  gzclose(to);
  EXPECT_EQ(open(packed)->read({0, 20}).texts, plain.texts);
  python("import bz2, sys\nf = sys.argv[1]\nbz2.open(f + '/val.bz2', 'wb').write(open(f + '/val.jsonl', 'rb').read())\n");
  EXPECT_EQ(open((folder / "val.bz2").string())->read({0, 20}).texts, plain.texts);
  fs::resize_file(packed, 40);
  refusal(packed, "truncated");
}

TEST_F(hellaswag, says_what_is_wrong_and_where) {
  refusal(file("a", line(0) + "{\"ind\": 1,\n"), "a:2:");
  refusal(file("b", line(0) + "[1, 2]\n"), "b:2: expected an object");
  refusal(file("c", R"({"activity_label": "a", "ctx_a": "b", "ctx_b": "", "endings": ["1", "2", "3"], "label": 0})"),
          "expected four endings, got 3");
  refusal(file("d", line(0) + "\n" + line(1, "4")), "d:3");
  refusal(file("e", line(1, "4")), "expected an integer in 0..3, got 4");
  refusal(file("e", line(1, "-1")), "expected an integer in 0..3, got -1");
  refusal(file("e", line(1, "\"7\"")), "expected 0 to 3, got \"7\"");
  refusal(file("f", line(1, "\"\"")), "test split comes without the right endings");
  refusal(file("f", line(1, "null")), "test split comes without the right endings");
  refusal(file("g", R"({"activity_label": "a", "ctx_a": "b", "endings": ["1", "2", "3", "4"], "label": 0})"), "ctx_b");
  refusal(file("h", ""), "no item in it");
  refusal(file("h", "\n \n"), "no item in it");
  refusal((folder / "not there").string(), "not there");
  refusal(folder.string(), folder.string());
  refusal(file("i", std::string("{\"a\": \"") + std::string(2 << 20, 'x') + "\"}"), "i:1: a line of more than");
  refusal(file("j", "{\"activity_label\": \"\xff\"}\n"), "j:1:");
  refusal(file("k", line(0)), "k:1: the file ends within an item", {{"format", std::string("text")}});
  refusal(file("k", "A: b\n1\none\ntwo\nthree\nfour\n"), "k:1:", {{"format", std::string("json")}});
  refusal(file("l", "A: b\n1\none\ntwo\nthree\nB: c\n0\none\ntwo\nthree\nfour\n"),
          "l:8: expected the number of the right ending");
  refusal(file("m", "A: b\n4\none\ntwo\nthree\nfour\n"), "m:2: expected the number of the right ending, 0 to 3, got \"4\"");
  refusal(file("n", "A: b\n1\none\ntwo\n\nfour\n"), "n:5: an empty line where one of four endings");
  refusal(file("o", "A: b\n1\none\ntwo\nthree\n"), "ends within an item");
  refusal(file("p", "A: b\n1\none\ntwo\nthree\n\xff\n"), "p:6: this is not UTF-8");
}

TEST_F(hellaswag, exports_of_hugging_face_are_read_or_named) {
  std::string const item = R"({"ind": 24, "activity_label": "Roofs", "ctx_a": "A man.", "ctx_b": "he", "ctx": "A man. he",
    "endings": ["a [x]", "b}", "c\"]", "d"], "source_id": "x", "split": "val", "split_type": "indomain", "label": )";
  auto const gold = [&](std::string const& text) {
    auto const s = open(file("x", text));
    return s->read({0, s->info().items}).truth.at("gold").get({0});
  };
  std::string flat = item;
  flat.erase(std::remove(flat.begin(), flat.end(), '\n'), flat.end());
  EXPECT_EQ(gold(flat + "\"3\"}\n"), 3);
  EXPECT_EQ(gold(flat + "2.0}\r\n"), 2);
  auto const marked = open(file("m", "\xef\xbb\xbf" + flat + "1}\n"));
  EXPECT_EQ(marked->read({0, 1}).truth.at("gold").get({0}), 1);
  EXPECT_THAT(marked->info().notes, ElementsAre(HasSubstr("begins with a byte order mark")));
  auto const array = open(file("a", "[\n" + item + "\"3\"},\n" + item + "0}\n]\n"));
  ASSERT_EQ(array->info().items, 2u);
  EXPECT_EQ(array->read({0, 2}).truth.at("gold").get({0}), 3);
  EXPECT_EQ(array->read({0, 1}).texts, array->read({1, 2}).texts);
  EXPECT_THAT(list(array->read({0, 1}).choices[0]), ElementsAre(" a ", " b}", " c\"]", " d"));
  refusal(file("b", "[" + flat + "0}"), "the file ends within the list");
  refusal(file("b", "[" + flat + "0}] x"), "something follows the end of the list");
  refusal(file("b", "[1, 2]"), "expected a list of objects");
  refusal(file("b", "[]"), "an empty list");
  refusal(file("c", "ind,activity_label,ctx_a,ctx_b,ctx,endings,label\n24,Roofs,A man.,he,A man. he,\"['a' 'b']\",3\n"),
          "dataset.to_json");
  refusal(file("p", "PAR1\x15\x04"), "this is a Parquet file, which is not read");
  refusal(file("o", R"({"ctx": "A man. he", "endings": ["1", "2", "3", "4"], "label": 0})"),
          "no 'activity_label'; an item has activity_label, ctx_a, ctx_b, endings and label, and here are ctx, endings, label");
  refusal(file("q", R"({"activity_label": {"0": "Roofs"}, "ctx_a": {"0": "A man."}})"), "is a column, not a value");
  auto const pairs = open(file("s", flat + "1}\n"), {{"second", std::string("right")}})->read({0, 1});
  EXPECT_EQ(pairs.seconds[0], "b}");
}

TEST_F(hellaswag, needs_a_pool_that_is_large_enough) {
  auto const path = file("val.jsonl", lines(3)), pool = file("train.jsonl", lines(4));
  EXPECT_THAT(
      [&] {
        open(path, {{"shots", std::int64_t{5}}});
      },
      ThrowsMessage<wf::usage_error>(AllOf(HasSubstr("no `pool`"), HasSubstr("hellaswag_train.jsonl"))));
  refusal(path, "holds 4 items, but `shots` is 5", {{"shots", std::int64_t{5}}, {"pool", pool}});
  EXPECT_EQ(open(path, {{"shots", std::int64_t{4}}, {"pool", pool}})->read({0, 1}).segments[0].size(), 9u);
  refusal(path, "broken:2", {{"shots", std::int64_t{1}}, {"pool", file("broken", line(0) + "{\n")}});
}

TEST_F(hellaswag, notices_that_its_file_has_changed) {
  auto const path = file("val.jsonl", lines(3));
  auto const s = open(path);
  fs::resize_file(path, 10);
  EXPECT_THAT([&] { s->read({0, 1}); }, ThrowsMessage<wf::data_error>(HasSubstr("val.jsonl")));
}

TEST_F(hellaswag, ships_a_slice_with_each_answer_as_often) {
  auto const s = open(WAYFARER_SOURCE_DIR "/runs/data/hellaswag/slice.txt");
  ASSERT_EQ(s->info().items, 240u);
  std::array<int, 4> gold{};
  auto const all = s->read({0, 240});
  for (std::size_t i = 0; i < 240; ++i) ++gold[static_cast<std::size_t>(all.truth.at("gold").get({i}))];
  EXPECT_THAT(gold, ElementsAre(60, 60, 60, 60));
}

TEST_F(hellaswag, reads_the_whole_validation_set) {
  char const* const data = std::getenv("WAYFARER_DATA");
  if (!data) GTEST_SKIP() << "WAYFARER_DATA does not name the folder of files that can't be shipped";
  auto const s = open(std::string(data) + "/hellaswag/hellaswag_val_full.txt.bz2");
  ASSERT_EQ(s->info().items, 10042u);
  std::array<int, 4> gold{};
  for (std::size_t first = 0; first < 10042; first += 64) {
    wf::item_range const r{first, std::min<std::size_t>(first + 64, 10042)};
    auto const b = s->read(r);
    for (std::size_t i = 0; i < r.size(); ++i) {
      ++gold.at(static_cast<std::size_t>(b.truth.at("gold").get({i})));
      EXPECT_EQ(b.choices[i].size(), 4u);
      EXPECT_FALSE(b.texts[i].empty());
    }
  }
  EXPECT_THAT(gold, ElementsAre(2515, 2485, 2584, 2458));
  EXPECT_EQ(s->read({0, 1}).texts[0], "Roof shingle removal: A man is sitting on a roof. he");
}

}  // namespace
