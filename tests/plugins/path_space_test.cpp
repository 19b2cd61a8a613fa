// path_space on laws whose paths can be counted, against all paths of a short chain one by one, and on a GPT-2.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/testing.hpp>

#include "chain_model.hpp"
#include "golden_models.hpp"
#include "probes/path_space/paths.hpp"

namespace wf = wayfarer;
using testing::HasSubstr;
using testing::ThrowsMessage;
using wf::test::chain_model;
using wf::test::chain_of_order;

namespace {

using items = std::vector<std::vector<std::int32_t>>;
using settings = std::initializer_list<std::pair<char const*, wf::param_value::storage>>;

wf::results measure(settings given, wf::model const& m, items const& all, std::size_t block = 3) {
  return wf::testing::measure(*wf::testing::make_plugin<wf::probe>(given), &m, wf::testing::fixed_source(all), block);
}
double number(wf::results const& r, std::string const& name) {
  return r.at(name).scalar();
}
double row(wf::results const& r, std::string const& name, std::size_t i) {
  return r.at(name).values()(i);
}

std::vector<double> law_of(std::vector<float> const& logits, double temperature = 1) {
  std::vector<double> p;
  double sum = 0;
  for (float const z : logits) p.push_back(std::exp(static_cast<double>(z) / temperature)), sum += p.back();
  for (double& x : p) x /= sum;
  return p;
}

TEST(path_space, of_equal_choices_has_all_paths) {
  auto const r = measure({{"length", std::int64_t{6}}}, chain_model(4, chain_of_order(0, 4, 0)), {{1}, {2, 3}});
  EXPECT_NEAR(number(r, "mean_entropy_rate"), std::log(4.0), 1e-6);
  EXPECT_NEAR(number(r, "branching"), 4, 1e-5);
  EXPECT_NEAR(number(r, "mean_path_entropy"), 6 * std::log(4.0), 1e-5);
  EXPECT_NEAR(number(r, "log10_effective_paths"), 6 * std::log10(4.0), 1e-5);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_NEAR(row(r, "path_entropy_standard_error", i), 0, 1e-9);
    EXPECT_NEAR(row(r, "likeliest_set_log_size", i), 6 * std::log(4.0), 1e-5);
    EXPECT_NEAR(row(r, "typical_set_log_size", i), 6 * std::log(4.0), 1e-5);
    EXPECT_EQ(row(r, "typical_set_mass", i), 1);
    EXPECT_GE(row(r, "distinct_paths", i), 14) << "of 16 among 4096";
  }
}

TEST(path_space, of_a_cycle_has_one_path) {
  auto const next = [](std::span<std::int32_t const> tokens) {
    std::vector<float> logits(5, -300);
    logits[static_cast<std::size_t>((tokens.back() + 1) % 5)] = 0;
    return logits;
  };
  auto const r = measure({{"length", std::int64_t{12}}}, chain_model(5, next), {{0}, {3, 4}});
  EXPECT_NEAR(number(r, "mean_path_entropy"), 0, 1e-9);
  EXPECT_NEAR(number(r, "mean_likeliest_set_log_size"), 0, 1e-9);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(row(r, "distinct_paths", i), 1);
    EXPECT_NEAR(row(r, "self_bleu", i), 1, 1e-12);
    EXPECT_EQ(row(r, "end_distance", i), 0);
    EXPECT_NEAR(row(r, "end_cosine", i), 1, 1e-12);
    EXPECT_NEAR(r.at("distinct_ngrams").values()(i, 0), 5.0 / (12 * 16), 1e-12);
  }
}

TEST(path_space, agrees_with_all_paths_one_by_one) {
  constexpr std::size_t length = 5, paths = 4000;
  auto const law = chain_of_order(2, 3, 1.5);
  for (double const temperature : {1.0, 0.6}) {
    auto const r = measure({{"length", std::int64_t{length}}, {"paths", std::int64_t{paths}}, {"temperature", temperature}},
                           chain_model(3, law), {{2, 0}});
    // All 243 paths: minus their log probabilities.
    std::vector<double> surprise;
    std::vector<std::int32_t> tokens{2, 0};
    std::function<void(double)> const follow = [&](double so_far) {
      if (tokens.size() == 2 + length) return surprise.push_back(so_far);
      auto const p = law_of(law(tokens), temperature);
      for (std::int32_t v = 0; v < 3; ++v) {
        tokens.push_back(v);
        follow(so_far - std::log(p[static_cast<std::size_t>(v)]));
        tokens.pop_back();
      }
    };
    follow(0);
    ASSERT_EQ(surprise.size(), 243u);
    std::sort(surprise.begin(), surprise.end());
    double entropy = 0, mass = 0, likeliest = 0;
    for (double const s : surprise) {
      entropy += std::exp(-s) * s;
      if (mass < 0.9) mass += std::exp(-s), ++likeliest;
    }
    double typical = 0, typical_mass = 0;
    for (double const s : surprise)
      if (std::abs(s - entropy) <= 0.5 * length) ++typical, typical_mass += std::exp(-s);
    EXPECT_NEAR(row(r, "path_entropy", 0), entropy, 4 * row(r, "path_entropy_standard_error", 0));
    EXPECT_LT(row(r, "path_entropy_standard_error", 0), 0.02 * entropy);
    EXPECT_NEAR(row(r, "entropy_rate", 0), entropy / length, 0.02);
    EXPECT_NEAR(row(r, "likeliest_set_log_size", 0), std::log(likeliest), 0.12) << likeliest;
    EXPECT_NEAR(row(r, "typical_set_log_size", 0), std::log(typical), 0.12) << typical;
    EXPECT_NEAR(row(r, "typical_set_mass", 0), typical_mass, 0.03);
    double mean = 0;
    for (std::size_t p = 0; p < paths; ++p) mean -= r.at("path_log_probability").values()(0, p) / paths;
    EXPECT_NEAR(mean, entropy, 0.08) << "minus the mean log probability has the same mean";
  }
}

TEST(path_space, of_a_chain_has_its_entropy_rate) {
  auto const law = chain_of_order(1, 5, 1.5);
  std::vector<double> share(5, 0.2);
  double rate = 0;
  for (int step = 0; step < 500; ++step) {
    std::vector<double> next(5);
    rate = 0;
    for (std::int32_t a = 0; a < 5; ++a) {
      auto const p = law_of(law(std::vector<std::int32_t>{a}));
      for (std::size_t b = 0; b < 5; ++b) {
        next[b] += share[static_cast<std::size_t>(a)] * p[b];
        rate -= share[static_cast<std::size_t>(a)] * p[b] * std::log(p[b]);
      }
    }
    share = next;
  }
  items prompts;
  for (std::int32_t i = 0; i < 20; ++i) prompts.push_back({i % 5});
  auto const r = measure({{"length", std::int64_t{200}}, {"paths", std::int64_t{4}}}, chain_model(5, law), prompts);
  EXPECT_NEAR(number(r, "mean_entropy_rate"), rate, 4 * number(r, "mean_entropy_rate_standard_error"));
  EXPECT_LT(number(r, "mean_entropy_rate_standard_error"), 0.03 * rate);
}

/// BLEU as it is defined, by searching lists.
double plain_bleu(wf::paths::path const& one, std::vector<wf::paths::path> const& references) {
  double log_sum = 0;
  for (std::size_t n = 1; n <= 4; ++n) {
    auto const grams = [&](wf::paths::path const& p) {
      std::vector<wf::paths::path> all;
      for (std::size_t i = 0; i + n <= p.size(); ++i)
        all.emplace_back(p.begin() + static_cast<std::ptrdiff_t>(i), p.begin() + static_cast<std::ptrdiff_t>(i + n));
      return all;
    };
    auto const own = grams(one);
    double matched = 0;
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (std::find(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(i), own[i]) !=
          own.begin() + static_cast<std::ptrdiff_t>(i))
        continue;  // counted with its first
      std::ptrdiff_t most = 0;
      for (auto const& reference : references) {
        auto const other = grams(reference);
        most = std::max(most, std::count(other.begin(), other.end(), own[i]));
      }
      matched += static_cast<double>(std::min(most, std::count(own.begin(), own.end(), own[i])));
    }
    log_sum += std::log((matched > 0 ? matched : 0.1) / static_cast<double>(own.size())) / 4;
  }
  return std::exp(log_sum);  // all of one length: no penalty
}

TEST(path_space, self_bleu_and_distinct_grams_are_those_of_their_definitions) {
  wf::random_stream draw(1, "paths");
  std::vector<wf::paths::path> all(6);
  for (auto& p : all)
    for (int t = 0; t < 12; ++t) p.push_back(static_cast<std::int32_t>(draw.below(3)));
  double expected = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto others = all;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
    expected += plain_bleu(all[i], others) / 6;
  }
  EXPECT_NEAR(wf::paths::self_bleu(all), expected, 1e-12);
  // Nothing shared: precisions of 0.1 / 4, / 3, / 2 and / 1.
  std::vector<wf::paths::path> const apart{{1, 2, 3, 4}, {5, 6, 7, 8}};
  EXPECT_NEAR(wf::paths::self_bleu(apart), 0.1 / std::pow(24.0, 0.25), 1e-12);
  // A path of half the length of its reference: exp(1 - 2), and as many orders as it has n-grams.
  std::vector<wf::paths::path> const half{{1, 2}, {1, 2, 3, 4}};
  double const longer = (std::log(2.0 / 4) + std::log(1.0 / 3) + std::log(0.1 / 2) + std::log(0.1)) / 4;
  EXPECT_NEAR(wf::paths::self_bleu(half), (std::exp(-1.0) + std::exp(longer)) / 2, 1e-12);
  EXPECT_NEAR(wf::paths::distinct_grams(half)[0], 4.0 / 6, 1e-12);
  EXPECT_NEAR(wf::paths::distinct_grams(half)[1], 3.0 / 4, 1e-12);
  EXPECT_TRUE(std::isnan(wf::paths::distinct_grams(std::vector<wf::paths::path>{{1}})[1]));
}

TEST(path_space, of_a_gpt2_has_the_models_own_log_probabilities_and_ends) {
  auto const m = wf::test::open_model("gpt2", wf::test::data_folder("gpt2-odd"));
  settings const given{{"length", std::int64_t{4}}, {"paths", std::int64_t{5}}, {"prompt", std::int64_t{3}}};
  items const prompts{{3, 5, 1, 9}, {7, 2}};
  auto const r = measure(given, *m, prompts);
  EXPECT_EQ(row(r, "prompt_length", 0), 3);
  EXPECT_EQ(row(r, "prompt_length", 1), 2);
  for (std::size_t i = 0; i < 2; ++i)
    for (std::size_t p = 0; p < 5; ++p) EXPECT_LT(r.at("path_log_probability").values()(i, p), 0);
  // A sharp law draws the likeliest path, whose entropy and log probability are then 0 and whose end is one.
  auto const sharp = measure({{"length", std::int64_t{4}}, {"paths", std::int64_t{5}}, {"temperature", 0.01}}, *m, prompts);
  EXPECT_LT(row(sharp, "distinct_paths", 0), 3);
  EXPECT_LT(number(sharp, "mean_entropy_rate"), number(r, "mean_entropy_rate"));
}

TEST(path_space, has_the_same_bytes_for_any_block_and_number_of_threads) {
  auto const m = wf::test::open_model("gpt2", wf::test::data_folder("gpt2-odd"));
  items prompts;
  for (std::int32_t i = 0; i < 7; ++i) prompts.push_back({i, i + 1, 2 * i});
  auto const digest = [&](std::size_t block, int threads) {
    auto const r = wf::test::on_threads(threads, [&] {
      return measure({{"length", std::int64_t{5}}, {"paths", std::int64_t{6}}}, *m, prompts, block);
    });
    std::string bytes;
    for (auto const& name : r.names()) {
      auto const t = r.at(name).values().to(wf::dtype::f64);
      bytes.append(static_cast<char const*>(t.raw()), t.bytes());
    }
    return bytes;
  };
  auto const one = digest(1, 1);
  for (std::size_t const block : {2, 7})
    for (int const threads : {1, 4}) EXPECT_EQ(digest(block, threads), one) << block << ' ' << threads;
}

TEST(path_space, cuts_prompts_that_leave_no_room_and_refuses_what_can_not_begin) {
  auto const law = chain_of_order(1, 4);
  auto const r = measure({{"length", std::int64_t{6}}}, chain_model(4, law, 10), {{1, 2, 3, 0, 1, 2, 3, 0, 1, 2}});
  EXPECT_EQ(row(r, "prompt_length", 0), 4);
  EXPECT_EQ(wf::test::ids_of(r.at("path_length").values())[0], 6);
  EXPECT_THAT(
      [&] {
        measure({{"length", std::int64_t{10}}}, chain_model(4, law, 10), {{1}});
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("lower `length`")));
  EXPECT_THAT([&] { measure({}, chain_model(4, law), {{1}, {}}); }, ThrowsMessage<wf::usage_error>(HasSubstr("no token")));
}

}  // namespace
