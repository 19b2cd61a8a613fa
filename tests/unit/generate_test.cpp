// Generation on a model small enough to know every number of: which tokens are drawn, how often, and what ends an item.
#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/generate.hpp>

namespace wf = wayfarer;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

/// The logits of the next token are a pure function of all that was read: a table of the last token, plus a little of the sum of
/// the tokens, so that forgetting the past shows.
struct reckoner final : wf::model {
  explicit reckoner(std::vector<std::vector<float>> rows, wf::model_family family = wf::model_family::decoder)
      : table(std::move(rows)) {
    facts.architecture = "reckoner";
    facts.family = family;
    facts.vocabulary = table.size();
    facts.hooks = {{"sum", {{"d_model", 1}}}, {"logits", {{"token", table.size()}}}};
  }
  wf::model_info const& info() const override { return facts; }
  wf::batch encode(wf::item_block const& items, wf::encode_options const&) const override {
    wf::batch b;
    b.tokens = items.tokens;
    return b;
  }
  std::string token_text(std::int32_t token) const override { return std::to_string(token); }
  wf::tensor weight(std::string_view) const override { throw wf::usage_error("no weights"); }
  wf::activations run(wf::batch const& b, wf::run_request const& request) const override {
    wf::activations out;
    begin(b, request, &out);
    return out;
  }
  std::unique_ptr<wf::continued_run> begin(wf::batch const& b, wf::run_request const& r, wf::activations* out) const override;

  std::vector<std::vector<float>> table;
  float memory = 0;  // how much the sum of all tokens counts
  wf::model_info facts;
};

struct reckoning final : wf::continued_run {
  reckoning(reckoner const& m, std::size_t items) : of(m), sums(items), lengths(items) {}
  std::size_t items() const noexcept override { return sums.size(); }
  std::size_t length(std::size_t i) const noexcept override { return lengths[i]; }
  wf::activations extend(wf::batch const& more, wf::run_request const& request) override {
    auto const& tokens = of.facts.family == wf::model_family::encoder_decoder ? more.decoder_tokens : more.tokens;
    EXPECT_EQ(tokens.size(), items());
    std::vector<wf::tensor> all_logits, all_sums;
    std::size_t const n = of.table.size();
    for (std::size_t i = 0; i < items(); ++i) {
      std::vector<float> logits, so_far;
      for (std::int32_t const t : tokens[i]) {
        sums[i] += static_cast<float>(t), ++lengths[i];
        so_far.push_back(sums[i]);
        for (std::size_t v = 0; v < n; ++v)
          logits.push_back(of.table[static_cast<std::size_t>(t)][v] + of.memory * std::sin(sums[i] * static_cast<float>(v + 1)));
      }
      if (request.last_logits_only) logits.erase(logits.begin(), logits.end() - static_cast<std::ptrdiff_t>(n));
      all_logits.push_back(wf::tensor::of(logits, {{"pos", logits.size() / n}, {"token", n}}));
      all_sums.push_back(wf::tensor::of(so_far, {{"pos", so_far.size()}, {"d_model", 1}}));
    }
    wf::activations out;
    if (request.capture.has("logits")) out.put("logits", all_logits);
    if (request.capture.has("sum")) out.put("sum", all_sums);
    return out;
  }
  std::unique_ptr<wf::continued_run> branch(std::span<std::size_t const> of_these) const override {
    auto other = std::make_unique<reckoning>(of, of_these.size());
    for (std::size_t i = 0; i < of_these.size(); ++i)
      other->sums[i] = sums.at(of_these[i]), other->lengths[i] = lengths.at(of_these[i]);
    return other;
  }
  reckoner const& of;
  std::vector<float> sums;
  std::vector<std::size_t> lengths;
};

std::unique_ptr<wf::continued_run> reckoner::begin(wf::batch const& b, wf::run_request const& r, wf::activations* out) const {
  auto run = std::make_unique<reckoning>(*this, b.items());
  auto captured = run->extend(b, r);
  if (out) *out = captured;
  return run;
}

wf::batch prompts(std::vector<std::vector<std::int32_t>> const& items) {
  wf::batch b;
  for (auto const& i : items) b.tokens.push_back(i);
  return b;
}

std::vector<std::int32_t> list(std::span<std::int32_t const> s) {
  return {s.begin(), s.end()};
}

/// Counts each token over many draws from the same logits: step 0 of many items.
std::vector<double> frequencies(std::vector<float> const& logits, wf::sampling const& how, std::size_t draws) {
  std::vector<double> counts(logits.size());
  for (std::size_t i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(wf::draw_token(logits, how, i, 0))];
  return counts;
}

double chi_square(std::vector<double> const& counts, std::vector<double> const& probabilities) {
  double const n = std::accumulate(counts.begin(), counts.end(), 0.0);
  double x = 0;
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (probabilities[i] > 0) x += std::pow(counts[i] - n * probabilities[i], 2) / (n * probabilities[i]);
  return x;
}

std::vector<float> logarithms(std::vector<double> const& p) {
  std::vector<float> out;
  for (double const x : p) out.push_back(static_cast<float>(std::log(x) + 1.5));  // a shift changes nothing
  return out;
}

/// Every token points to its successor; 3 to itself.
reckoner ring() {
  return reckoner({{0, 9, 0, 0}, {0, 0, 9, 0}, {0, 0, 0, 9}, {0, 0, 0, 9}});
}

TEST(draw_token, greedy_takes_the_lowest_id_among_equals) {
  EXPECT_EQ(wf::draw_token(std::vector<float>{1, 5, 5, 2}, {}, 0, 0), 1);
  EXPECT_EQ(wf::draw_token(std::vector<float>{-3, -3, -3}, {}, 7, 9), 0);
}

TEST(draw_token, follows_the_softmax) {
  std::vector<double> const p{0.5, 0.3, 0.15, 0.05};
  wf::sampling how;
  how.temperature = 1, how.seed = 11;
  // 3 degrees of freedom: 16.3 is passed once in a thousand seeds, and this one is fixed.
  EXPECT_LT(chi_square(frequencies(logarithms(p), how, 20000), p), 16.3);
  // A distribution that is off by a few per cent would not pass.
  EXPECT_GT(chi_square(frequencies(logarithms(p), how, 20000), {0.47, 0.33, 0.15, 0.05}), 16.3);
}

TEST(draw_token, temperature_sharpens) {
  std::vector<double> const p{0.5, 0.3, 0.2};
  wf::sampling how;
  how.temperature = 0.5, how.seed = 5;  // squares
  EXPECT_LT(chi_square(frequencies(logarithms(p), how, 20000), {0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38}), 13.8);
}

TEST(draw_token, top_k_keeps_the_likeliest_and_the_lower_ids_among_equals) {
  wf::sampling how;
  how.temperature = 1, how.top_k = 2, how.seed = 3;
  auto const counts = frequencies(logarithms({0.2, 0.4, 0.2, 0.2}), how, 9000);
  EXPECT_EQ(counts[2], 0);
  EXPECT_EQ(counts[3], 0);
  EXPECT_LT(chi_square(counts, {1.0 / 3, 2.0 / 3, 0, 0}), 10.8);
  how.top_k = 1;
  EXPECT_EQ(frequencies(logarithms({0.2, 0.4, 0.2, 0.2}), how, 100)[1], 100);
  how.top_k = 100;  // more than there are: all
  EXPECT_GT(frequencies(logarithms({0.2, 0.4, 0.2, 0.2}), how, 1000)[3], 100);
}

TEST(draw_token, top_p_keeps_the_token_that_crosses_the_line_and_no_more) {
  // Powers of two, so that sums are exact.
  std::vector<float> const logits{0, static_cast<float>(std::log(0.5)), static_cast<float>(std::log(0.25))};
  wf::sampling how;
  how.temperature = 1, how.seed = 2;
  how.top_p = 0.5;  // the first has 4/7 > 0.5
  EXPECT_EQ(frequencies(logits, how, 500)[0], 500);
  how.top_p = 0.6;  // 4/7 < 0.6: the second crosses
  auto const two = frequencies(logits, how, 6000);
  EXPECT_EQ(two[2], 0);
  EXPECT_LT(chi_square(two, {2.0 / 3, 1.0 / 3, 0}), 10.8);
  how.top_p = 1e-9;  // never nothing
  EXPECT_EQ(frequencies(logits, how, 100)[0], 100);
  how.top_p = 0.999999;
  EXPECT_GT(frequencies(logits, how, 1000)[2], 0);
}

TEST(draw_token, top_p_counts_what_top_k_left) {
  wf::sampling how;
  how.temperature = 1, how.top_k = 2, how.top_p = 0.7, how.seed = 4;
  // Of 0.4 and 0.2 the first has 2/3 < 0.7, so both stay; over all four the first would have had 0.4, and three would stay.
  auto const counts = frequencies(logarithms({0.4, 0.2, 0.2, 0.2}), how, 5000);
  EXPECT_LT(chi_square(counts, {2.0 / 3, 1.0 / 3, 0, 0}), 10.8);
  EXPECT_EQ(counts[2] + counts[3], 0);
}

TEST(draw_token, has_a_law_whose_probabilities_can_be_asked_for) {
  std::vector<float> const logits{1, 3, 2, -1};
  wf::sampling how;
  EXPECT_EQ(wf::log_probability_of_draw(logits, how, 1), 0) << "greedy";
  EXPECT_EQ(wf::log_probability_of_draw(logits, how, 0), -INFINITY);
  how.temperature = 2;
  double const sum = std::exp(0.5) + std::exp(1.5) + std::exp(1.0) + std::exp(-0.5);
  for (std::int32_t t = 0; t < 4; ++t)
    EXPECT_NEAR(wf::log_probability_of_draw(logits, how, t), logits[static_cast<std::size_t>(t)] / 2 - std::log(sum), 1e-12);
  how.top_p = 0.6;  // tokens 1 and 2
  EXPECT_NEAR(wf::log_probability_of_draw(logits, how, 2), 1 - std::log(std::exp(1.5) + std::exp(1.0)), 1e-12);
  EXPECT_EQ(wf::log_probability_of_draw(logits, how, 0), -INFINITY);
}

TEST(draw_token, infinities_and_nan) {
  float const inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  wf::sampling warm;
  warm.temperature = 1;
  EXPECT_EQ(wf::draw_token(std::vector<float>{nan, 1, -inf}, {}, 0, 0), 1);
  for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ(wf::draw_token(std::vector<float>{nan, 1, -inf}, warm, i, 0), 1);
  EXPECT_EQ(wf::draw_token(std::vector<float>{0, inf, inf}, warm, 0, 0), 1);
  try {
    wf::draw_token(std::vector<float>{nan, -inf}, warm, 3, 8);
    FAIL();
  } catch (wf::data_error const& e) {
    EXPECT_THAT(e.what(), HasSubstr("item 3 at step 8"));
  }
}

TEST(draw_token, refuses_settings_without_meaning) {
  std::vector<float> const logits{1, 2};
  for (double const t : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    wf::sampling how;
    how.temperature = t;
    EXPECT_THROW(wf::draw_token(logits, how, 0, 0), wf::usage_error) << t;
  }
  for (double const p : {0.0, -0.5, 1.5, std::nan("")}) {
    wf::sampling how;
    how.top_p = p;
    EXPECT_THROW(wf::draw_token(logits, how, 0, 0), wf::usage_error) << p;
  }
}

TEST(draw_token, steps_and_items_have_numbers_of_their_own) {
  std::vector<float> const even(64, 0.0f);
  wf::sampling how;
  how.temperature = 1;
  std::vector<std::int32_t> steps, items;
  for (std::size_t i = 0; i < 40; ++i) {
    steps.push_back(wf::draw_token(even, how, 0, i));
    items.push_back(wf::draw_token(even, how, i, 0));
  }
  EXPECT_NE(steps, items);
  std::size_t same = 0;
  for (std::size_t i = 1; i < steps.size(); ++i) same += steps[i] == steps[i - 1];
  EXPECT_LT(same, 6u);
}

TEST(generate, goes_on_greedily_until_a_stop_token) {
  wf::sampling how;
  how.max_new_tokens = 10, how.stop = {3};
  auto const out = wf::generate(ring(), prompts({{0}, {2}, {1, 0}}), how);
  EXPECT_THAT(list(out[0]), ElementsAre(1, 2, 3));
  EXPECT_THAT(list(out[1]), ElementsAre(3));
  EXPECT_THAT(list(out[2]), ElementsAre(1, 2, 3));
}

TEST(generate, ends_with_the_models_positions) {
  reckoner model = ring();
  model.facts.longest = 4;
  wf::sampling how;
  how.max_new_tokens = 10;
  // 3 tokens are read, a fourth is read, and what follows it is drawn but has no position to be read at.
  auto out = wf::generate(model, prompts({{0, 1, 0}, {0, 0, 0, 0}}), how);
  EXPECT_EQ(out[0].size(), 2u);
  EXPECT_EQ(out[1].size(), 1u);
  wf::batch late = prompts({{0}});
  late.first_position = {2};
  EXPECT_EQ(wf::generate(model, late, how)[0].size(), 2u);
}

TEST(generate, nothing_new_and_empty_prompts) {
  wf::sampling none;
  none.max_new_tokens = 0;
  EXPECT_EQ(wf::generate(ring(), prompts({{0}, {1}}), none).size(), 2u);
  EXPECT_THROW(wf::generate(ring(), prompts({}), {}), wf::usage_error);
  EXPECT_THROW(wf::generate(ring(), prompts({{0}, {}}), {}), wf::usage_error);
}

struct walks : testing::Test {
  walks() : model(std::vector<std::vector<float>>(12, std::vector<float>(12, 0.0f))) {
    model.memory = 2;
    how.temperature = 0.8, how.top_p = 0.95, how.seed = 42, how.max_new_tokens = 30, how.stop = {5};
  }
  reckoner model;
  wf::sampling how;
  std::vector<std::vector<std::int32_t>> const starts{{1}, {2, 3, 4}, {7, 7}, {9}, {1}};
};

TEST_F(walks, an_items_tokens_do_not_depend_on_its_batch) {
  auto const together = wf::generate(model, prompts(starts), how);
  for (std::size_t i = 0; i < starts.size(); ++i) {
    wf::sampling alone = how;
    alone.first_item = i;
    EXPECT_EQ(list(wf::generate(model, prompts({starts[i]}), alone)[0]), list(together[i])) << i;
  }
  EXPECT_NE(list(together[0]), list(together[4])) << "equal prompts must walk apart";
}

TEST_F(walks, the_seed_decides) {
  auto const one = wf::generate(model, prompts(starts), how), again = wf::generate(model, prompts(starts), how);
  EXPECT_EQ(one.values, again.values);
  how.seed = 43;
  EXPECT_NE(wf::generate(model, prompts(starts), how).values, one.values);
}

TEST_F(walks, a_kept_run_gives_what_full_runs_give) {
  auto const kept = wf::generate(model, prompts(starts), how);
  for (std::size_t i = 0; i < starts.size(); ++i) {
    auto text = starts[i];
    for (std::size_t step = 0; step < kept[i].size(); ++step) {
      wf::run_request request;
      request.capture = wf::hook_set({"logits"});
      wf::tensor const logits = model.run(prompts({text}), request).at("logits", 0);
      std::int32_t const next = wf::draw_token(logits.view<float const>().row(text.size() - 1), how, i, step);
      EXPECT_EQ(next, kept[i][step]) << i << " " << step;
      text.push_back(next);
    }
  }
}

TEST_F(walks, every_step_can_be_seen) {
  wf::run_request request;
  request.capture = wf::hook_set({"sum"});
  std::vector<std::vector<std::int32_t>> seen(starts.size());
  std::vector<float> sums;
  for (auto const& s : starts) sums.push_back(static_cast<float>(std::accumulate(s.begin(), s.end(), 0)));
  std::size_t expected = 0;
  auto const out = wf::generate(model, prompts(starts), how, request, [&](wf::generation_step const& step) {
    EXPECT_EQ(step.index, expected++);
    for (std::size_t k = 0; k < step.items.size(); ++k) {
      std::size_t const item = step.items[k];
      wf::tensor const& sum = step.captured.at("sum", k);
      EXPECT_EQ(sum.size(0), step.index == 0 ? starts[item].size() : 1u);
      EXPECT_FLOAT_EQ(sum.view<float const>()(sum.size(0) - 1, 0), sums[item]);
      EXPECT_EQ(wf::draw_token(step.logits.view<float const>().row(k), how, item, step.index), step.tokens[k]);
      seen[item].push_back(step.tokens[k]);
      sums[item] += static_cast<float>(step.tokens[k]);
    }
    return true;
  });
  for (std::size_t i = 0; i < starts.size(); ++i) EXPECT_EQ(seen[i], list(out[i]));
}

TEST_F(walks, an_observer_can_end_them) {
  auto const out = wf::generate(model, prompts({{1}, {2}}), how, {}, [](wf::generation_step const& s) { return s.index < 2; });
  EXPECT_EQ(out[0].size(), 3u);
}

TEST(generate, an_encoder_decoder_goes_on_from_its_decoder_tokens) {
  reckoner model = ring();
  model.facts.family = wf::model_family::encoder_decoder;
  wf::batch b = prompts({{2, 2}, {1}});
  EXPECT_THROW(wf::generate(model, b, {}), wf::usage_error);
  b.decoder_tokens.push_back(std::vector<std::int32_t>{0});
  b.decoder_tokens.push_back(std::vector<std::int32_t>{0, 1});
  wf::sampling how;
  how.max_new_tokens = 5, how.stop = {3};
  auto const out = wf::generate(model, b, how);
  EXPECT_THAT(list(out[0]), ElementsAre(1, 2, 3));
  EXPECT_THAT(list(out[1]), ElementsAre(2, 3));
}

}  // namespace
