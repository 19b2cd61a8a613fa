// Distributions that are read while logits are made, against long double over whole rows; and the promise that a row's numbers
// are its own, whichever rows and threads there are.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <oneapi/tbb/task_arena.h>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/vocabulary.hpp>

namespace wayfarer {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// Logits that are given: the rows that are read hold their own numbers, in which their logits are looked up.
struct given_logits {
  std::size_t vocabulary;
  std::vector<double> values;  // [row, token]

  given_logits(std::size_t rows, std::size_t n, double spread, std::uint64_t seed) : vocabulary(n) {
    random_stream draw(seed, "logits");
    for (std::size_t i = 0; i < rows * n; ++i) values.push_back(static_cast<double>(static_cast<float>(spread * draw.normal())));
  }
  std::size_t count() const { return values.size() / vocabulary; }
  double& at(std::size_t row, std::size_t token) { return values[row * vocabulary + token]; }
  std::span<double const> row(std::size_t r) const { return {values.data() + r * vocabulary, vocabulary}; }

  tensor states(dtype type, std::vector<std::size_t> const& chosen) const {
    std::vector<double> numbers(chosen.begin(), chosen.end());
    return tensor::of(numbers, {{"row", chosen.size()}, {"d_model", 1}}).to(type);
  }
  tensor states(dtype type) const {
    std::vector<std::size_t> all(count());
    for (std::size_t r = 0; r < all.size(); ++r) all[r] = r;
    return states(type, all);
  }
  rows part(rows const& x, std::size_t first, std::size_t last) const {
    rows z = x.like(last - first);
    for (std::size_t r = 0; r < x.count(); ++r) {
      auto const own = static_cast<std::size_t>(x.type() == dtype::f64 ? x.data<double>()[r] : double{x.data<float>()[r]});
      for (std::size_t t = first; t < last; ++t) {
        double const v = values[own * vocabulary + t];
        if (x.type() == dtype::f64)
          z.own<double>()[r * z.width() + t - first] = v;
        else
          z.own<float>()[r * z.width() + t - first] = static_cast<float>(v);
      }
    }
    return z;
  }
  std::vector<token_distribution> read(tensor const& x, vocabulary_question q) const {
    q.vocabulary = vocabulary;
    return read_vocabulary(x, q, [this](rows const& r, std::size_t first, std::size_t last) { return part(r, first, last); });
  }
};

std::vector<long double> log_probabilities(std::span<double const> logits) {
  long double const highest = *std::max_element(logits.begin(), logits.end());
  long double sum = 0;
  for (double const v : logits) sum += std::exp(static_cast<long double>(v) - highest);
  std::vector<long double> p;
  for (double const v : logits) p.push_back(static_cast<long double>(v) - highest - std::log(sum));
  return p;
}

/// Every number of some rows as it lies in memory.
std::string bytes_of(std::vector<token_distribution> const& all) {
  std::string out;
  auto const put = [&](auto const& v) { out.append(reinterpret_cast<char const*>(&v), sizeof v); };
  for (auto const& d : all) {
    put(d.highest), put(d.log_sum), put(d.entropy), put(d.divergence);
    for (auto const& t : d.likeliest) put(t.token), put(t.logit);
    for (double const v : d.logits) put(v);
    for (auto const v : d.ranks) put(v);
  }
  return out;
}

TEST(vocabulary, rows_agree_with_long_double) {
  // Around vectors of 2 to 16 and tiles; spreads where later tiles raise the highest, and where most terms vanish.
  for (dtype const type : {dtype::f32, dtype::f64})
    for (std::size_t const n : {1, 7, 16, 33, 1000, 5001})
      for (double const spread : {0.1, 3.0, 40.0})
        for (std::size_t const tile : {1, 64, 1024, 8192}) {
          if (n > 1000 && tile == 1) continue;
          given_logits const logits(6, n, spread, n);
          vocabulary_question q;
          q.likeliest = 5, q.ranks = true, q.group = 3, q.tokens_at_once = tile;
          for (std::size_t r = 0; r < 6; ++r)
            q.tokens.push_back(std::vector<std::int32_t>{static_cast<std::int32_t>(r % n), static_cast<std::int32_t>(n - 1)});
          auto const found = logits.read(logits.states(type), q);
          ASSERT_EQ(found.size(), 6u);
          double const unit = type == dtype::f64 ? 1e-12 : 1e-6;
          for (std::size_t r = 0; r < 6; ++r) {
            auto const& d = found[r];
            auto const z = logits.row(r);
            std::size_t const last = r / 3 * 3 + 2;
            auto const p = log_probabilities(z), reference = log_probabilities(logits.row(last));
            long double entropy = 0, divergence = 0;
            for (std::size_t t = 0; t < n; ++t) {
              entropy -= std::exp(p[t]) * p[t];
              divergence += std::exp(reference[t]) * (reference[t] - p[t]);
            }
            EXPECT_NEAR(d.entropy, static_cast<double>(entropy), 2 * unit * (1 + static_cast<double>(entropy)));
            EXPECT_NEAR(d.divergence, static_cast<double>(divergence), unit * (1 + static_cast<double>(divergence)));
            EXPECT_EQ(r == last ? d.divergence : 0, 0);
            auto const best = top_k(z, 5);
            ASSERT_EQ(d.likeliest.size(), best.size());
            for (std::size_t k = 0; k < best.size(); ++k) {
              EXPECT_EQ(d.likeliest[k].token, best[k]);
              EXPECT_EQ(d.likeliest[k].logit, z[static_cast<std::size_t>(best[k])]);
            }
            for (std::size_t j = 0; j < 2; ++j) {
              std::size_t const token = j == 0 ? r % n : n - 1;
              EXPECT_EQ(d.logits[j], z[token]);
              EXPECT_EQ(d.ranks[j], rank_of(z, token));
              EXPECT_NEAR(d.log_probability(d.logits[j]), static_cast<double>(p[token]), unit);
            }
          }
        }
}

TEST(vocabulary, equal_logits_come_in_the_order_of_tokens) {
  given_logits logits(2, 40, 1, 3);
  for (std::size_t t = 0; t < 40; ++t) logits.at(0, t) = 2, logits.at(1, t) = t % 2 ? 1 : -1;
  vocabulary_question q;
  q.likeliest = 3, q.ranks = true, q.tokens_at_once = 7;
  for (std::size_t r = 0; r < 2; ++r) q.tokens.push_back(std::vector<std::int32_t>{20, 21});
  auto const found = logits.read(logits.states(dtype::f32), q);
  for (std::int32_t k = 0; k < 3; ++k) {
    EXPECT_EQ(found[0].likeliest[static_cast<std::size_t>(k)].token, k);
    EXPECT_EQ(found[1].likeliest[static_cast<std::size_t>(k)].token, 2 * k + 1);
  }
  EXPECT_THAT(found[0].ranks, testing::ElementsAre(20, 21));
  EXPECT_THAT(found[1].ranks, testing::ElementsAre(30, 10));
}

TEST(vocabulary, tokens_that_cannot_be_count_for_nothing_and_what_is_no_number_spoils_its_row_alone) {
  double const none = -std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  given_logits whole(3, 50, 2, 9), some = whole;
  // The first tile of one row, and what is between: the same distribution over the rest.
  for (std::size_t t = 0; t < 50; ++t)
    if (t < 12 || t % 5 == 0) some.at(0, t) = some.at(2, t) = none;
  some.at(1, 30) = nan;
  vocabulary_question q;
  q.likeliest = 50, q.group = 3, q.tokens_at_once = 8;
  for (dtype const type : {dtype::f32, dtype::f64}) {
    auto const found = some.read(some.states(type), q);
    std::vector<double> left, reference;
    for (std::size_t t = 0; t < 50; ++t)
      if (!(t < 12 || t % 5 == 0)) left.push_back(whole.at(0, t)), reference.push_back(whole.at(2, t));
    auto const p = log_probabilities(left), of = log_probabilities(reference);
    long double entropy = 0, divergence = 0;
    for (std::size_t t = 0; t < left.size(); ++t)
      entropy -= std::exp(p[t]) * p[t], divergence += std::exp(of[t]) * (of[t] - p[t]);
    EXPECT_NEAR(found[0].entropy, static_cast<double>(entropy), 1e-5);
    EXPECT_NEAR(found[0].divergence, static_cast<double>(divergence), 1e-5);
    EXPECT_EQ(found[0].likeliest.size(), 50u);
    EXPECT_EQ(found[0].likeliest.back().logit, none);
    EXPECT_TRUE(std::isnan(found[1].entropy) && std::isnan(found[1].divergence) && std::isnan(found[1].log_sum));
    EXPECT_EQ(found[1].likeliest.size(), 49u);
    EXPECT_EQ(found[2].divergence, 0);
  }
}

TEST(vocabulary, a_rows_bytes_are_its_own) {
  given_logits const logits(37, 3000, 5, 21);
  vocabulary_question q;
  q.likeliest = 7, q.ranks = true;
  std::vector<std::vector<std::int32_t>> wanted;
  for (std::size_t r = 0; r < 37; ++r)
    wanted.push_back(std::vector<std::int32_t>(r % 3, static_cast<std::int32_t>(r * 71 % 3000))),
        q.tokens.push_back(wanted.back());
  auto const read = [&](std::size_t threads, std::size_t at_once) {
    q.rows_at_once = at_once;
    std::vector<token_distribution> found;
    tbb::task_arena(static_cast<int>(threads)).execute([&] { found = logits.read(logits.states(dtype::f32), q); });
    return bytes_of(found);
  };
  auto const once = read(1, 512);
  EXPECT_EQ(once, read(3, 512));
  EXPECT_EQ(once, read(2, 5));
  std::string alone;
  for (std::size_t r = 0; r < 37; ++r) {
    vocabulary_question one = q;
    one.tokens = {};
    one.tokens.push_back(wanted[r]);
    alone += bytes_of(logits.read(logits.states(dtype::f32, {r}), one));
  }
  EXPECT_EQ(once, alone);
}

TEST(vocabulary, some_outputs_of_a_layer_are_those_of_the_whole) {
  random_stream draw(4, "weights");
  for (bool const in_first : {true, false})
    for (std::size_t const count : {1, 9, 70}) {
      std::vector<float> numbers(400 * 150), bias(150), in(count * 400);
      for (auto* v : {&numbers, &bias, &in})
        for (float& x : *v) x = static_cast<float>(draw.normal());
      dims const shape = in_first ? dims{{"in", 400}, {"out", 150}} : dims{{"out", 150}, {"in", 400}};
      linear_weights const w{tensor::of(numbers, shape), tensor::of(bias, {{"out", 150}}), in_first};
      ragged<std::int32_t> tokens;
      tokens.push_back(std::vector<std::int32_t>(count));
      rows const x = rows_from(tensor::of(in, {{"row", count}, {"in", 400}}), row_packing::of(tokens), 400, dtype::f32, "rows");
      rows const whole = linear(x, w);
      for (auto const& [first, last] : {std::pair<std::size_t, std::size_t>{0, 150}, {0, 64}, {3, 4}, {64, 128}, {141, 150}}) {
        rows const part = linear(x, outputs_of(w, first, last));
        ASSERT_EQ(part.width(), last - first);
        for (std::size_t r = 0; r < count; ++r)
          EXPECT_EQ(std::memcmp(part.data<float>() + r * part.width(), whole.data<float>() + r * 150 + first,
                                part.width() * sizeof(float)),
                    0)
              << in_first << " " << count << " " << first;
      }
    }
}

TEST(vocabulary, refuses_questions_that_do_not_fit) {
  given_logits const logits(4, 10, 1, 1);
  auto const x = logits.states(dtype::f32);
  auto const refuses = [&](vocabulary_question const& q, char const* why) {
    EXPECT_THAT([&] { logits.read(x, q); }, ThrowsMessage<plugin_error>(HasSubstr(why)));
  };
  vocabulary_question q;
  q.group = 3;
  refuses(q, "4 rows are no whole groups of 3");
  q.group = 0;
  q.tokens.push_back(std::vector<std::int32_t>{1});
  refuses(q, "tokens are asked of 1 rows, but there are 4");
  for (int i = 0; i < 3; ++i) q.tokens.push_back(std::vector<std::int32_t>{10});
  refuses(q, "token 10 is outside the vocabulary of 10");
  vocabulary_question whole;
  whole.vocabulary = 10;
  EXPECT_THAT([&] { read_vocabulary(x, whole, [](rows const& r, std::size_t, std::size_t) { return r.like(3); }); },
              ThrowsMessage<plugin_error>(HasSubstr("3 numbers a row were made")));
}

}  // namespace
}  // namespace wayfarer
