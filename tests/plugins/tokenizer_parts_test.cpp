// Long texts: in parts the tokens are those of the whole, and very long words are merged as by the definition.
#include <algorithm>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include <wayfarer/random.hpp>
#include <wayfarer/tokenizer.hpp>

#include "unit/tokenizer_files.hpp"

namespace wf = wayfarer;

namespace {

std::string const data = WAYFARER_SOURCE_DIR "/runs/data/";

/// Words, marks, other scripts, bytes that are no UTF-8, special tokens and runs of spaces.
std::string mixture(std::size_t bytes, std::uint64_t seed) {
  char const* const some[] = {"the",
                              "cat",
                              "sat",
                              "on",
                              "mats",
                              ",",
                              ".",
                              "'s",
                              "1984",
                              "\xc3\xa9t\xc3\xa9",
                              "\n",
                              "  ",
                              "\t",
                              "\xe2\x96\x81",
                              "\xe4\xbd\xa0\xe5\xa5\xbd",
                              "\xff",
                              "</s>",
                              "<|endoftext|>",
                              "Anna",
                              "A\xcc\x88",
                              "[SEP]",
                              "x"};
  wf::random_stream draw(seed, "mixture");
  std::string text;
  while (text.size() < bytes) {
    text += some[draw.below(std::size(some))];
    if (draw.below(4) != 0) text += ' ';
  }
  return text;
}

std::string letters(std::size_t bytes, std::uint32_t kinds) {
  wf::random_stream draw(kinds, "letters");
  std::string text;
  while (text.size() < bytes) text += static_cast<char>('a' + draw.below(kinds));
  return text;
}

}  // namespace

TEST(tokenizer_parts, together_are_the_whole) {
  for (std::string const name : {"tiny-gpt2", "tiny-shakespeare-gpt2", "tiny-t5", "tiny-bert"}) {
    auto const t = wf::open_tokenizer(data + name);
    ASSERT_TRUE(t) << name;
    // A part of the text takes 256 KiB.
    for (std::string const& text : {std::string(), std::string("one"), mixture(700'000, 1),
                                    mixture(300'000, 2) + letters(100'000, 3), letters(60'000, 26) + ' ' + mixture(400'000, 3)}) {
      for (bool const special : {false, true}) {
        wf::tokenize_options const how{.special = special, .ends = special};
        auto const whole = t->encode(text, how);
        wf::encoding parts;
        std::size_t count = 0;
        wf::encode_in_parts(*t, text, how, [&](wf::encoding const& part) {
          ++count;
          parts.ids.insert(parts.ids.end(), part.ids.begin(), part.ids.end());
          parts.spans.insert(parts.spans.end(), part.spans.begin(), part.spans.end());
        });
        ASSERT_EQ(parts.ids, whole.ids) << name << " " << text.size();
        ASSERT_EQ(parts.spans, whole.spans) << name << " " << text.size();
        EXPECT_TRUE(text.size() < 300'000 || count > 1) << name;
      }
    }
  }
}

TEST(tokenizer_parts, come_from_lines_without_spaces) {
  std::string digits;
  wf::random_stream draw(5, "digits");
  while (digits.size() < 100'000) digits += draw.below(3) == 0 ? static_cast<char>('0' + draw.below(10)) : 'a';
  auto const files = [](std::string const& rule) {
    std::string vocabulary, merges;
    int id = 0;
    for (char c = 'a'; c <= 'c'; ++c) vocabulary += "\"" + std::string(1, c) + "\":" + std::to_string(id++) + ",";
    for (char c = '0'; c <= '9'; ++c) vocabulary += "\"" + std::string(1, c) + "\":" + std::to_string(id++) + ",";
    for (char const* both : {"\u0120", "aa", "ab", "\u0120a"})
      vocabulary += "\"" + std::string(both) + "\":" + std::to_string(id++) + ",";
    vocabulary.pop_back();
    return R"({"added_tokens":[],"normalizer":null,"pre_tokenizer":)" + rule + R"(,"model":{"type":"BPE","vocab":{)" +
           vocabulary + R"(},"merges":["a a","a b","\u0120 a"]}})";
  };
  for (std::string const rule :
       {R"({"type":"ByteLevel","add_prefix_space":false})", R"({"type":"ByteLevel","add_prefix_space":true})"}) {
    auto const t = wayfarer::tokenizer_files::open({{"tokenizer.json", files(rule)}});
    for (std::string const& text : {digits, letters(100'000, 3), letters(100'000, 1), std::string("a1")}) {
      auto const whole = t->encode(text);
      std::vector<std::int32_t> ids;
      std::vector<wf::token_span> spans;
      std::size_t most = 0;
      wf::encode_in_parts(*t, text, {}, [&](wf::encoding const& part) {
        most = std::max(most, part.ids.size());
        ids.insert(ids.end(), part.ids.begin(), part.ids.end());
        spans.insert(spans.end(), part.spans.begin(), part.spans.end());
      });
      ASSERT_EQ(ids, whole.ids) << rule << text.size();
      ASSERT_EQ(spans, whole.spans) << rule << text.size();
      ASSERT_EQ(spans.front().begin, 0u);
      ASSERT_EQ(spans.back().end, text.size());
      EXPECT_LT(most, 20'000u) << rule;
    }
  }
}

TEST(tokenizer_parts, very_long_words_are_merged_as_by_the_definition) {
  auto const t = wf::open_tokenizer(data + "tiny-shakespeare-gpt2");
  std::ifstream merges(data + "tiny-shakespeare-gpt2/merges.txt");
  struct rule {
    std::int32_t left, right, both;
  };
  std::vector<rule> rules;
  for (std::string line; std::getline(merges, line);) {
    std::istringstream words(line);
    std::string left, right;
    words >> left >> right;
    bool const plain = (left + right).find_first_not_of("abcdefghijklmnopqrstuvwxyz") == std::string::npos;
    if (!left.empty() && !right.empty() && plain) rules.push_back({*t->find(left), *t->find(right), *t->find(left + right)});
  }
  ASSERT_GT(rules.size(), 100u);
  std::string story;
  for (std::string const word : {"whencethewindsblow", "thethethe", "eeeeeeee", "romeoandjuliet"}) story += word;
  std::string repeated;
  while (repeated.size() < 80'000) repeated += story;
  for (std::string const& text : {letters(80'000, 1), letters(80'000, 2), letters(80'000, 26), repeated}) {
    std::vector<std::int32_t> ids;
    for (char const c : text) ids.push_back(*t->find(std::string(1, c)));
    // Each rule in its turn, wherever it fits, from left to right.
    for (auto const& r : rules) {
      std::size_t to = 0;
      for (std::size_t i = 0; i < ids.size(); ++i) {
        bool const fits = i + 1 < ids.size() && ids[i] == r.left && ids[i + 1] == r.right;
        ids[to++] = fits ? r.both : ids[i];
        i += fits;
      }
      ids.resize(to);
    }
    auto const e = t->encode(text);
    ASSERT_EQ(e.ids, ids);
    for (std::size_t i = 0, at = 0; i < e.ids.size(); at = e.spans[i++].end) {
      ASSERT_EQ(e.spans[i].begin, at);
      ASSERT_EQ(text.substr(at, e.spans[i].end - at), t->token_bytes(e.ids[i]));
    }
  }
}
