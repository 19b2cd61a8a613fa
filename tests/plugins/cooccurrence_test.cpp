// cooccurrence on made processes whose answer is known, and against plain loops over all pairs of positions.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/testing.hpp>

#include "golden_models.hpp"

namespace wf = wayfarer;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

using items = std::vector<std::vector<std::int32_t>>;

/// A model whose embedding is given; its state at a token is the token's row twice over.
struct known_model final : wf::model {
  explicit known_model(wf::tensor t, std::size_t longest = 0) : table(std::move(t)) {
    info_.architecture = "known", info_.layers = 1, info_.heads = 1;
    info_.vocabulary = table.size(0), info_.d_model = table.size(1), info_.longest = longest;
    info_.hooks.push_back({"hook_embed", {{"d_model", table.size(1)}}});
    info_.hooks.push_back({"blocks.0.attn.hook_pattern", {{"head", 1}}, true});
  }
  wf::model_info const& info() const override { return info_; }
  wf::batch encode(wf::item_block const& all, wf::encode_options const&) const override {
    wf::batch b;
    for (std::size_t i = 0; i < all.tokens.size(); ++i)
      b.tokens.push_back(
          all.tokens[i].first(info_.longest == 0 ? all.tokens[i].size() : std::min(info_.longest, all.tokens[i].size())));
    return b;
  }
  std::string token_text(std::int32_t id) const override { return "t" + std::to_string(id); }
  wf::activations run(wf::batch const& b, wf::run_request const& request) const override {
    wf::activations out;
    for (auto const& hook : request.capture.names()) {
      std::vector<wf::tensor> each;
      for (std::size_t i = 0; i < b.items(); ++i) {
        each.emplace_back(wf::dtype::f32, wf::dims{{"pos", b.tokens[i].size()}, {"d_model", info_.d_model}});
        for (std::size_t p = 0; p < b.tokens[i].size(); ++p)
          for (std::size_t j = 0; j < info_.d_model; ++j)
            each.back().view<float>()(p, j) = 2 * table.view<float const>()(static_cast<std::size_t>(b.tokens[i][p]), j);
      }
      out.put(hook, std::move(each));
    }
    return out;
  }
  wf::tensor weight(std::string_view) const override { return table; }
  wf::model_info info_;
  wf::tensor table;
};

wf::tensor random_table(std::size_t tokens, std::size_t width, std::uint64_t seed) {
  wf::tensor t(wf::dtype::f32, {{"token", tokens}, {"d_model", width}});
  wf::random_stream draw(seed, "table");
  for (float& v : t.values<float>()) v = static_cast<float>(draw.normal());
  return t;
}

using settings = std::initializer_list<std::pair<char const*, wf::param_value::storage>>;

wf::results measure(settings given, known_model const& m, items const& all, std::size_t block = 1000) {
  return wf::testing::measure(*wf::testing::make_plugin<wf::probe>(given), &m, wf::testing::fixed_source(all), block);
}

double number(wf::results const& r, std::string_view name) {
  return r.at(name).scalar();
}

/// The row of a token in the results.
std::size_t row_of(wf::results const& r, std::int32_t token) {
  auto const ids = wf::test::ids_of(r.at("token_ids").values());
  return static_cast<std::size_t>(std::find(ids.begin(), ids.end(), token) - ids.begin());
}
double of(wf::results const& r, std::string_view what, std::int32_t a, std::int32_t b) {
  return r.at(what).values()(row_of(r, a), row_of(r, b));
}

items random_items(std::size_t count, std::size_t longest, std::uint32_t tokens, std::uint64_t seed) {
  items all;
  wf::random_stream draw(seed, "items");
  for (std::size_t i = 0; i < count; ++i) {
    all.emplace_back();
    for (std::uint32_t n = draw.below(static_cast<std::uint32_t>(longest)); n > 0; --n)
      all.back().push_back(static_cast<std::int32_t>(std::min(draw.below(tokens), draw.below(tokens))));
  }
  return all;
}

TEST(cooccurrence, equals_plain_loops_over_all_pairs_of_positions) {
  auto const all = random_items(40, 30, 12, 1);
  known_model const m(random_table(12, 6, 2));
  for (std::int64_t const window : {1, 4, 100}) {
    auto const r = measure({{"window", window}, {"most_tokens", std::int64_t{9}}, {"least_expected", 0.5}}, m, all);
    std::vector<std::vector<double>> together(12, std::vector<double>(12));
    std::vector<double> places(12), count(12);
    double sum = 0;
    for (auto const& item : all)
      for (std::size_t p = 0; p < item.size(); ++p) {
        ++count[static_cast<std::size_t>(item[p])];
        for (std::size_t q = 0; q < item.size(); ++q)
          if (auto const d = p > q ? p - q : q - p; d >= 1 && d <= static_cast<std::size_t>(window))
            ++together[static_cast<std::size_t>(item[p])][static_cast<std::size_t>(item[q])],
                ++places[static_cast<std::size_t>(item[p])], ++sum;
      }
    auto const ids = wf::test::ids_of(r.at("token_ids").values());
    ASSERT_EQ(ids.size(), 9u);
    for (std::size_t i = 0; i + 1 < ids.size(); ++i)
      EXPECT_GE(count[static_cast<std::size_t>(ids[i])], count[static_cast<std::size_t>(ids[i + 1])]) << "the commonest first";
    auto const residual = [&](std::size_t a, std::size_t b) {
      double const e = places[a] * places[b] / sum;
      return e >= 0.5 ? (together[a][b] - e) / std::sqrt(e) : 0;
    };
    for (auto const x : ids)
      for (auto const y : ids) {
        auto const a = static_cast<std::size_t>(x), b = static_cast<std::size_t>(y);
        double const pmi = std::log(together[a][b] * sum / (places[a] * places[b]));
        if (std::isinf(pmi))
          EXPECT_EQ(of(r, "pmi", x, y), pmi);
        else
          EXPECT_NEAR(of(r, "pmi", x, y), pmi, 1e-12);
        if (x == y || places[a] * places[b] / sum < 0.5) {
          EXPECT_TRUE(std::isnan(of(r, "profile", x, y)));
          continue;
        }
        double dot = 0, aa = 0, bb = 0;
        for (auto const z : ids) {
          auto const c = static_cast<std::size_t>(z);
          if (c == a || c == b) continue;
          dot += residual(a, c) * residual(b, c), aa += residual(a, c) * residual(a, c), bb += residual(b, c) * residual(b, c);
        }
        EXPECT_NEAR(of(r, "profile", x, y), dot / std::sqrt(aa * bb), 1e-10);
      }
  }
}

TEST(cooccurrence, has_the_same_bytes_for_any_block_and_number_of_threads) {
  auto const all = random_items(50, 40, 30, 3);
  known_model const m(random_table(30, 6, 4));
  auto const digest = [&](std::size_t block, int threads) {
    auto const r = wf::test::on_threads(threads, [&] {
      return measure({{"least_expected", 0.5}, {"hooks", std::vector<std::string>{"hook_embed"}}}, m, all, block);
    });
    std::string bytes;
    for (auto const& name : r.names()) {
      auto const t = r.at(name).values().to(wf::dtype::f64);
      bytes.append(static_cast<char const*>(t.raw()), t.bytes());
    }
    return bytes;
  };
  auto const one = digest(1, 1);
  for (std::size_t const block : {3, 7, 50})
    for (int const threads : {1, 2, 4}) EXPECT_EQ(digest(block, threads), one) << block << ' ' << threads;
}

TEST(cooccurrence, finds_a_planted_pair_and_nothing_between_independent_tokens) {
  // Tokens 2 to 21 in any order, with 0 or 1 at a tenth of the places; in the second text "0 1" behind a tenth of them.
  for (bool const planted : {false, true}) {
    wf::random_stream draw(5, "text");
    std::vector<std::int32_t> text;
    for (int i = 0; i < 60000; ++i) {
      bool const rare = draw.below(10) == 0;
      if (planted || !rare) text.push_back(static_cast<std::int32_t>(2 + draw.below(20)));
      if (planted && rare) text.insert(text.end(), {0, 1});
      if (!planted && rare) text.push_back(static_cast<std::int32_t>(draw.below(2)));
    }
    known_model const m(random_table(22, 8, 6));
    auto const r = measure({{"window", std::int64_t{1}}, {"shuffles", std::int64_t{200}}}, m, {text});
    // Each of the N tokens but the ends has two places. 0 and 1 make share s each and meet once for each: n = 2 s N / 2, and
    // e = (2 s N)^2 / (2 N), so that PMI = log(1 / (2 s)).
    double const share = static_cast<double>(std::count(text.begin(), text.end(), 0)) / static_cast<double>(text.size());
    if (planted)
      EXPECT_NEAR(of(r, "pmi", 0, 1), std::log(1 / (2 * share)), 0.01);
    else
      EXPECT_LT(std::abs(of(r, "pmi", 0, 1)), 0.3);
    double squares = 0, n = 0;
    for (std::int32_t a = 2; a < 22; ++a)
      for (std::int32_t b = a + 1; b < 22; ++b) squares += of(r, "pmi", a, b) * of(r, "pmi", a, b), ++n;
    EXPECT_LT(std::sqrt(squares / n), 0.15) << "independent tokens have no association";
    for (auto const* name : {"pmi_embedding_dot", "pmi_embedding_cosine", "profile_embedding_dot", "profile_embedding_cosine"})
      EXPECT_LT(std::abs(number(r, name)), 4 * number(r, name + std::string("_dealt_deviation"))) << name;
  }
}

/// Two topics of 15 tokens each; runs of 20 tokens of one topic.
std::vector<std::int32_t> topics_text(std::uint64_t seed) {
  wf::random_stream draw(seed, "topics");
  std::vector<std::int32_t> text;
  for (int run = 0; run < 1500; ++run)
    for (std::uint32_t i = 0, topic = draw.below(2); i < 20; ++i)
      text.push_back(static_cast<std::int32_t>(15 * topic + draw.below(15)));
  return text;
}

TEST(cooccurrence, of_topics_agrees_with_vectors_of_topics_only_in_order) {
  auto const base = random_table(2, 16, 7), noise = random_table(30, 16, 8);
  wf::tensor table(wf::dtype::f32, noise.shape());
  for (std::size_t t = 0; t < 30; ++t)
    for (std::size_t j = 0; j < 16; ++j)
      table.view<float>()(t, j) = base.view<float const>()(t / 15, j) + 0.3f * noise.view<float const>()(t, j);
  auto const text = topics_text(9);
  known_model const same(table), random(noise);
  auto const r = measure({{"hooks", std::vector<std::string>{"hook_embed"}}}, same, {text}), none = measure({}, random, {text});
  for (std::string const name : {"pmi_embedding_cosine", "profile_embedding_cosine", "pmi_embedding_dot", "hook_embed/pmi_cosine",
                                 "hook_embed/profile_to_embedding"}) {
    EXPECT_GT(number(r, name), 0.6) << name;  // 0.75 if only the topics had an order
    EXPECT_LT(std::abs(number(r, name + "_shuffled")), 0.2) << name;
    EXPECT_LT(std::abs(number(r, name + "_dealt")), 0.1) << name;
    EXPECT_GT(number(r, name), 5 * number(r, name + "_standard_error")) << name;
  }
  // A state is its token's vector twice over, so its cosines are the embedding's.
  EXPECT_NEAR(number(r, "hook_embed/pmi_cosine"), number(r, "pmi_embedding_cosine"), 1e-6);
  EXPECT_LT(std::abs(number(none, "pmi_embedding_cosine")), 4 * number(none, "pmi_embedding_cosine_dealt_deviation"));
  EXPECT_THAT(r.summary(), HasSubstr("PMI with cosines of embeddings +0."));
  // Items of one run each: shuffled within a run, the topic stays.
  items runs;
  for (std::size_t first = 0; first < text.size(); first += 20)
    runs.emplace_back(text.begin() + static_cast<std::ptrdiff_t>(first), text.begin() + static_cast<std::ptrdiff_t>(first + 20));
  EXPECT_GT(number(measure({}, same, runs), "pmi_embedding_cosine_shuffled"), 0.5);
}

TEST(cooccurrence, tells_the_same_neighbours_from_neighbours) {
  // "a s" or "a t", "b u" or "b v", ...: s and t never meet, and have the same neighbours.
  wf::random_stream draw(10, "synonyms");
  std::vector<std::int32_t> text;
  for (int i = 0; i < 30000; ++i) {
    auto const k = static_cast<std::int32_t>(draw.below(6));
    text.insert(text.end(), {3 * k, 3 * k + 1 + static_cast<std::int32_t>(draw.below(2))});
  }
  known_model const m(random_table(18, 8, 11));
  auto const r = measure({{"window", std::int64_t{1}}}, m, {text});
  EXPECT_GT(of(r, "profile", 1, 2), 0.95);
  EXPECT_LT(of(r, "profile", 1, 4), 0.3);
  EXPECT_GT(of(r, "pmi", 0, 1), 1);
  EXPECT_EQ(of(r, "pmi", 1, 2), -INFINITY);
}

TEST(cooccurrence, reads_items_beyond_the_models_limit_and_leaves_out_states_that_are_not_there) {
  auto const text = topics_text(12);
  auto const table = random_table(30, 16, 13);
  known_model const whole(table), limited(table, 64);
  EXPECT_EQ(number(measure({}, limited, {text}), "pmi_embedding_dot"), number(measure({}, whole, {text}), "pmi_embedding_dot"));
  auto const r = measure({{"hooks", std::vector<std::string>{"hook_embed"}}}, limited, {text});
  EXPECT_TRUE(std::isfinite(number(r, "hook_embed/pmi_cosine"))) << "of the tokens among the first 64";
}

TEST(cooccurrence, refuses_what_has_no_pairs) {
  known_model const m(random_table(5, 3, 1));
  EXPECT_THAT([&] { measure({}, m, {{1}, {2}, {}, {3}, {4}}); }, ThrowsMessage<wf::data_error>(HasSubstr("give longer texts")));
  EXPECT_THROW(measure({}, m, {{}}), wf::data_error);
  EXPECT_THAT([&] { measure({}, m, {{1, 2, 3, 4}}); }, ThrowsMessage<wf::data_error>(HasSubstr("lower `least_expected`")));
  EXPECT_THAT(
      [&] {
        wf::testing::make_plugin<wf::probe>({{"hooks", std::vector<std::string>{"blocks.0.attn.hook_pattern"}}})->needs(m.info());
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("pairs of positions")));
}

}  // namespace
