// context_reach on chains of known order, on a model that looks at far tokens without their order, and against laws worked out
// here.
#include <cmath>
#include <memory>
#include <set>
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

items random_items(std::size_t count, std::size_t length, std::uint32_t tokens, std::uint64_t seed) {
  items all(count);
  wf::random_stream draw(seed, "items");
  for (auto& item : all)
    for (std::size_t p = 0; p < length; ++p) item.push_back(static_cast<std::int32_t>(draw.below(tokens)));
  return all;
}

TEST(context_reach, of_a_chain_is_its_order_by_every_change) {
  auto const all = random_items(30, 40, 6, 1);
  for (std::size_t const order : {1, 2, 3, 5}) {
    auto const r = measure({}, chain_model(6, chain_of_order(order, 6)), all);
    for (std::string const change : {"hidden", "replaced", "shuffled"}) {
      for (std::string const end : {"", "_low", "_high"})
        EXPECT_EQ(number(r, "order_" + change + end), static_cast<double>(order)) << change << end;
      auto const& d = r.at("divergence_" + change).values();
      for (std::size_t n = 0; n < d.size(0); ++n) {
        if (n + 1 >= order)
          EXPECT_NEAR(d(n), 0, 1e-6) << order << ' ' << change << ' ' << n;
        else
          EXPECT_GT(d(n), 0.1) << order << ' ' << change << ' ' << n;
      }
    }
    EXPECT_EQ(r.at("count").values()(0), 30);
    EXPECT_EQ(r.at("count").values().size(0), 40 - 16 - 1u);
  }
}

TEST(context_reach, of_a_law_that_never_changes_is_none) {
  auto const r = measure({}, chain_model(6, chain_of_order(0, 6)), random_items(5, 30, 6, 2));
  for (std::string const change : {"hidden", "replaced", "shuffled"}) {
    EXPECT_EQ(number(r, "order_" + change), 0);
    EXPECT_EQ(r.at("kept_" + change).values()(0), 1);
  }
  EXPECT_NEAR(number(r, "divergence_unrelated"), 0, 1e-12);
}

TEST(context_reach, tells_the_order_of_far_tokens_from_which_they_are) {
  // The law depends on which tokens there are, not on their order: a shuffle changes nothing, and no number of near tokens is
  // enough.
  auto const sum = [](std::span<std::int32_t const> tokens) {
    std::vector<float> logits(4);
    for (auto const t : tokens) logits[static_cast<std::size_t>(t)] += 0.5f;
    return logits;
  };
  auto const r = measure({}, chain_model(4, sum), random_items(20, 40, 4, 3));
  EXPECT_EQ(number(r, "order_shuffled"), 1);
  EXPECT_TRUE(std::isnan(number(r, "order_hidden")));
  EXPECT_TRUE(std::isnan(number(r, "order_replaced")));
  EXPECT_THAT(r.summary(), HasSubstr("more than 23 near tokens (far ones hidden), more than 23 (replaced), 1 (shuffled)"));
}

/// softmax in float64.
std::vector<double> law_of(std::vector<float> const& logits) {
  std::vector<double> p;
  double sum = 0;
  for (float const z : logits) p.push_back(std::exp(static_cast<double>(z))), sum += p.back();
  for (double& x : p) x /= sum;
  return p;
}

TEST(context_reach, equals_the_divergences_and_losses_worked_out_from_the_laws) {
  auto const law = chain_of_order(3, 5);
  auto const all = random_items(7, 12, 5, 4);
  auto const r = measure({{"hidden", std::int64_t{4}}}, chain_model(5, law), all);
  for (std::size_t n = 1; n <= 7; ++n) {
    double divergence = 0, loss = 0, full_loss = 0, squares = 0;
    for (auto const& item : all) {
      std::span<std::int32_t const> const tokens = item;
      auto const p = law_of(law(tokens.first(4 + n))), q = law_of(law(tokens.subspan(4, n)));
      double one = 0;
      for (std::size_t v = 0; v < 5; ++v)
        one += 0.5 * p[v] * std::log(2 * p[v] / (p[v] + q[v])) + 0.5 * q[v] * std::log(2 * q[v] / (p[v] + q[v]));
      divergence += one, squares += one * one;
      loss -= std::log(q[static_cast<std::size_t>(item[4 + n])]), full_loss -= std::log(p[static_cast<std::size_t>(item[4 + n])]);
    }
    double const mean = divergence / 7, deviation = std::sqrt(std::max(0.0, (squares - 7 * mean * mean) / 6));
    EXPECT_NEAR(r.at("divergence_hidden").values()(n - 1), mean, 1e-6);
    EXPECT_NEAR(r.at("divergence_hidden_standard_error").values()(n - 1), deviation / std::sqrt(7.0), 1e-5);
    EXPECT_NEAR(r.at("loss_hidden").values()(n - 1), loss / 7, 1e-5);
    EXPECT_NEAR(r.at("loss_full").values()(n - 1), full_loss / 7, 1e-5);
    EXPECT_NEAR(r.at("excess_loss_hidden").values()(n - 1), (loss - full_loss) / 7, 1e-5);
    EXPECT_NEAR(r.at("kept_hidden").values()(n - 1), 1 - mean / number(r, "divergence_unrelated"), 1e-5);
  }
}

TEST(context_reach, changes_far_tokens_alone_and_as_it_says) {
  // What the model is given, by recording it.
  static std::vector<std::vector<std::int32_t>> seen;
  seen.clear();
  auto const record = [](std::span<std::int32_t const> tokens) {
    seen.emplace_back(tokens.begin(), tokens.end());
    return std::vector<float>(40);
  };
  std::vector<std::int32_t> item;
  for (std::int32_t t = 0; t < 40; ++t) item.push_back(t);
  static_cast<void>(measure({}, chain_model(40, record), {item}));
  std::set<std::vector<std::int32_t>> whole;
  for (auto const& s : seen)
    if (s.size() == 40 || (s.size() == 24 && s[0] == 16)) whole.insert(s);
  ASSERT_EQ(whole.size(), 4u) << "as it is, cut, replaced and shuffled";
  for (auto const& s : whole) {
    EXPECT_TRUE(std::equal(item.end() - 24, item.end(), s.end() - 24)) << "near tokens stay";
    if (s.size() == 24 || s == item) continue;
    std::set<std::int32_t> const far(s.begin(), s.begin() + 16);
    bool const shuffled = far.size() == 16 && *far.rbegin() == 15;
    EXPECT_TRUE(shuffled || *far.rbegin() > 15) << "drawn from the whole corpus";
  }
  EXPECT_EQ(std::count_if(whole.begin(), whole.end(),
                          [&](auto const& s) { return s.size() == 40 && *std::max_element(s.begin(), s.begin() + 16) == 15; }),
            2)
      << "as it is, and shuffled";
}

TEST(context_reach, of_a_gpt2_has_the_same_bytes_for_any_block_and_threads_and_knows_positions) {
  auto const m = wf::test::open_model("gpt2", wf::test::data_folder("gpt2-odd"));
  auto const all = random_items(9, 11, 28, 5);
  auto const digest = [&](std::size_t block, int threads, std::string const& positions) {
    auto const r = wf::test::on_threads(threads, [&] {
      return measure({{"hidden", std::int64_t{4}}, {"positions", positions}}, *m, all, block);
    });
    std::string bytes;
    for (auto const& name : r.names()) {
      auto const t = r.at(name).values().to(wf::dtype::f64);
      bytes.append(static_cast<char const*>(t.raw()), t.bytes());
    }
    return bytes;
  };
  auto const one = digest(3, 1, "first");
  for (int const threads : {2, 4}) EXPECT_EQ(digest(3, threads, "first"), one);
  EXPECT_NE(digest(3, 1, "own"), one) << "GPT-2 has position vectors";
  // Other blocks: sums of floats, the same to rounding.
  auto const a = measure({{"hidden", std::int64_t{4}}}, *m, all, 1), b = measure({{"hidden", std::int64_t{4}}}, *m, all, 9);
  for (auto const& name : a.names()) {
    auto const x = wf::test::numbers(a.at(name).values()), y = wf::test::numbers(b.at(name).values());
    ASSERT_EQ(x.size(), y.size()) << name;
    for (std::size_t i = 0; i < x.size(); ++i)
      EXPECT_TRUE((std::isnan(x[i]) && std::isnan(y[i])) || std::abs(x[i] - y[i]) < 1e-7) << name << ' ' << x[i] << ' ' << y[i];
  }
}

TEST(context_reach, cuts_a_gpt2s_text_to_its_first_positions_or_keeps_its_own) {
  auto const m = wf::test::open_model("gpt2", wf::test::data_folder("gpt2-odd"));
  auto const all = random_items(1, 11, 28, 6);
  std::span<std::int32_t const> const tokens = all[0];
  auto const loss_at = [&](std::span<std::int32_t const> read, std::size_t first, std::int32_t next) {
    wf::batch b;
    b.tokens.push_back(read);
    if (first != 0) b.first_position.push_back(first);
    wf::run_request request;
    request.capture = wf::hook_set({"logits"});
    request.precision = wf::dtype::f64;
    auto const logits = m->run(b, request).at("logits", 0);
    double sum = 0;
    for (std::size_t v = 0; v < m->info().vocabulary; ++v) sum += std::exp(logits.get({read.size() - 1, v}));
    return std::log(sum) - logits.get({read.size() - 1, static_cast<std::size_t>(next)});
  };
  auto const first = measure({{"hidden", std::int64_t{4}}}, *m, all),
             own = measure({{"hidden", std::int64_t{4}}, {"positions", std::string("own")}}, *m, all);
  for (std::size_t n = 1; n <= 6; ++n) {
    EXPECT_NEAR(first.at("loss_hidden").values()(n - 1), loss_at(tokens.subspan(4, n), 0, tokens[4 + n]), 1e-4);
    EXPECT_NEAR(own.at("loss_hidden").values()(n - 1), loss_at(tokens.subspan(4, n), 4, tokens[4 + n]), 1e-4);
    EXPECT_NEAR(own.at("loss_full").values()(n - 1), loss_at(tokens.first(4 + n), 0, tokens[4 + n]), 1e-4);
  }
}

TEST(context_reach, refuses_items_without_near_tokens) {
  EXPECT_THAT(
      [] {
        measure({}, chain_model(6, chain_of_order(1, 6)), {{1, 2, 3}, {}});
      },
      ThrowsMessage<wf::data_error>(HasSubstr("smaller `hidden`")));
  auto some = random_items(2, 30, 6, 7);
  some.push_back({1, 2, 3});
  EXPECT_EQ(number(measure({}, chain_model(6, chain_of_order(1, 6)), some), "short_items"), 1);
}

}  // namespace
