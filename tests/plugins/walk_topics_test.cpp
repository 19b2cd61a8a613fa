// Measurements by topics of a fitted topic model: the filters, and both probes on models whose answers are known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include <wayfarer/error.hpp>

#include "probes/common/word_topics.hpp"
#include "run_plugins.hpp"

namespace {

namespace wf = wayfarer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

/// Tokens are words of a list; "##x" goes on with the word before.
struct word_list final : wf::tokenizer {
  explicit word_list(std::vector<std::string> t) : texts(std::move(t)) {}
  std::string_view kind() const noexcept override { return "wordpiece"; }
  wf::encoding encode(std::string_view, wf::tokenize_options const&) const override { return {}; }
  std::string decode(std::span<std::int32_t const>) const override { return {}; }
  std::string token_text(std::int32_t id) const override {
    auto const& t = texts.at(static_cast<std::size_t>(id));
    return t.starts_with("##") ? t.substr(2) : t;
  }
  std::string token_bytes(std::int32_t id) const override { return token_text(id); }
  bool begins_word(std::int32_t id) const override { return !texts.at(static_cast<std::size_t>(id)).starts_with("##"); }
  std::size_t vocabulary() const noexcept override { return texts.size(); }
  std::optional<std::int32_t> find(std::string_view) const override { return {}; }
  wf::special_tokens const& special() const noexcept override { return roles; }
  std::vector<std::string> const& files() const noexcept override { return none; }
  std::vector<std::string> texts, none;
  wf::special_tokens roles;
};

// Words of two topics, one of both, one of none; "##s" after "boat" makes another word of it.
std::vector<std::string> const vocabulary{"[CLS]", "boat", " Sail", "wave", "bread", "oven", "salt", "the", "##s", "."};

struct known_model final : wf::model {
  known_model() : words(vocabulary) {
    info_.architecture = "known", info_.family = wf::model_family::encoder;
    info_.layers = 1, info_.heads = 1, info_.vocabulary = vocabulary.size(), info_.d_model = 2;
    info_.hooks.push_back({"blocks.0.attn.hook_pattern", {{"head", 1}}, true});
    table = wf::tensor(wf::dtype::f32, {{"token", vocabulary.size()}, {"d_model", 2}});
  }
  wf::model_info const& info() const override { return info_; }
  wf::batch encode(wf::item_block const& items, wf::encode_options const&) const override {
    wf::batch b;
    b.tokens = items.tokens;
    return b;
  }
  std::string token_text(std::int32_t id) const override { return words.token_text(id); }
  wf::tokenizer const* text_tokenizer() const override { return has_tokenizer ? &words : nullptr; }
  wf::activations run(wf::batch const&, wf::run_request const&) const override { return {}; }
  wf::tensor weight(std::string_view) const override { return table; }
  wf::model_info info_;
  word_list words;
  wf::tensor table;
  bool has_tokenizer = true;
};

/// Topic 0: boat, sail, wave; topic 1: bread, oven; salt is of both; the words' numbers are their places here.
wf::results topic_model() {
  std::vector<std::string> const names{"boat", "sail", "wave", "bread", "oven", "salt"};
  std::vector<float> const p{0.30f, 0.26f, 0.24f, 0.0f, 0.0f,  0.20f,  //
                             0.0f,  0.0f,  0.0f,  0.4f, 0.35f, 0.25f};
  wf::results r;
  r.add("topic_word", wf::tensor::of(p, {{"topic", 2}, {"word", 6}})).labels("word", names);
  r.add("topic_total", wf::tensor::of(std::vector<double>{1000, 1000}, {{"topic", 2}}));
  return r;
}

wf::metric_input inputs(wf::results const& r) {
  wf::metric_input in;
  in.put("topics", "topics", &r, nullptr);
  return in;
}

TEST(word_topics, filters_ambiguous_words) {
  auto const r = topic_model();
  auto const of = [&](wf::topics::topic_choice const& c) {
    return wf::topics::topics_of_words(r.at("topic_word"), r.at("topic_total"), c);
  };
  auto const any = of({false, 0, 0, 2});
  EXPECT_THAT(any[0], ElementsAre(0));
  EXPECT_THAT(any[3], ElementsAre(1));
  EXPECT_THAT(any[5], ElementsAre(0, 1)) << "salt is of both";
  EXPECT_THAT(of({false, 0, 0, 1})[5], ElementsAre(1)) << "its likelier topic first";
  EXPECT_THAT(of({false, 0.6, 0, 1})[5], IsEmpty()) << "its share is 25 / 45";
  EXPECT_THAT(of({false, 0.5, 0, 1})[5], ElementsAre(1));
  auto const likeliest = of({true, 0, 0.2, 1});  // floor(6 * 0.2) + 1 = 2 words a topic
  EXPECT_THAT(likeliest[0], ElementsAre(0));
  EXPECT_THAT(likeliest[1], ElementsAre(0));
  EXPECT_THAT(likeliest[2], IsEmpty());
  EXPECT_THAT(likeliest[4], ElementsAre(1));
  EXPECT_THAT(likeliest[5], IsEmpty());
}

TEST(word_topics, knows_whole_words_among_tokens) {
  auto const r = topic_model();
  known_model m;
  wf::topics::token_topics const t(inputs(r), m, {false, 0.6, 0, 1});
  EXPECT_TRUE(t.has_topic(1));
  EXPECT_TRUE(t.has_topic(2)) << "case and the space before it don't count";
  EXPECT_FALSE(t.has_topic(0));
  EXPECT_FALSE(t.has_topic(7));
  EXPECT_FALSE(t.has_topic(8)) << "a piece";
  EXPECT_TRUE(t.share_topic(1, 2));
  EXPECT_FALSE(t.share_topic(1, 4));
  std::vector<std::int32_t> const text{1, 8, 1, 9, 3, 4};
  EXPECT_FALSE(t.whole_word(text, 0)) << "boats";
  EXPECT_FALSE(t.whole_word(text, 1));
  EXPECT_TRUE(t.whole_word(text, 2)) << "boat.";
  EXPECT_TRUE(t.whole_word(text, 4));
  EXPECT_TRUE(t.whole_word(text, 5));
  m.has_tokenizer = false;
  EXPECT_THAT([&] { wf::topics::token_topics(inputs(r), m, {}); }, ThrowsMessage<wf::usage_error>(HasSubstr("tokenizer")));
}

TEST(topic_similarity, compares_pairs_within_and_between_topics) {
  auto const r = topic_model();
  known_model m;
  double const x[10][2] = {{9, 9}, {1, 0}, {2, 1}, {1, 1}, {0, 3}, {-1, 2}, {5, 5}, {7, 7}, {8, 8}, {6, 6}};
  for (std::size_t t = 0; t < 10; ++t)
    for (std::size_t d = 0; d < 2; ++d) m.table.view<float>()(t, d) = static_cast<float>(x[t][d]);
  auto const in = inputs(r);
  wf::results out;
  wf::test::make_probe("topic_similarity", {{"threshold", 0.6}})
      ->finish(wf::accumulator(0), out, wf::probe_context(&m, nullptr, {}, 0, 0, 0, &in));
  EXPECT_EQ(out.at("tokens").scalar(), 5) << "boat, sail, wave; bread, oven";
  auto const dot = [&](std::size_t a, std::size_t b) { return x[a][0] * x[b][0] + x[a][1] * x[b][1]; };
  auto const cosine = [&](std::size_t a, std::size_t b) { return dot(a, b) / std::sqrt(dot(a, a) * dot(b, b)); };
  double same[2] = {}, different[2] = {}, same_count = 0, different_count = 0;
  for (std::size_t a = 1; a <= 5; ++a)
    for (std::size_t b = 1; b <= 5; ++b) {
      if (a == b) continue;
      bool const together = (a <= 3) == (b <= 3);
      (together ? same_count : different_count) += 1;
      (together ? same : different)[0] += dot(a, b);
      (together ? same : different)[1] += cosine(a, b);
    }
  EXPECT_EQ(out.at("same_pairs").scalar(), 8);
  EXPECT_EQ(out.at("different_pairs").scalar(), 12);
  EXPECT_NEAR(out.at("dot_same").scalar(), same[0] / 8, 1e-6);
  EXPECT_NEAR(out.at("dot_different").scalar(), different[0] / 12, 1e-6);
  EXPECT_NEAR(out.at("cosine_difference").scalar(), same[1] / 8 - different[1] / 12, 1e-6);
  EXPECT_NEAR(out.at("cosine_ratio").scalar(), (same[1] / 8) / (different[1] / 12), 1e-5);
  EXPECT_GT(out.at("cosine_difference_standard_error").scalar(), 0);
}

TEST(topic_attention_text, averages_over_whole_words_alone) {
  auto const r = topic_model();
  known_model const m;
  auto const in = inputs(r);
  // [CLS] boats boat . wave bread
  std::vector<std::int32_t> const text{0, 1, 8, 1, 9, 3, 4};
  std::size_t const n = text.size();
  wf::item_block items;
  items.count = 1;
  items.tokens.push_back(text);
  wf::batch const tokens = m.encode(items, {});
  wf::tensor pattern(wf::dtype::f32, {{"head", 1}, {"query", n}, {"key", n}});
  for (std::size_t q = 0; q < n; ++q)
    for (std::size_t k = 0; k < n; ++k) pattern.view<float>()(0, q, k) = static_cast<float>(q * 10 + k) / 100;
  wf::activations captured;
  captured.put("blocks.0.attn.hook_pattern", {pattern});
  auto const probe = wf::test::make_probe("topic_attention_text", {{"threshold", 0.6}, {"ref_length", std::int64_t{14}}});
  wf::probe_context const at(&m, nullptr, {0, 1}, 0, n, 0, &in);
  wf::accumulator acc(1);
  probe->shape(acc, at);
  probe->observe(acc, wf::sample(items, tokens, captured, 0), at);
  wf::results out;
  probe->finish(acc, out, at);
  // Words at 3 (boat), 5 (wave), 6 (bread); scale 7 / 14.
  EXPECT_EQ(out.at("same_token_count").scalar(), 3);
  EXPECT_EQ(out.at("topic_count").scalar(), 2);
  EXPECT_EQ(out.at("non_topic_count").scalar(), 4);
  EXPECT_NEAR(out.at("topic_average").values()(0, 0), 0.5 * (0.35 + 0.53) / 2, 1e-6);
  EXPECT_NEAR(out.at("non_topic_average").values()(0, 0), 0.5 * (0.36 + 0.63 + 0.56 + 0.65) / 4, 1e-6);
  EXPECT_NEAR(out.at("ratio").values()(0, 0), (0.88 / 2) / (2.2 / 4), 1e-6);
  EXPECT_EQ(out.at("words").values()(0), 3);
}

}  // namespace
