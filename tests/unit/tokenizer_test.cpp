// Tokenizers read from small folders made here: how they cut, what they give back, and which files they refuse.
// tests/plugins/tokenizer_vectors_test.cpp compares with what the published tokenizers give.
#include <wayfarer/tokenizer.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "tokenizer_files.hpp"

namespace wf = wayfarer;
using namespace std::string_literals;

using namespace wayfarer::tokenizer_files;

namespace {

std::vector<piece> const few_pieces = {{"<pad>", 0, 3},       {"</s>", 0, 3}, {"<unk>", 0, 2},  {mark, -2}, {mark + "low"s, -4},
                                       {"low", -5},           {"er", -3},     {"l", -6},        {"o", -6},  {"w", -6},
                                       {mark + "lower"s, -8}, {"<s>", 0, 4},  {"never", -1, 5}, {"fi", -5}};
std::string const t5_trainer =
    varint_field(3, 1) + varint_field(40, 2) + varint_field(41, ~0ull) + varint_field(42, 1) + varint_field(43, 0);

files const few_spiece = {{"spiece.model", spiece(few_pieces, t5_trainer)}, {"config.json", R"({"model_type": "t5"})"}};

files const few_words = {
    {"vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlow\n##er\nl\n##o\n##w\n!\n,\n\xe4\xbd\xa0\na\n##a\nuber\n##ing\n"}};

}  // namespace

TEST(byte_level_bpe, merges_in_the_order_of_the_file) {
  auto const t = open(low_newer);
  EXPECT_EQ(t->kind(), "byte_level_bpe");
  EXPECT_EQ(tokens_of(*t, "low lower slow"), (words{"low", " low", "er", " ", "s", "low"}));
  EXPECT_EQ(pieces_of_text(*t, "low lower slow"), (words{"low", " low", "er", " ", "s", "low"}));
  EXPECT_EQ(tokens_of(*t, "it's"), (words{"i", "t", "'s"}));
  EXPECT_EQ(t->encode("").ids, ids{});
  EXPECT_EQ(t->find(" low"), t->encode(" low").ids[0]);
  EXPECT_EQ(t->find("nothing"), std::nullopt);
  EXPECT_TRUE(t->begins_word(*t->find(" low")));
  EXPECT_FALSE(t->begins_word(*t->find("low")));
  EXPECT_EQ(t->files().size(), 2u);
}

TEST(byte_level_bpe, gives_every_byte_back) {
  auto const t = open(low_newer);
  std::mt19937 draw(7);
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (std::size_t n = draw() % 40; n > 0; --n)
      text += static_cast<char>(draw() % 3 == 0 ? draw() % 256 : "lower' \n\xc3\xa9"[draw() % 10]);
    wf::encoding const e = t->encode(text, {.special = false});
    ASSERT_EQ(t->decode(e.ids), text);
    std::size_t at = 0;
    for (auto const& s : e.spans) {
      ASSERT_EQ(s.begin, at);
      at = s.end;
    }
    ASSERT_EQ(at, text.size());
  }
}

TEST(byte_level_bpe, special_tokens_are_themselves_unless_told_not_to_be) {
  auto const t = open(low_newer);
  std::int32_t const end = *t->special().eos;
  EXPECT_EQ(t->special().bos, end);
  EXPECT_EQ(t->encode("low<|endoftext|>low").ids, (ids{*t->find("low"), end, *t->find("low")}));
  EXPECT_EQ(t->token_text(end), "<|endoftext|>");
  EXPECT_EQ(t->decode(ids{end, end}), "<|endoftext|><|endoftext|>");
  EXPECT_GT(t->encode("<|endoftext|>", {.special = false}).ids.size(), 5u);
  EXPECT_THROW(t->decode(ids{100000}), wf::usage_error);
  EXPECT_THROW(t->token_text(-1), wf::usage_error);
}

TEST(byte_level_bpe, shows_tokens_as_people_read_them) {
  auto const t = open(low_newer);
  EXPECT_EQ(t->token_text(*t->find(" low")), " low");
  EXPECT_EQ(t->token_text(*t->find("\n")), "\\n");
  EXPECT_EQ(t->token_text(*t->find("\x96")), "\\x96");
  EXPECT_EQ(t->token_bytes(*t->find("\x96")), "\x96");
}

/// The rule as it is usually stated: again and again, merge the leftmost pair of the lowest rank.
ids by_the_book(std::string const& text, wf::tokenizer const& t, std::vector<std::pair<std::string, std::string>> const& merges) {
  std::vector<std::string> parts;
  for (char const c : text) parts.push_back(letter(static_cast<unsigned char>(c)));
  for (;;) {
    std::size_t best = merges.size(), where = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i)
      for (std::size_t m = 0; m < best; ++m)
        if (merges[m].first == parts[i] && merges[m].second == parts[i + 1]) best = m, where = i;
    if (best == merges.size()) break;
    parts[where] += parts[where + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  ids out;
  for (auto const& p : parts) out.push_back(*t.find(p));  // letters and bytes are the same here
  return out;
}

TEST(byte_level_bpe, short_and_long_pieces_follow_the_book) {
  std::mt19937 draw(3);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> made = {"a", "b", "c", "d"};
    std::vector<std::pair<std::string, std::string>> merges;
    for (int m = 0; m < 25; ++m) {
      std::string const left = made[draw() % made.size()], right = made[draw() % made.size()];
      bool const again = std::find(merges.begin(), merges.end(), std::pair(left, right)) != merges.end();
      if (left.size() + right.size() > 9 || again) continue;
      merges.emplace_back(left, right);
      made.push_back(left + right);
    }
    auto const t = open(byte_level(merges));
    for (std::size_t const n : {1, 2, 3, 5, 17, 47, 48, 49, 50, 80, 200}) {
      std::string text;
      for (std::size_t i = 0; i < n; ++i) text += static_cast<char>('a' + draw() % 4);
      ASSERT_EQ(t->encode(text).ids, by_the_book(text, *t, merges)) << text;
    }
  }
}

TEST(byte_level_bpe, text_without_spaces_takes_no_longer_for_being_long) {
  auto const t = open(byte_level({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}}));
  // The square of a million would take hours.
  EXPECT_EQ(t->encode(std::string(1'000'000, 'a')).ids, ids(125'000, *t->find("aaaaaaaa")));
}

TEST(byte_level_bpe, remembering_words_changes_nothing) {
  auto const t = open(low_newer);
  std::string const line = "slower lowest, newer wolf's slower  it\n";
  wf::encoding const one = t->encode(line);
  std::string text;
  for (int i = 0; i < 300; ++i) text += line;
  wf::encoding const all = t->encode(text);
  ASSERT_EQ(all.ids.size(), 300 * one.ids.size());
  for (std::size_t i = 0; i < all.ids.size(); ++i) {
    std::size_t const shift = i / one.ids.size() * line.size();
    ASSERT_EQ(all.ids[i], one.ids[i % one.ids.size()]);
    ASSERT_EQ(all.spans[i].begin, one.spans[i % one.ids.size()].begin + shift);
    ASSERT_EQ(all.spans[i].end, one.spans[i % one.ids.size()].end + shift);
  }
}

TEST(byte_level_bpe, an_opened_tokenizer_serves_many_threads) {
  auto const t = open(low_newer);
  std::string text;
  for (int i = 0; i < 500; ++i) text += "slower lowest \xc3\xa9 newer ";
  wf::encoding const expected = t->encode(text);
  std::vector<std::thread> threads;
  std::array<bool, 4> same{};
  for (std::size_t k = 0; k < same.size(); ++k)
    threads.emplace_back([&, k] { same[k] = t->encode(text).ids == expected.ids && t->decode(expected.ids) == text; });
  for (auto& one : threads) one.join();
  EXPECT_EQ(same, (std::array<bool, 4>{true, true, true, true}));
}

TEST(byte_level_bpe, roberta_has_ends_and_a_mask_that_takes_the_space_before_it) {
  files all = byte_level({{"l", "o"}});
  auto vocab = wf::parse_json(all["vocab.json"], "vocab", wf::tokenizer_limits);
  std::int32_t next = 300;
  for (char const* token : {"<s>", "</s>", "<unk>", "<pad>", "<mask>"}) vocab.set(token, next++);
  all["vocab.json"] = to_json(vocab);
  all["config.json"] = R"({"model_type": "roberta"})";
  auto const t = open(all);
  EXPECT_EQ(tokens_of(*t, "lo <mask>!"), (words{"<s>", "lo", "<mask>", "!", "</s>"}));
  EXPECT_EQ(tokens_of(*t, "lo", {.ends = false}), (words{"lo"}));
  EXPECT_EQ(*t->special().mask, 304);
  EXPECT_EQ(t->encode("lo").spans, (std::vector<wf::token_span>{{0, 0}, {0, 2}, {2, 2}}));
}

TEST(byte_level_bpe, tokenizer_json_says_the_same_as_the_pair_of_files) {
  auto const vocab = low_newer.at("vocab.json");
  std::string const head = R"({"added_tokens": [{"id": 261, "content": "<|endoftext|>", "special": true}], "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": )";
  std::string const tail = R"(}, "model": {"type": "BPE", "vocab": )" + vocab + R"(, "merges": ["l o", ["lo", "w"], ")" +
                           letter(' ') + R"( low", "e r", "' s"]}})";
  auto const t = open({{"tokenizer.json", head + "false" + tail}}), spaced = open({{"tokenizer.json", head + "true" + tail}});
  auto const pair = open(low_newer);
  for (std::string const text : {"low lower's", "\xff\n\n low <|endoftext|> x", "", " "})
    EXPECT_EQ(t->encode(text).ids, pair->encode(text).ids) << text;
  EXPECT_EQ(tokens_of(*spaced, "low low"), (words{" low", " low"}));
  EXPECT_EQ(pieces_of_text(*spaced, "low low"), (words{"low", " low"}));
  EXPECT_EQ(tokens_of(*spaced, "'s"), (words{" ", "'", "s"}));
  EXPECT_EQ(pieces_of_text(*spaced, "'s"), (words{"", "'", "s"}));
}

TEST(unigram, takes_the_best_cut) {
  auto const t = open(few_spiece);
  EXPECT_EQ(t->kind(), "unigram");
  EXPECT_EQ(tokens_of(*t, "lower"), (words{" low", "er", "</s>"}));  // -7 beats -8
  EXPECT_EQ(tokens_of(*t, "  low \n low\t", {.ends = false}), (words{" low", " ", "<unk>", " low", "<unk>"}));
  EXPECT_EQ(pieces_of_text(*t, "slow xyz low", {.ends = false}), (words{"", "s", "low", " ", "xyz", " low"}));
  EXPECT_EQ(tokens_of(*t, "never", {.ends = false}), (words{" ", "<unk>", "er"}));
  EXPECT_EQ(t->decode(t->encode("low lower", {.ends = false}).ids), "low lower");
  EXPECT_EQ(t->find(" low"), 4);
  EXPECT_TRUE(t->begins_word(4));
  EXPECT_FALSE(t->begins_word(5));
  EXPECT_EQ(t->special().eos, 1);
  EXPECT_EQ(t->special().pad, 0);
  EXPECT_EQ(t->special().unk, 2);
  EXPECT_FALSE(t->special().bos);
}

TEST(unigram, sentinels_and_symbols_of_the_user) {
  auto const t = open(few_spiece);
  EXPECT_EQ(t->vocabulary(), few_pieces.size() + 100);
  EXPECT_EQ(t->token_text(static_cast<std::int32_t>(few_pieces.size()) + 99), "<extra_id_0>");
  EXPECT_EQ(tokens_of(*t, "low <extra_id_3> low</s>", {.ends = false}), (words{" low", "<extra_id_3>", " low", "</s>"}));
  EXPECT_EQ(tokens_of(*t, "low<s>er", {.ends = false}), (words{" low", "<s>", "er"}));
  auto const plain = tokens_of(*t, "</s>", {.special = false, .ends = false});
  EXPECT_EQ(std::count(plain.begin(), plain.end(), "</s>"), 0);
}

TEST(unigram, the_character_map_keeps_track_of_places) {
  std::string const map = character_map("\xef\xac\x81", "fi");
  auto const t = open({{"spiece.model", spiece(few_pieces, t5_trainer, bytes_field(2, map))}});
  std::string const text = "low\xef\xac\x81 low";
  EXPECT_EQ(tokens_of(*t, text, {.ends = false}), (words{" low", "fi", " low"}));
  EXPECT_EQ(pieces_of_text(*t, text, {.ends = false}), (words{"low", "\xef\xac\x81", " low"}));
}

TEST(unigram, falls_back_to_bytes) {
  std::vector<piece> pieces = few_pieces;
  for (unsigned b = 0; b < 256; ++b) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", b);
    pieces.push_back({text, 0, 6});
  }
  auto const t = open({{"spiece.model", spiece(pieces, t5_trainer + varint_field(35, 1))}});
  auto const first = static_cast<std::int32_t>(few_pieces.size());
  EXPECT_EQ(t->encode("low\xc3\xa9", {.ends = false}).ids, (ids{4, first + 0xc3, first + 0xa9}));
  EXPECT_EQ(t->decode(ids{4, first + 0xc3, first + 0xa9}), "low\xc3\xa9");
  EXPECT_EQ(t->token_text(first + 0xc3), "\\xc3");
}

/// The best cut found over the whole text at once: its pieces, with unknown characters joined. Sums are rounded as the reader
/// does.
template <class Sum>
words best_cut(std::string const& text, std::vector<piece> const& pieces) {
  struct way {
    Sum score = 0;
    std::size_t begin = std::string::npos;
    bool unknown = false;
  };
  float lowest = 0;
  for (auto const& p : pieces)
    if (p.type == 1) lowest = std::min(lowest, p.score);
  std::vector<way> to(text.size() + 1);
  for (std::size_t begin = 0; begin < text.size(); ++begin) {
    if (begin != 0 && to[begin].begin == std::string::npos) continue;
    auto const offer = [&](std::size_t n, double score, bool unknown) {
      way& w = to[begin + n];
      if (w.begin == std::string::npos || score > static_cast<double>(w.score)) w = {static_cast<Sum>(score), begin, unknown};
    };
    std::size_t const one = static_cast<unsigned char>(text[begin]) < 0x80 ? 1 : 3;
    bool single = false;
    for (std::size_t n = 1; n <= 8; ++n)
      for (auto const& p : pieces)
        if (p.type == 1 && p.text.size() == n && text.compare(begin, n, p.text) == 0) {
          offer(n, static_cast<double>(p.score) + static_cast<double>(to[begin].score), false);
          single = single || n == one;
        }
    if (!single) offer(one, static_cast<double>(static_cast<Sum>(static_cast<Sum>(lowest) - Sum(10) + to[begin].score)), true);
  }
  words out;
  bool joins = false;
  for (std::size_t end = text.size(); end > 0; end = to[end].begin) {
    std::string const part = text.substr(to[end].begin, end - to[end].begin);
    if (joins && to[end].unknown)
      out.back() = part + out.back();
    else
      out.push_back(part);
    joins = to[end].unknown;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

TEST(unigram, a_long_text_is_cut_as_if_it_were_read_at_once) {
  std::mt19937 draw(5);
  for (int round = 0; round < 8; ++round) {
    // In the first round the ways to even and to odd places never meet.
    std::vector<piece> pieces = {{"<pad>", 0, 3}, {"</s>", 0, 3}, {"<unk>", 0, 2}, {mark, -2}};
    std::set<std::string> texts;
    if (round == 0) texts = {"aa"};
    for (int k = 0; round != 0 && k < 30; ++k) {
      std::string text;
      for (std::size_t n = 1 + draw() % 6; n > 0; --n) text += static_cast<char>('a' + draw() % 3);
      texts.insert(text);
    }
    for (auto const& text : texts) pieces.push_back({text, -1.0f - static_cast<float>(draw() % 1000) / 100.0f});
    if (round == 0) pieces.push_back({"a", -30});
    std::string json =
        R"({"added_tokens": [], "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
      "model": {"type": "Unigram", "unk_id": 2, "vocab": [)";
    for (auto const& p : pieces) {
      char score[32];
      std::snprintf(score, sizeof score, "%.9g", static_cast<double>(p.score));
      json += (p.text == "<pad>" ? "[\"" : ", [\"") + p.text + "\", " + score + "]";
    }
    auto const library = open({{"spiece.model", spiece(pieces, t5_trainer)}}),
               hugging_face = open({{"tokenizer.json", json + "]}}"}});
    std::string text;
    for (std::size_t const n : {1u, 1500u, 70'000u}) {
      while (text.size() < n) text += round == 0 ? 'a' : static_cast<char>('a' + draw() % (draw() % 50 == 0 ? 5 : 3));
      auto const expect = [&](wf::tokenizer const& t, words wanted) {
        auto const got = t.encode(text, {.ends = false});
        ASSERT_EQ(got.ids.size(), wanted.size()) << round << ", " << n << " bytes";
        std::size_t at = 0;
        for (std::size_t i = 0; i < wanted.size(); ++i) {
          std::size_t const length = wanted[i].size() - (i == 0 ? 3 : 0);  // the mark before the text is no byte of it
          ASSERT_EQ(got.spans[i].begin, at) << i;
          ASSERT_EQ(got.spans[i].end, at += length) << i;
          auto const known = t.find(wanted[i] == mark ? " " : wanted[i]);
          ASSERT_EQ(got.ids[i], known ? *known : 2) << i;
        }
      };
      expect(*library, best_cut<float>(mark + text, pieces));
      expect(*hugging_face, best_cut<double>(mark + text, pieces));
    }
  }
}

TEST(unigram, tokenizer_json_cuts_word_by_word) {
  auto const t =
      open({{"tokenizer.json",
             R"({"added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "</s>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
      {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true}]},
    "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
      "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
    "decoder": {"type": "Metaspace", "replacement": "\u2581"},
    "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["</s>", 0], ["\u2581", -2.0], ["\u2581low", -4.0], ["er", -3.0],
      ["fi", -4.0]]}})"}});
  EXPECT_EQ(tokens_of(*t, "LOWER  \xef\xac\x81 \xe4\xbd\xa0\xe5\xa5\xbd"),
            (words{" low", "er", " ", "fi", " ", "<unk>", "</s>"}));
  EXPECT_EQ(pieces_of_text(*t, "LOWER  \xef\xac\x81"), (words{"LOW", "ER", "", "\xef\xac\x81", ""}));
}

TEST(wordpiece, splits_words_as_bert_does) {
  auto const t = open(few_words);
  EXPECT_EQ(t->kind(), "wordpiece");
  EXPECT_EQ(tokens_of(*t, "Lower, LOW!"), (words{"[CLS]", "low", "##er", ",", "low", "!", "[SEP]"}));
  EXPECT_EQ(pieces_of_text(*t, "Lower, LOW!"), (words{"", "Low", "er", ",", "LOW", "!", ""}));
  EXPECT_EQ(tokens_of(*t,
                      "\xc3\xbc"
                      "bering u\xcc\x88"
                      "ber",
                      {.ends = false}),
            (words{"uber", "##ing", "uber"}));
  EXPECT_EQ(tokens_of(*t, "low\xe4\xbd\xa0low", {.ends = false}), (words{"low", "\xe4\xbd\xa0", "low"}));
  EXPECT_EQ(tokens_of(*t, "lowx low [MASK]", {.ends = false}), (words{"[UNK]", "low", "[MASK]"}));
  EXPECT_EQ(tokens_of(*t, std::string(100, 'a') + " " + std::string(101, 'a'), {.ends = false}).size(), 101u);
  EXPECT_EQ(t->decode(t->encode("lower, low!", {.ends = false}).ids), "lower, low!");
  EXPECT_TRUE(t->begins_word(*t->find("low")));
  EXPECT_FALSE(t->begins_word(*t->find("er")));
  EXPECT_EQ(t->token_text(*t->find("er")), "##er");
  EXPECT_EQ(t->special().cls, 2);
  EXPECT_EQ(t->special().mask, 4);
}

TEST(wordpiece, a_long_text_is_cut_as_its_words_are) {
  auto const t = open(few_words);
  // Without spaces, with a word longer than any that is cut, with accents that two characters make, and with Chinese.
  std::string const bits[] = {"low",
                              "LOWER",
                              "!",
                              ",",
                              "a",
                              "\xe4\xbd\xa0",
                              " ",
                              "u\xcc\x88"
                              "bering",
                              "\xc3\xbc"
                              "ber",
                              "zzz",
                              std::string(300, 'a')};
  std::mt19937 draw(7);
  std::string text;
  while (text.size() < 200'000) text += bits[draw() % std::size(bits)];
  wf::encoding all;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t const end = std::min(text.find(' ', at), text.size());
    auto const part = t->encode(text.substr(at, end - at), {.ends = false});
    all.ids.insert(all.ids.end(), part.ids.begin(), part.ids.end());
    for (auto const s : part.spans) all.spans.push_back({s.begin + at, s.end + at});
    at = end + 1;
  }
  auto const got = t->encode(text, {.ends = false});
  ASSERT_EQ(got.ids, all.ids);
  for (std::size_t i = 0; i < got.spans.size(); ++i)
    ASSERT_TRUE(got.spans[i].begin == all.spans[i].begin && got.spans[i].end == all.spans[i].end) << i;
  // One word from end to end, which meets the end of many slices.
  auto const one = t->encode(std::string(300'000, 'a'), {.ends = false});
  ASSERT_EQ(one.ids, ids{1});
  EXPECT_EQ(one.spans[0].end, 300'000u);
}

TEST(wordpiece, case_is_kept_where_the_configuration_says_so) {
  files all = few_words;
  all["tokenizer_config.json"] = R"({"do_lower_case": false, "model_max_length": 1000000000000000019884624838656})";
  EXPECT_EQ(tokens_of(*open(all), "Low low", {.ends = false}), (words{"[UNK]", "low"}));
}

TEST(wordpiece, tokenizer_json_says_the_same_as_the_list) {
  auto const list = open(few_words);
  auto const json =
      open({{"tokenizer.json", R"({"normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}, "decoder": {"type": "WordPiece"},
    "added_tokens": [{"id": 2, "content": "[CLS]", "special": true}, {"id": 3, "content": "[SEP]", "special": true}],
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4,
      "low": 5, "##er": 6, "l": 7, "##o": 8, "##w": 9, "!": 10, ",": 11, "\u4f60": 12, "a": 13, "##a": 14, "uber": 15, "##ing": 16}}})"}});
  for (std::string const text : {"Lower, LOW! x\xe4\xbd\xa0 \xc3\x9c"
                                 "bering",
                                 "\x01 \xff l\xc2\xa0low", ""})
    EXPECT_EQ(json->encode(text).ids, list->encode(text).ids) << text;
}

// ---- what the files beside a vocabulary say ----

namespace {

/// A WordPiece tokenizer.json with ids 0 to 4 for the special tokens.
std::string wordpiece_json(
    std::string const& normalizer, std::string const& added,
    std::string const& vocab = R"("the": 5, "The": 6, "co": 7, "##vid": 8, "\u4f60": 9, "cafe": 10, "s": 11)") {
  return R"({"normalizer": {"type": "BertNormalizer")" + normalizer + R"(}, "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
    "added_tokens": [{"id": 2, "content": "[CLS]", "special": true}, {"id": 3, "content": "[SEP]", "special": true})" +
         added + R"(], "model": {"type": "WordPiece", "unk_token": "[UNK]",
    "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, )" +
         vocab + "}}}";
}
ids inner(wf::tokenizer const& t, std::string const& text, bool special = true) {
  return t.encode(text, {.special = special, .ends = false}).ids;
}
std::string token(int id, std::string const& text, std::string const& flags) {
  return R"(, {"id": )" + std::to_string(id) + R"(, "content": ")" + text + R"(", )" + flags + "}";
}

}  // namespace

TEST(added_tokens, normalized_ones_are_found_in_the_normalised_text_and_the_others_before) {
  auto const t = open({{"tokenizer.json", wordpiece_json("", token(20, "COVID", R"("normalized": true)") +
                                                                 token(21, "Caf\u00e9", R"("normalized": true)") +
                                                                 token(22, "co", R"("normalized": false)"))}});
  for (std::string const text : {"COVID", "Covid", "C\xc3\x93VID"})
    EXPECT_EQ(inner(*t, "the " + text + "s"), (ids{5, 20, 11})) << text;
  for (std::string const text : {"cafe", "CAFE", "caf\xc3\xa9"}) EXPECT_EQ(inner(*t, text), ids{21}) << text;
  EXPECT_EQ(inner(*t, "covid"), (ids{22, 1}));  // the raw token is cut out first
  std::string const text = "the Caf\xc3\xa9";
  EXPECT_EQ(pieces_of_text(*t, text, {.ends = false}), (words{"the", "Caf\xc3\xa9"}));
}

TEST(added_tokens, whole_words_and_the_white_space_around) {
  auto const t = open({{"tokenizer.json", wordpiece_json("", token(20, "ab", R"("normalized": false, "single_word": true)") +
                                                                 token(21, "<l>", R"("lstrip": true)") +
                                                                 token(22, "<r>", R"("rstrip": true, "special": true)"))}});
  EXPECT_EQ(inner(*t, "ab the.ab, ab"), (ids{20, 5, 1, 20, 1, 20}));
  for (std::string const text : {"abs", "sab", "_ab", "ab1",
                                 "\xc3\xa9"
                                 "ab"})
    EXPECT_THAT(inner(*t, text), testing::Not(testing::Contains(20))) << text;
  EXPECT_EQ(pieces_of_text(*t, "s  <l> s <r> s", {.ends = false}), (words{"s", "  <l>", "s", "<r> ", "s"}));
}

TEST(added_tokens, of_all_files_are_one_list) {
  files all = byte_level({{"a", "b"}});
  all["added_tokens.json"] = R"({"<new>": 300, "<pad>": 301})";
  all["special_tokens_map.json"] = R"({"pad_token": "<pad>", "mask_token": {"content": "<m>", "lstrip": true}})";
  all["tokenizer_config.json"] = R"({"added_tokens_decoder": {"302": {"content": "<m>", "lstrip": true, "special": true}}})";
  auto const t = open(all);
  EXPECT_EQ(inner(*t, "ab<new><pad> <m>"), (ids{256, 300, 301, 302}));
  EXPECT_EQ(t->special().pad, 301);
  EXPECT_EQ(t->special().mask, 302);
  EXPECT_EQ(inner(*t, "<new>", false), ids{300});  // not special
  EXPECT_NE(inner(*t, "<pad>", false), ids{301});
  all["tokenizer_config.json"] = R"({"added_tokens_decoder": {"302": {"content": "<new>"}}})";
  EXPECT_NE(refusal(all).find("added_tokens.json: [\"<new>\"]: the token has the id 302 in tokenizer_config.json"),
            std::string::npos)
      << refusal(all);
  all["tokenizer_config.json"] = R"({"split_special_tokens": true})";
  EXPECT_NE(inner(*open(all), "<pad>"), ids{301});
  // Where tokenizer.json and the configuration speak of one token, the configuration's flags count.
  auto const json = open({{"tokenizer.json", wordpiece_json("", token(20, "<x>", R"("special": true)"))},
                          {"tokenizer_config.json", R"({"added_tokens_decoder": {"20": {"content": "<x>", "rstrip": true},
                             "21": {"content": "<y>"}}})"}});
  EXPECT_EQ(pieces_of_text(*json, "<x> s<y>", {.ends = false}), (words{"<x> ", "s", "<y>"}));
  EXPECT_EQ(inner(*json, "<y>"), ids{21});
}

TEST(added_tokens, of_a_sentencepiece_folder) {
  auto const next = static_cast<std::int32_t>(few_pieces.size());
  std::string const config = R"("tokenizer_class": "T5Tokenizer", "extra_ids": 0)";
  for (auto const& [file, text] : {std::pair("added_tokens.json", R"({"<": )" + std::to_string(next) + "}"),
                                   std::pair("tokenizer_config.json", "{" + config + R"(, "added_tokens_decoder": {")" +
                                                                          std::to_string(next) + R"(": {"content": "<"}}})")}) {
    files all = {{"spiece.model", few_spiece.at("spiece.model")}, {"tokenizer_config.json", "{" + config + "}"}};
    all[file] = text;
    EXPECT_EQ(open(all)->encode("low<low").ids, (ids{4, next, 4, 1})) << file;
  }
}

TEST(added_tokens, t5_without_legacy_puts_the_first_space_once) {
  files all = few_spiece;
  EXPECT_EQ(tokens_of(*open(all), "low</s>low", {.ends = false}), (words{" low", "</s>", " low"}));
  all["tokenizer_config.json"] = R"({"legacy": false})";
  auto const t = open(all);
  EXPECT_EQ(tokens_of(*t, "low</s>low", {.ends = false}), (words{" low", "</s>", "low"}));
  EXPECT_EQ(tokens_of(*t, "low</s> low", {.ends = false}), (words{" low", "</s>", " low"}));
  EXPECT_EQ(tokens_of(*t, "low <extra_id_0> low", {.ends = false}), (words{" low", "<extra_id_0>", "low"}));
}

TEST(tokenizer_config, rewrites_berts_normaliser) {
  auto const with = [](std::string const& normalizer, std::string const& config) {
    return open({{"tokenizer.json", wordpiece_json(normalizer, "")}, {"tokenizer_config.json", config}});
  };
  EXPECT_EQ(inner(*with(R"(, "lowercase": true)", R"({"do_lower_case": false})"), "The"), ids{6});
  EXPECT_EQ(inner(*with(R"(, "lowercase": false)", R"({"do_lower_case": true})"), "The"), ids{5});
  EXPECT_EQ(inner(*with(R"(, "lowercase": false)", R"({"tokenizer_class": "BertTokenizerFast"})"), "The"), ids{6});
  std::string const accent = "caf\xc3\xa9", chinese = "s\xe4\xbd\xa0";
  EXPECT_EQ(inner(*with("", "{}"), accent), ids{10});
  EXPECT_EQ(inner(*with("", R"({"strip_accents": false})"), accent), ids{1});
  EXPECT_EQ(inner(*with(R"(, "strip_accents": false)", R"({"strip_accents": null})"), accent), ids{10});
  EXPECT_EQ(inner(*with(R"(, "lowercase": false)", R"({"strip_accents": true})"), accent), ids{10});
  EXPECT_EQ(inner(*with("", "{}"), chinese), (ids{11, 9}));
  EXPECT_EQ(inner(*with("", R"({"tokenize_chinese_chars": false})"), chinese), ids{1});
  EXPECT_EQ(inner(*with(R"(, "handle_chinese_chars": false)", R"({"tokenize_chinese_chars": true})"), chinese), (ids{11, 9}));
  std::string const odd =
      refusal({{"tokenizer.json", wordpiece_json(R"(, "lowercase": true)", "")},
               {"tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": false})"}});
  EXPECT_NE(odd.find("do_lower_case: is false, but tokenizer.json has lowercase true"), std::string::npos) << odd;
}

TEST(tokenizer_config, adds_a_space_or_a_beginning) {
  files all = low_newer;
  all["tokenizer_config.json"] = R"({"add_prefix_space": true})";
  EXPECT_EQ(tokens_of(*open(all), "low"), words{" low"});
  all["tokenizer_config.json"] = R"({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true})";
  EXPECT_EQ(tokens_of(*open(all), "low"), (words{"<|endoftext|>", "low"}));
  EXPECT_EQ(tokens_of(*open(all), "low", {.ends = false}), words{"low"});
  all["tokenizer_config.json"] = R"({"add_eos_token": true})";
  EXPECT_NE(refusal(all).find("add_eos_token: is true, but the tokenizer's other files put none behind a text"),
            std::string::npos);
  std::string const head =
      R"({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}, "model": {"type": "BPE", "vocab": )" +
      low_newer.at("vocab.json") + R"(, "merges": ["l o", "lo w", ")" + letter(' ') + R"( low"]}})";
  EXPECT_EQ(tokens_of(*open({{"tokenizer.json", head}}), "low"), words{"low"});
  EXPECT_EQ(tokens_of(*open({{"tokenizer.json", head}, {"tokenizer_config.json", R"({"add_prefix_space": true})"}}), "low"),
            words{" low"});
}

TEST(tokenizer_config, what_is_not_followed_is_refused_by_name) {
  auto const says = [](files all, std::string const& config, std::string const& what,
                       char const* file = "tokenizer_config.json") {
    all[file] = config;
    std::string const got = refusal(all);
    EXPECT_NE(got.find(what), std::string::npos) << "expected: " << what << "\ngot: " << got;
  };
  says(few_words, R"({"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"})",
       "tokenizer_class: \"BertJapaneseTokenizer\" is not supported with vocab.txt; this build reads there: BertTokenizer");
  says(few_words, R"({"tokenizer_class": "BertweetTokenizer"})", "config.json: tokenizer_class: \"BertweetTokenizer\"",
       "config.json");
  says(few_words, R"({"tokenizer_class": "GPT2Tokenizer"})", "\"GPT2Tokenizer\" is not supported with vocab.txt");
  says(low_newer, R"({"tokenizer_class": "CLIPTokenizer"})", "\"CLIPTokenizer\" is not supported with vocab.json and merges.txt");
  says(few_spiece, R"({"tokenizer_class": "PegasusTokenizer"})",
       "\"PegasusTokenizer\" is not supported with a SentencePiece model");
  says({{"tokenizer.json", wordpiece_json("", "")}}, R"({"tokenizer_class": "T5TokenizerFast"})",
       "\"T5TokenizerFast\" is not supported with a tokenizer.json with WordPiece");
  says({}, R"({"tokenizer_class": "CanineTokenizer"})", "\"CanineTokenizer\" is not supported with no vocabulary file");
  says({}, "x", "sentencepiece.bpe.model: tokenizers in such files are not read; this build reads tokenizer.json",
       "sentencepiece.bpe.model");
  says(few_words, R"({"do_basic_tokenize": false})", "do_basic_tokenize: is false");
  says(few_words, R"({"never_split": ["low"]})", "never_split[0]: \"low\" is not a token that is matched as a whole");
  says(few_words, R"({"never_split": ["[MASK]"], "mask_token": "[MASK]"})", "accepted");
  says(few_words, R"({"word_tokenizer_type": "mecab"})", "word_tokenizer_type: belongs to a kind of tokenizer");
  says(few_words, R"({"wordpieces_prefix": "@@"})", "wordpieces_prefix: only \"##\"");
  says(few_words, R"({"extra_ids": 10})", "extra_ids: is 10, which only T5's tokenizers read");
  says(low_newer, R"({"do_lower_case": true})", "do_lower_case: is true, which byte-level BPE does not read");
  says(few_spiece, R"({"sp_model_kwargs": {"enable_sampling": true}})", "sp_model_kwargs: settings of SentencePiece's library");
  says(few_spiece, R"({"add_prefix_space": false})", "add_prefix_space: is false");
}

TEST(tokenizer_config, what_nobody_knows_becomes_a_note) {
  files all = few_words;
  all["tokenizer_config.json"] =
      R"({"model_max_length": 512, "padding_side": "left", "frobnicate": 3, "pad_token": "[P]", "nothing": null, "never_split": null})";
  auto const t = open(all);
  auto const& notes = dynamic_cast<wf::pair_tokenizer const&>(*t).notes();
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_NE(notes[0].find("tokenizer_config.json: the setting \"frobnicate\" is not known here"), std::string::npos);
  EXPECT_NE(notes[1].find("pad_token \"[P]\" is in no vocabulary"), std::string::npos);
}

TEST(wordpiece, blank_and_double_lines_keep_the_numbers_of_the_others) {
  auto const t = open({{"vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n\n\nlow\n##er\nlow\r\nl\n"}});
  EXPECT_EQ(inner(*t, "low lower l"), (ids{8, 8, 7, 9}));
  EXPECT_EQ(t->vocabulary(), 10u);
  EXPECT_EQ(t->token_text(6), "low");
  EXPECT_EQ(t->token_text(4), "");
  EXPECT_EQ(t->find("low"), 8);
  auto const& notes = dynamic_cast<wf::pair_tokenizer const&>(*t).notes();
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("2 of its lines come again below, the first of them line 5"), std::string::npos) << notes[0];
}

TEST(bytes, are_byt5s_tokens) {
  files all = {{"tokenizer_config.json", R"({"tokenizer_class": "ByT5Tokenizer"})"}};
  auto const t = open(all);
  EXPECT_EQ(t->kind(), "bytes");
  EXPECT_EQ(t->vocabulary(), 384u);
  EXPECT_EQ(t->encode("hi\xc3\xa9").ids, (ids{107, 108, 198, 172, 1}));
  EXPECT_EQ(t->encode("h <extra_id_0>").ids, (ids{107, 35, 259, 1}));
  EXPECT_EQ(t->encode("h</s>").ids, (ids{107, 1}));  // ByT5 ends no text twice
  EXPECT_EQ(t->encode("").ids, ids{1});
  EXPECT_EQ(t->decode(ids{107, 198, 172}), "h\xc3\xa9");
  EXPECT_EQ(t->token_text(198), "\\xc3");
  EXPECT_EQ(t->special().pad, 0);
  EXPECT_EQ(t->special().unk, 2);
  all["tokenizer_config.json"] = R"({"tokenizer_class": "ByT5Tokenizer", "extra_ids": 2})";
  EXPECT_EQ(open(all)->vocabulary(), 261u);
  EXPECT_EQ(open({{"config.json", R"({"tokenizer_class": "ByT5Tokenizer"})"}})->vocabulary(), 384u);
  all["spiece.model"] = few_spiece.at("spiece.model");
  EXPECT_NE(refusal(all).find("needs no file, but the folder has spiece.model"), std::string::npos);
}

TEST(pairs, stand_as_bert_and_roberta_put_them) {
  auto const pair = [](files const& all, std::size_t most = 0) {
    return dynamic_cast<wf::pair_tokenizer const&>(*open(all)).encode_pair("low low", "l", most);
  };
  auto const bert = pair(few_words);
  EXPECT_EQ(bert.ids, (ids{2, 5, 5, 3, 7, 3}));
  EXPECT_EQ(bert.types, (ids{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(bert.second, (std::vector<bool>{false, false, false, false, true, true}));
  EXPECT_EQ(bert.spans[2], (wf::token_span{4, 7}));
  EXPECT_EQ(bert.spans[4], (wf::token_span{0, 1}));
  auto const cut = pair(few_words, 5);
  EXPECT_EQ(cut.ids, (ids{2, 5, 3, 7, 3}));  // the longer text gives way
  EXPECT_EQ(cut.uncut, 6u);
  files roberta = byte_level({{"l", "o"}});
  auto vocab = wf::parse_json(roberta["vocab.json"], "vocab", wf::tokenizer_limits);
  vocab.set("<s>", 300).set("</s>", 301).set("<unk>", 302);
  roberta["vocab.json"] = to_json(vocab), roberta["config.json"] = R"({"model_type": "roberta"})";
  auto const both = dynamic_cast<wf::pair_tokenizer const&>(*open(roberta)).encode_pair("lo", "o");
  EXPECT_EQ(both.ids, (ids{300, 256, 301, 301, *open(roberta)->find("o"), 301}));
  EXPECT_EQ(both.types, ids(6, 0));
  EXPECT_THROW(pair(low_newer), wf::usage_error);
  files const json = {{"tokenizer.json", wordpiece_json("", "")}};
  EXPECT_EQ(dynamic_cast<wf::pair_tokenizer const&>(*open(json)).encode_pair("the", "s").types, (ids{0, 0, 0, 1, 1}));
}

TEST(tokenizer_files, a_folder_without_any_has_none) {
  EXPECT_EQ(open({}), nullptr);
  EXPECT_EQ(open({{"vocab.json", "{}"}}), nullptr);
}

TEST(tokenizer_files, refuses_with_file_and_place) {
  auto const says = [](files const& all, std::string const& what) {
    std::string const got = refusal(all);
    EXPECT_NE(got.find(what), std::string::npos) << "expected: " << what << "\ngot: " << got;
  };
  auto const merges = [](std::string const& text) {
    return files{{"vocab.json", R"({"a": 0, "b": 1, "ab": 2})"}, {"merges.txt", text}};
  };
  says(merges("#version: 0.2\na b\nb b\n"), "merges.txt:3: merge 1 makes \"bb\", which is not a token");
  says(merges("a x\n"), "merges.txt:1: merge 0 joins \"x\", which is not a token");
  says(merges("a b c\n"), "merges.txt:1: expected two tokens with a space between");
  says(merges("ab\n"), "merges.txt:1: expected two tokens");
  auto const vocab = [](std::string const& text) { return files{{"vocab.json", text}, {"merges.txt", ""}}; };
  says(vocab(R"({"a": 0, "b": 0})"), "vocab.json: b: two tokens have the id 0");
  says(vocab(R"({"a": 0, "b": -1})"), "vocab.json: b: expected an integer in 0..2147483647");
  says(vocab(R"({"a": 2147483647})"), "vocab.json: a: token id 2147483647 is far beyond the number of tokens");
  says(vocab(R"({"a": "x"})"), "vocab.json: a: expected an integer");
  says(vocab(R"(["a"])"), "vocab.json: expected an object");
  says(vocab(R"({"a": 0, "a": 1})"), "duplicate key");
  says(vocab("{\"a\": 0"), "vocab.json:1:8: byte 7");
  says(vocab(std::string(100'000, '[')), "vocab.json:1:");
  says({{"tokenizer.json", R"({"model": )" + std::string(100'000, '[') + std::string(100'000, ']') + "}"}}, "tokenizer.json:1:");
  says({{"tokenizer.json", "{}"}}, "tokenizer.json: \"model\" is missing");
  says({{"tokenizer.json", R"({"model": {"type": "WordLevel"}})"}},
       "tokenizer.json: model: type: the model \"WordLevel\" is not supported");

  auto const bpe = [](std::string const& more, std::string const& model = "") {
    return files{{"tokenizer.json", R"({"pre_tokenizer": {"type": "ByteLevel"}, )" + more +
                                        R"("model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"])" +
                                        model + "}}"}};
  };
  says(bpe(""), "accepted");
  says(bpe("", R"(, "dropout": 0.1)"), "model: dropout: dropout: cuts at random, which this build does not");
  says(bpe("", R"(, "unk_token": "x")"), "model: unk_token: is not a token");
  says(bpe(R"("normalizer": {"type": "NFX"}, )"), "normalizer: normalizer NFX: this build reads NFC, NFD");
  says(bpe(R"("decoder": {"type": "CTC"}, )"), "decoder: decoder CTC: this build reads ByteLevel, Metaspace");
  says(bpe(R"("post_processor": {"type": "Wrap"}, )"),
       "post_processor: post_processor Wrap: this build reads ByteLevel, Template");
  says(bpe(R"("post_processor": {"type": "RobertaProcessing", "cls": ["<s>", 9], "sep": ["</s>", 0]}, )"),
       "post_processor: no token has the id 9");
  says(bpe(R"("added_tokens": [{"id": 1, "content": "x"}], )"),
       "added_tokens: the added token \"x\" has the id 1, which is \"b\"");
  says(bpe(R"("added_tokens": [{"id": 5, "content": "x", "single_word": 1}], )"), "added_tokens[0]: single_word: expected");
  says(bpe(R"("shuffle": true, )"), "tokenizer.json: shuffle: this setting is not known here");
  says(bpe("", R"(, "alpha": 0.1)"), "model: alpha: this setting is not known here");
  says(bpe(R"("added_tokens": [{"id": 5, "content": "x"}, {"id": 5, "content": "y"}], )"), "has the id 5");
  says(bpe(R"("added_tokens": [{"id": 5, "content": ""}], )"), "an added token is empty");
  says({{"tokenizer.json",
         R"({"pre_tokenizer": {"type": "UnicodeScripts"}, "model": {"type": "BPE", "vocab": {}, "merges": []}})"}},
       "pre_tokenizer: pre_tokenizer UnicodeScripts: this build reads ByteLevel, Split");

  auto const model = [](std::string const& bytes) { return files{{"spiece.model", bytes}}; };
  says(model(""), "has no pieces");
  says(model("\x0a\x03\x0a\x09x"), "spiece.model: byte 2: field 1 is 9 bytes long, but only 1 are left");
  says(model("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "byte 0: a number is longer than 64 bits");
  says(model("\x0b"), "unsupported wire type 3");
  says(model(spiece(few_pieces, varint_field(3, 3))), "SentencePiece model of the type word; unigram and BPE models are read");
  says(model(spiece({{"a", -1}})), "has no piece for what is unknown");
  says(model(spiece({{"<unk>", 0, 2}, {"a", -1}, {"a", -2}})), "pieces 1 and 2 are both \"a\"");
  says(model(spiece({{"<unk>", 0, 2}, {"a", std::numeric_limits<float>::quiet_NaN()}})), "is not a finite number");
  says(model(spiece({{"<unk>", 0, 2}, {"\xff", -1}})), "is not UTF-8");
  says(model(spiece({{"<unk>", 0, 2}, {"a", -1}, {"x", 0, 9}})), "a piece has the unknown type 9");
  says(model(spiece(few_pieces, t5_trainer + varint_field(35, 1))), "has no piece for byte 0");
  says(model(spiece(few_pieces, t5_trainer, bytes_field(2, "\xff\xff\xff\x7f"))),
       "the character map says that its index is 2147483647 bytes long");
  says({{"spiece.model", few_spiece.at("spiece.model")}, {"config.json", R"({"tokenizer_class": "XLNetTokenizer"})"}},
       "\"XLNetTokenizer\" is not supported");

  says({{"vocab.txt", "[CLS]\n[SEP]\na\n"}}, "no token for unknown words");
  says({{"vocab.txt", "[UNK]\n\xff\n"}}, "vocab.txt:2: the token is not UTF-8");
}

TEST(tokenizer_files, a_sentencepiece_model_that_is_cut_short_anywhere_is_a_data_error) {
  files const mapped = {{"spiece.model", spiece(few_pieces, t5_trainer, bytes_field(2, character_map("\xef\xac\x81", "fi")))}};
  for (files const& sound : {few_spiece, mapped}) {
    std::string const& whole = sound.at("spiece.model");
    EXPECT_EQ(refusal(sound), "accepted");
    for (std::size_t n = 0; n < whole.size(); n += n < 400 ? 1 : 97) {
      files cut = sound;
      cut["spiece.model"] = whole.substr(0, n);
      EXPECT_NE(refusal(cut).find("spiece.model: "), std::string::npos) << "after " << n << " bytes: " << refusal(cut);
    }
  }
}

TEST(tokenizer_files, crafted_unigram_files_are_data_errors) {
  auto const json = [](std::string const& vocabulary, std::string const& model = R"("unk_id": 2)", std::string const& more = "") {
    return files{
        {"tokenizer.json", R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": true}, )" +
                               more + R"("model": {"type": "Unigram", "vocab": )" + vocabulary + ", " + model + "}}"}};
  };
  std::string const sound = R"([["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["a", -1.5]])";
  auto const refused = [](files const& all) {
    std::string const why = refusal(all);
    EXPECT_NE(why.find("tokenizer.json:"), std::string::npos) << why;
    EXPECT_EQ(why.find("not a data_error"), std::string::npos) << why;
  };
  EXPECT_EQ(refusal(json(sound)), "accepted");
  refused(json("[]"));
  refused(json(R"({"a": 0})"));
  refused(json(R"([["<unk>"]])", R"("unk_id": 0)"));
  refused(json(R"([["<unk>", "x"]])", R"("unk_id": 0)"));
  refused(json(R"([["<unk>", 0], ["a", 1e999]])", R"("unk_id": 0)"));
  refused(json(R"([["<unk>", 0], ["a", -1], ["a", -2]])", R"("unk_id": 0)"));
  refused(json(R"([[7, 0], ["a", -1]])", R"("unk_id": 0)"));
  refused(json(sound, R"("unk_id": 4)"));
  refused(json(sound, R"("unk_id": -1)"));
  refused(json(sound, R"("unk_id": 18446744073709551616)"));
  refused(json(sound, R"("unk_id": null)"));
  // A precompiled character map: no base64, cut short, an index longer than the map.
  for (char const* map : {"!!!!", "AAA", "/////w==", "AAQAAAAA"})
    refused(json(sound, R"("unk_id": 2)",
                 R"("normalizer": {"type": "Precompiled", "precompiled_charsmap": ")" + std::string(map) + R"("}, )"));
  refused({{"tokenizer.json", json(sound).at("tokenizer.json").substr(0, 60)}});
}

TEST(tokenizer_files, cut_short_or_changed_they_are_read_or_refused) {
  std::mt19937 draw(11);
  std::string const texts[] = {"Lower, low's  \xef\xac\x81\xe4\xbd\xa0\n", "<s></s>[MASK]<|endoftext|>\xff"};
  files const mapped = {{"spiece.model", spiece(few_pieces, t5_trainer, bytes_field(2, character_map("\xef\xac\x81", "fi")))}};
  for (files const& sound : {low_newer, few_spiece, mapped, few_words}) {
    for (auto const& [name, text] : sound) {
      scratch const folder(sound);
      auto const attempt = [&, &name = name](std::string const& changed) {
        folder.write(name, changed);
        try {
          auto const t = wf::open_tokenizer(folder.path());
          if (!t) return;
          for (auto const& x : texts) {
            wf::encoding const e = t->encode(x);
            t->decode(e.ids);
          }
        } catch (wf::data_error const&) {
        } catch (wf::usage_error const&) {  // a byte without a token
        }
      };
      std::size_t const stride = std::max<std::size_t>(1, text.size() / 150);
      for (std::size_t n = 0; n < text.size(); n += stride) attempt(text.substr(0, n));
      for (int i = 0; i < 150; ++i) {
        std::string changed = text;
        for (std::size_t k = 1 + draw() % 3; k > 0; --k) changed[draw() % changed.size()] = static_cast<char>(draw());
        attempt(changed);
      }
    }
  }
}
