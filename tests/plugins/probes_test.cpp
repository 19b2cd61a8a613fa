// The topic paper's probes, on models made here whose weights and attention are known, and on the published files.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>

#include "block_statistics.hpp"
#include "engine/sweep.hpp"
#include "run_plugins.hpp"

namespace wf = wayfarer;
using wf::test::make;
using settings = wf::test::values;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

// ---- models and sources made here
// ------------------------------------------------------------------------------------------------

/// Documents given as lists of words.
struct listed final : wf::source {
  explicit listed(std::vector<std::vector<std::int32_t>> lists, std::size_t vocabulary = 100) : lists_(std::move(lists)) {
    info_.items = lists_.size();
    info_.vocabulary = vocabulary;
    info_.has_words = true;
  }
  wf::source_info const& info() const override { return info_; }
  wf::item_block read(wf::item_range r) const override {
    wf::item_block b;
    b.first = r.first, b.count = r.size();
    for (std::size_t i = r.first; i < r.last; ++i) b.words.push_back(lists_[i]);
    return b;
  }
  std::vector<std::vector<std::int32_t>> lists_;
  wf::source_info info_;
};

using pair_weight =
    std::function<float(std::span<std::int32_t const> tokens, std::size_t head, std::size_t query, std::size_t key)>;

/// [PAD], [MASK], START, END, then the words. Attention is whatever it is told; uniform by default.
struct known_model final : wf::model {
  explicit known_model(bool start = true, std::size_t heads = 1) : start_(start) {
    info_.architecture = "known_model";
    info_.layers = 1, info_.heads = heads, info_.vocabulary = 104;
    info_.hooks = {{"blocks.0.attn.hook_pattern", {{"head", heads}}, true, ""}};
    attention = [](std::span<std::int32_t const> tokens, std::size_t, std::size_t, std::size_t) {
      return 1.0f / static_cast<float>(tokens.size());
    };
  }
  wf::model_info const& info() const override { return info_; }
  wf::batch encode(wf::item_block const& items, wf::encode_options const& how) const override {
    wf::batch b;
    for (std::size_t i = 0; i < items.count; ++i) {
      std::vector<std::int32_t> tokens;
      if (start_) tokens.push_back(2);
      for (auto const w : items.words[i]) tokens.push_back(w + 4);
      if (how.max_tokens != 0 && tokens.size() > how.max_tokens) tokens.resize(how.max_tokens);
      b.tokens.push_back(tokens);
    }
    return b;
  }
  std::string token_text(std::int32_t t) const override {
    return t < 4 ? std::vector<std::string>{"[PAD]", "[MASK]", "START", "END"}[static_cast<std::size_t>(t)]
                 : "w" + std::to_string(t - 4);
  }
  wf::activations run(wf::batch const& b, wf::run_request const&) const override {
    std::vector<wf::tensor> patterns;
    for (std::size_t i = 0; i < b.items(); ++i) {
      auto const tokens = b.tokens[i];
      wf::tensor p(wf::dtype::f32, {{"head", info_.heads}, {"query", tokens.size()}, {"key", tokens.size()}});
      auto const a = p.view<float>();
      for (std::size_t h = 0; h < info_.heads; ++h)
        for (std::size_t q = 0; q < tokens.size(); ++q)
          for (std::size_t k = 0; k < tokens.size(); ++k) a(h, q, k) = attention(tokens, h, q, k);
      patterns.push_back(p);
    }
    wf::activations out;
    out.put(info_.hooks[0].name, std::move(patterns));
    return out;
  }
  wf::tensor weight(std::string_view name) const override {
    auto const at = weights.find(name);
    if (at == weights.end()) throw wf::usage_error("known_model has no weight " + std::string(name));
    return at->second;
  }
  void put(std::string const& name, wf::tensor w) {
    weights.insert_or_assign(name, std::move(w));
    info_.weights.push_back(name);
  }

  bool start_;
  wf::model_info info_;
  pair_weight attention;
  std::map<std::string, wf::tensor, std::less<>> weights;
};

struct silent final : wf::progress {
  void at(std::size_t, std::size_t, std::string_view) override {}
  void warn(std::string_view) override {}
};

/// What the probe makes of these items, swept as the host does it.
wf::results observe(wf::probe const& what, wf::model const& m, wf::source const& data, std::size_t items, std::size_t max_tokens,
                    std::size_t block = 64) {
  wf::probe_context const context(&m, &data, {0, items}, 0);
  std::vector<wf::host::observer> one{{&what, "probe", what.needs(m.info())}};
  what.shape(one[0].sums, context);
  silent quiet;
  wf::host::sweep_plan plan;
  plan.over = &m, plan.data = &data, plan.items = {0, items}, plan.block = block, plan.max_tokens = max_tokens;
  wf::accumulator counts(0);
  sweep(plan, one, quiet, counts);
  wf::results out;
  what.finish(one[0].sums, out, context);
  return out;
}

double number(wf::results const& r, std::string_view name) {
  return r.at(name).scalar();
}

std::vector<double> first_ten(wf::tensor const& t) {
  auto const all = t.to(wf::dtype::f64);
  auto const v = all.values<double const>();
  return {v.begin(), v.begin() + 10};
}

double mean_of(wf::tensor const& t) {
  auto const all = t.to(wf::dtype::f64);
  auto const v = all.values<double const>();
  return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
}

/// The folder of the paper's published files, or "" where they are not at hand.
std::filesystem::path published() {
  char const* data = std::getenv("WAYFARER_DATA");
  return data ? std::filesystem::path(data) / "lda" / "icml2023-synthetic" : std::filesystem::path();
}
#define NEEDS_PUBLISHED_FILES()              \
  if (!std::filesystem::exists(published())) \
  GTEST_SKIP() << "left out: WAYFARER_DATA does not name a folder with lda/icml2023-synthetic"

std::unique_ptr<wf::source> development_set() {
  return make<wf::source>(
      "documents", {{"path", (published() / "topic10_word100_long.dev.bz2").string()}, {"words_per_topic", std::int64_t{10}}});
}

// ---- topic_attention
// ---------------------------------------------------------------------------------------------------------------

TEST(topic_attention, tells_pairs_apart) {
  listed const data({{0, 1, 10}, {0, 0}});
  known_model m;
  // Same token 1, same topic 2, other topic 3, START 4.
  m.attention = [](std::span<std::int32_t const> t, std::size_t, std::size_t q, std::size_t k) {
    if (t[q] == t[k]) return 1.0f;
    if (t[q] == 2 || t[k] == 2) return 4.0f;
    return (t[q] - 4) / 10 == (t[k] - 4) / 10 ? 2.0f : 3.0f;
  };
  auto const out = observe(*make<wf::probe>("topic_attention", {{"ref_length", std::int64_t{10}}}), m, data, 2, 0);
  // START 0 1 10 has 4 + 2 + 4 + 6 pairs, START 0 0 has 5 + 0 + 0 + 4.
  EXPECT_EQ(number(out, "same_token_count"), 9);
  EXPECT_EQ(number(out, "topic_count"), 2);
  EXPECT_EQ(number(out, "non_topic_count"), 4);
  EXPECT_EQ(number(out, "empty_count"), 10);
  // Rescaled by 4/10 and 3/10.
  EXPECT_NEAR(number(out, "same_token_attention"), 4 * 0.4 + 5 * 0.3, 1e-12);
  EXPECT_NEAR(number(out, "same_token_average"), (4 * 0.4 + 5 * 0.3) / 9, 1e-12);
  EXPECT_NEAR(number(out, "topic_average"), 0.8, 1e-12);
  EXPECT_NEAR(number(out, "topic_relative"), 8, 1e-12);
  EXPECT_NEAR(number(out, "non_topic_average"), 1.2, 1e-12);
  EXPECT_NEAR(number(out, "empty_average"), 4 * (6 * 0.4 + 4 * 0.3) / 10, 1e-12);
  EXPECT_NEAR(number(out, "difference"), -0.4, 1e-12);
  EXPECT_NEAR(number(out, "ratio"), 2.0 / 3, 1e-12);
  EXPECT_NEAR(number(out, "own_topic_ratio"), (4 * 0.4 + 5 * 0.3 + 2 * 0.8) / 11 / 1.2, 1e-12);
  auto const& topics = out.at("num_topics").values();
  EXPECT_EQ(topics(0), 2);
  EXPECT_EQ(topics(1), 1);
}

TEST(topic_attention, has_the_error_of_a_mean_over_documents) {
  // Documents of one shape: the error of each average is that of a mean of independent numbers, and of a difference that of the
  // documents' differences.
  std::vector<std::vector<std::int32_t>> const lists(5, {0, 1, 10});
  listed data(lists);
  std::vector<double> const own{0.3, 0.5, 0.1, 0.45, 0.2}, other{0.2, 0.1, 0.15, 0.3, 0.05};
  for (std::size_t d = 0; d < 5; ++d)
    data.lists_[d] = {static_cast<std::int32_t>(2 * d), static_cast<std::int32_t>(2 * d + 1), 10};
  known_model m(false);
  m.attention = [&](std::span<std::int32_t const> t, std::size_t, std::size_t q, std::size_t k) {
    auto const document = static_cast<std::size_t>(t[0] - 4) / 2;
    if (q == k) return 0.0f;
    return static_cast<float>(q < 2 && k < 2 ? own[document] : other[document]);
  };
  auto const out = observe(*make<wf::probe>("topic_attention", {{"ref_length", std::int64_t{3}}}), m, data, 5, 0);
  std::vector<double> difference(5);
  for (std::size_t d = 0; d < 5; ++d) difference[d] = own[d] - other[d];
  EXPECT_NEAR(number(out, "topic_average_standard_error"), wf::moments_of(own).standard_error(), 1e-7);
  EXPECT_NEAR(number(out, "non_topic_average_standard_error"), wf::moments_of(other).standard_error(), 1e-7);
  EXPECT_NEAR(number(out, "difference_standard_error"), wf::moments_of(difference).standard_error(), 1e-7);
  EXPECT_NEAR(number(out, "ratio"), wf::moments_of(own).mean / wf::moments_of(other).mean, 1e-6);
}

TEST(topic_attention, keeps_heads_apart_and_gives_the_same_bytes_for_any_block) {
  std::vector<std::vector<std::int32_t>> lists;
  for (std::uint64_t d = 0; d < 23; ++d) {
    wf::random_stream draw(1, "documents", d);
    lists.emplace_back();
    for (int w = 0; w < 30; ++w) lists.back().push_back(static_cast<std::int32_t>(draw.below(100)));
  }
  listed const data(lists);
  known_model m(true, 2);
  m.attention = [](std::span<std::int32_t const> t, std::size_t head, std::size_t q, std::size_t k) {
    return head == 0 ? 1.0f / static_cast<float>(t.size())
                     : 1.0f / static_cast<float>(1 + ((t[q] - 4) / 10 == (t[k] - 4) / 10 ? 0 : 9) + t[k] % 3);
  };
  auto const probe = make<wf::probe>("topic_attention");
  auto const whole = observe(*probe, m, data, 23, 0, 64), pieces = observe(*probe, m, data, 23, 0, 3);
  for (auto const& name : whole.names()) {
    auto const a = whole.at(name).values().to(wf::dtype::f64), b = pieces.at(name).values().to(wf::dtype::f64);
    EXPECT_TRUE(std::ranges::equal(a.values<double const>(), b.values<double const>())) << name;
  }
  auto const& ratio = whole.at("ratio").values();
  EXPECT_NEAR(ratio(0, 0), 1, 1e-6);
  EXPECT_GT(ratio(0, 1), 3);
}

TEST(topic_attention, takes_the_topics_that_the_source_states) {
  listed data({{0, 1, 2, 3}});
  std::vector<std::int32_t> topic(100);
  for (std::size_t w = 0; w < 100; ++w) topic[w] = static_cast<std::int32_t>(w % 2);
  data.info_.truth["topic_of_word"] = wf::tensor::of(topic, {{"word", 100}});
  auto const out = observe(*make<wf::probe>("topic_attention"), known_model(false), data, 1, 0);
  EXPECT_EQ(number(out, "topic_count"), 4);
  EXPECT_EQ(number(out, "non_topic_count"), 8);

  topic[5] = -7;
  data.info_.truth["topic_of_word"] = wf::tensor::of(topic, {{"word", 100}});
  EXPECT_THROW(observe(*make<wf::probe>("topic_attention"), known_model(false), data, 1, 0), wf::data_error);
}

TEST(topic_attention, counts_the_published_pairs_with_the_published_labels) {
  NEEDS_PUBLISHED_FILES();
  auto const data = development_set();
  auto const out =
      observe(*make<wf::probe>("topic_attention", {{"labels", std::string("repo")}}), known_model(), *data, 500, 100);
  EXPECT_EQ(number(out, "same_token_count"), 319724);
  EXPECT_EQ(number(out, "topic_count"), 1214976);
  EXPECT_EQ(number(out, "non_topic_count"), 3132390);
  EXPECT_EQ(number(out, "empty_count"), 332910);
  for (auto const* average : {"same_token_average", "topic_average", "non_topic_average", "empty_average"})
    EXPECT_NEAR(number(out, average), 0.009999999776482582, 1e-11) << average;
  EXPECT_NEAR(number(out, "difference"), 0, 1e-15);
  auto const& topics = out.at("num_topics").values();
  EXPECT_EQ(topics.count(), 500u);
  EXPECT_THAT(first_ten(topics), ElementsAre(6, 7, 7, 5, 5, 8, 5, 8, 4, 8));
  EXPECT_NEAR(mean_of(topics), 6.366, 1e-12);
}

TEST(topic_attention, counts_the_published_pairs_with_true_labels) {
  NEEDS_PUBLISHED_FILES();
  auto const data = development_set();
  auto const probe = make<wf::probe>("topic_attention");
  auto const out = observe(*probe, known_model(), *data, 500, 100);
  EXPECT_EQ(number(out, "same_token_count"), 319724);
  EXPECT_EQ(number(out, "topic_count"), 2432394);
  EXPECT_EQ(number(out, "non_topic_count"), 2148882);
  EXPECT_EQ(number(out, "empty_count"), 99000);
  EXPECT_THAT(first_ten(out.at("num_topics").values()), ElementsAre(4, 4, 3, 3, 3, 7, 3, 4, 2, 5));
  EXPECT_NEAR(mean_of(out.at("num_topics").values()), 4.046, 1e-12);

  auto const no_start = observe(*probe, known_model(false), *data, 500, 99);
  EXPECT_EQ(number(no_start, "same_token_count"), 319224);
  EXPECT_EQ(number(no_start, "topic_count"), 2432394);
  EXPECT_EQ(number(no_start, "non_topic_count"), 2148882);
  EXPECT_EQ(number(no_start, "empty_count"), 0);
  EXPECT_NEAR(number(no_start, "topic_relative"), 1, 1e-6) << "uniform attention is 1 / 100 after rescaling, whatever the length";
}

// ---- attention_examples
// ------------------------------------------------------------------------------------------------------------

TEST(attention_examples, keeps_patterns_and_tokens) {
  listed const data({{7, 8, 9}, {42}, {1, 2, 3, 4}});
  known_model m;
  m.attention = [](std::span<std::int32_t const> t, std::size_t, std::size_t q, std::size_t k) {
    return static_cast<float>(t[q] * 1000 + t[k]);
  };
  auto const out = observe(*make<wf::probe>("attention_examples"), m, data, 2, 0, 1);
  auto const& pattern = out.at("pattern").values();  // [item, layer, head, query, key]
  ASSERT_EQ(wf::describe(pattern.shape()), "item 2 x layer 1 x head 1 x query 4 x key 4");
  EXPECT_EQ(pattern.get({0, 0, 0, 1, 3}), 11013);
  EXPECT_EQ(pattern.get({1, 0, 0, 0, 1}), 2046);
  EXPECT_TRUE(std::isnan(pattern.get({1, 0, 0, 0, 2})));
  EXPECT_TRUE(std::isnan(pattern.get({1, 0, 0, 3, 1})));
  EXPECT_EQ(out.at("length").values()(1), 2);
  EXPECT_EQ(out.at("token").values().get({0, 3}), 13);
  EXPECT_EQ(out.at("token").values().get({1, 2}), -1);
  EXPECT_THAT(out.at("token_text").texts(), ElementsAre("START", "w7", "w8", "w9", "START", "w42"));
}

TEST(attention_examples, has_room_for_few_items_only) {
  listed const data(std::vector<std::vector<std::int32_t>>(101, {1, 2}));
  EXPECT_THAT([&] { observe(*make<wf::probe>("attention_examples"), known_model(), data, 101, 0); },
              ThrowsMessage<wf::usage_error>(HasSubstr("items: 0:5")));
  auto const cut = observe(*make<wf::probe>("attention_examples", {{"longest", std::int64_t{2}}}), known_model(), data, 3, 0);
  EXPECT_EQ(cut.at("pattern").values().size("key"), 2u);
  EXPECT_EQ(cut.at("length").values()(0), 2);
}

TEST(attention_examples, shows_uniform_attention_over_the_published_documents) {
  NEEDS_PUBLISHED_FILES();
  auto const data = development_set();
  auto const out = observe(*make<wf::probe>("attention_examples"), known_model(), *data, 5, 0);
  auto const& pattern = out.at("pattern").values();
  std::vector<double> length;
  for (std::size_t d = 0; d < 5; ++d) {
    length.push_back(out.at("length").values()(d));
    EXPECT_NEAR(pattern.get({d, 0, 0, 50, 50}), 1 / length.back(), 1e-9);
  }
  EXPECT_THAT(length, ElementsAre(135, 101, 103, 121, 113));
}

// ---- topic_blocks
// ------------------------------------------------------------------------------------------------------------------

wf::tensor square(std::size_t n, std::function<double(std::size_t, std::size_t)> const& f) {
  wf::tensor t(wf::dtype::f64, {{"row", n}, {"column", n}});
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) t(i, j) = f(i, j);
  return t;
}

bool same_topic(std::size_t i, std::size_t k) {
  return (i - 4) / 10 == (k - 4) / 10;
}

/// One-hot embeddings and decoder around this W^V, given as the paper prints it: rows are scored, columns seen.
std::unique_ptr<known_model> one_hot_model(std::function<double(std::size_t, std::size_t)> const& value) {
  auto made = std::make_unique<known_model>();
  auto& m = *made;
  auto const one = square(104, [](std::size_t i, std::size_t j) { return i == j ? 1.0 : 0.0; });
  m.put("embed.W_E", one);
  m.put("unembed.W_U", one);
  m.put("blocks.0.attn.W_K", one * 2);
  m.put("blocks.0.attn.W_Q", one * 3);
  m.put("blocks.0.attn.W_V", square(104, value).transposed());
  return made;
}

wf::results blocks(wf::model const& m, wf::source const* data = nullptr, settings const& given = {}) {
  wf::results out;
  make<wf::probe>("topic_blocks", given)->finish(wf::accumulator(0), out, wf::probe_context(&m, data, {}, 0));
  return out;
}

TEST(topic_blocks, finds_blocks_in_the_value_matrix) {
  auto const m = one_hot_model([](std::size_t i, std::size_t k) {
    if (i < 4) return 0.5;  // specials scored
    if (k < 4) return 0.1;  // specials seen
    return i == k ? 3.5 : same_topic(i, k) ? 3.4 : -2.2;
  });
  auto const out = blocks(*m);
  EXPECT_NEAR(number(out, "value_diagonal"), 3.5, 1e-12);
  EXPECT_NEAR(number(out, "value_same"), 3.4, 1e-12);
  EXPECT_NEAR(number(out, "value_different"), -2.2, 1e-12);
  EXPECT_NEAR(number(out, "value_same_standard_error"), 0, 1e-12);
  EXPECT_NEAR(number(out, "value_contrast_mean"), 3.41 + 2.2, 1e-12);
  EXPECT_NEAR(number(out, "value_contrast_sd"), 0, 1e-12);
  EXPECT_NEAR(number(out, "value_topic_sum_contrast"), 34.1 + 22, 1e-11);
  EXPECT_EQ(number(out, "value_positive_same"), 1);
  auto const& b = out.at("value_blocks").values();
  EXPECT_NEAR(b(3, 3), 3.4, 1e-12);
  EXPECT_NEAR(b(3, 4), -2.2, 1e-12);
  EXPECT_NEAR(number(out, "special_rows_rms"), 0.5, 1e-12);
  EXPECT_NEAR(out.at("special_columns").values()(2), 100 * 0.01, 1e-12);
  EXPECT_THAT(*out.at("special_columns").find_labels("special"), ElementsAre("[PAD]", "[MASK]", "START", "END"));
  // Columns of two words of a topic: each square twice, of two topics: overlap 20 times -2.2 * 3.41, 80 times 2.2^2, and 0.25
  // four times.
  EXPECT_NEAR(number(out, "gram_different"), 20 * -2.2 * 3.41 + 80 * 2.2 * 2.2 + 4 * 0.25, 1e-9);
  EXPECT_NEAR(number(out, "gram_same"), 8 * 3.4 * 3.4 + 2 * 3.4 * 3.5 + 90 * 2.2 * 2.2 + 4 * 0.25, 1e-9);
  double const column = 9 * 3.4 * 3.4 + 3.5 * 3.5 + 90 * 2.2 * 2.2 + 4 * 0.25;
  EXPECT_NEAR(number(out, "gram_cosine_same"), number(out, "gram_same") / column, 1e-12);
  EXPECT_NEAR(number(out, "embedding_diagonal"), 1, 1e-12);
  EXPECT_NEAR(number(out, "embedding_same"), 0, 1e-12);
  auto const& norms = out.at("norms").values();
  EXPECT_NEAR(norms(0), 2 * std::sqrt(104.0), 1e-12);
  EXPECT_NEAR(norms(1), 3 * std::sqrt(104.0), 1e-12);
}

TEST(topic_blocks, reads_columns_as_seen_and_rows_as_scored) {
  // Word k seen adds k to the scores of its own topic: contrasts go by column.
  auto const out = blocks(*one_hot_model(
      [](std::size_t i, std::size_t k) { return k >= 4 && i >= 4 && same_topic(i, k) ? static_cast<double>(k - 4) : 0.0; }));
  EXPECT_NEAR(number(out, "value_contrast_min"), 0, 1e-12);
  EXPECT_NEAR(number(out, "value_contrast_max"), 99, 1e-12);
  EXPECT_NEAR(number(out, "value_contrast_mean"), 49.5, 1e-12);
  EXPECT_NEAR(out.at("value").values()(4 + 91, 4 + 99), 99, 1e-12);
  EXPECT_NEAR(number(out, "value_positive_same"), 1 - 9.0 / 900, 1e-12) << "word 0 adds nothing to the nine others";
  // Rows sum to 45 more with every topic.
  EXPECT_NEAR(number(out, "value_topic_sum_contrast"), 45 + 100 * 4.5, 1e-9);
}

TEST(topic_blocks, follows_a_token_through_embedding_heads_and_decoder) {
  // Trained embeddings of 16 dimensions: what counts is W^pred W^O W^V W^E.
  wf::random_stream draw(7, "weights");
  auto random = [&](std::size_t rows, std::size_t columns) {
    wf::tensor t(wf::dtype::f64, {{"row", rows}, {"column", columns}});
    for (double& x : t.values<double>()) x = draw.normal();
    return t;
  };
  auto const e = random(104, 16), v = random(16, 16), o = random(16, 16), u = random(16, 104);
  known_model m;
  m.put("embed.W_E", e);
  m.put("unembed.W_U", u);
  for (auto const* name : {"W_K", "W_Q"}) m.put(std::string("blocks.0.attn.") + name, v);
  m.put("blocks.0.attn.W_V", v);
  auto entry = [&](bool output, std::size_t scored, std::size_t seen) {
    double sum = 0;
    for (std::size_t a = 0; a < 16; ++a)
      for (std::size_t b = 0; b < 16; ++b)
        for (std::size_t c = 0; c < 16; ++c) sum += e(seen, a) * v(a, b) * (output ? o(b, c) : b == c) * u(c, scored);
    return sum;
  };
  EXPECT_NEAR(blocks(m).at("value").values()(50, 9), entry(false, 50, 9), 1e-9);
  m.put("blocks.0.attn.W_O", o);
  auto const out = blocks(m);
  EXPECT_NEAR(out.at("value").values()(50, 9), entry(true, 50, 9), 1e-9);
  double inner = 0;
  for (std::size_t a = 0; a < 16; ++a) inner += e(20, a) * e(70, a);
  EXPECT_NEAR(out.at("embedding").values()(20, 70), inner, 1e-12);
}

TEST(topic_blocks, takes_the_words_and_topics_of_the_source) {
  auto const m = one_hot_model([](std::size_t i, std::size_t k) { return i % 2 == k % 2 ? 1.0 : 0.0; });
  listed data({}, 103);  // one special token
  std::vector<std::int32_t> topic(103);
  for (std::size_t w = 0; w < 103; ++w) topic[w] = static_cast<std::int32_t>(w % 2);
  data.info_.truth["topic_of_word"] = wf::tensor::of(topic, {{"word", 103}});
  auto const out = blocks(*m, &data);
  EXPECT_EQ(number(out, "value_same"), 1);
  EXPECT_EQ(number(out, "value_different"), 0);
  EXPECT_EQ(out.at("special_columns").values().count(), 1u);
  EXPECT_EQ(wf::describe(out.at("value_blocks").shape()), "topic 2 x other_topic 2");

  listed const large({}, 105);
  EXPECT_THAT([&] { blocks(*m, &large); }, ThrowsMessage<wf::usage_error>(HasSubstr("105 words")));
  EXPECT_THROW(blocks(*m, nullptr, {{"first_word", std::int64_t{104}}}), wf::usage_error);
}

/// The numbers in brackets of a printed matrix, from the line after the title on.
std::vector<double> printed_matrix(std::filesystem::path const& file, std::string const& title) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line) && line != title) {
  }
  std::vector<double> values;
  while (std::getline(in, line) && !line.empty()) {
    std::replace_if(
        line.begin(), line.end(), [](char c) { return c == '[' || c == ']' || c == ','; }, ' ');
    std::istringstream numbers(line);
    for (double x; numbers >> x;) values.push_back(x);
  }
  return values;
}

TEST(topic_blocks, agrees_with_the_published_gram_matrix) {
  NEEDS_PUBLISHED_FILES();
  auto const printed = printed_matrix(published() / "reference_attention.txt", "layer0_value column-wise dot product");
  ASSERT_EQ(printed.size(), 104u * 104u);
  auto const gram = wf::tensor::of(printed, {{"token", 104}, {"other_token", 104}});
  std::vector<std::int32_t> topic(104, -1);
  for (std::size_t w = 0; w < 100; ++w) topic[w + 4] = static_cast<std::int32_t>(w / 10);

  auto const s = wf::topics::measure_blocks(gram, topic);
  EXPECT_NEAR(s.diagonal.mean, 16.038097, 1e-6);
  EXPECT_NEAR(s.same.mean, 7.335968, 1e-6);
  EXPECT_NEAR(s.different.mean, -0.179255, 1e-6);
  auto const cosines = wf::topics::measure_blocks(wf::topics::cosines_of(gram), topic);
  EXPECT_NEAR(cosines.same.mean, 0.596075, 1e-6);
  EXPECT_NEAR(cosines.different.mean, -0.039766, 1e-6);
  double const own[] = {8.77, 6.11, 8.28, 5.66, 7.07, 8.41, 6.57, 7.61, 7.63, 7.25};
  for (std::size_t t = 0; t < 10; ++t)
    for (std::size_t other = 0; other < 10; ++other) {
      if (t == other)
        EXPECT_NEAR(s.blocks(t, t), own[t], 0.005);
      else
        EXPECT_LE(std::abs(s.blocks(t, other)), 1.135);
    }
}

}  // namespace
