// token_information on made processes: independent tokens, a chain whose information by distance is known in closed form, items
// of different tokens, and a plain count of all pairs.
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/testing.hpp>

#include "chain_model.hpp"
#include "golden_models.hpp"

namespace wf = wayfarer;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

using items = std::vector<std::vector<std::int32_t>>;
using settings = std::initializer_list<std::pair<char const*, wf::param_value::storage>>;
using numbers = std::vector<std::int64_t>;

wf::results measure(settings given, items const& all, std::size_t block = 1000, wf::model const* m = nullptr) {
  return wf::testing::measure(*wf::testing::make_plugin<wf::probe>(given), m, wf::testing::fixed_source(all), block);
}
double at(wf::results const& r, std::string const& name, std::size_t d) {
  return r.at(name).values()(d);
}

/// Two tokens; each is another than the one before with probability `flip`.
std::vector<std::int32_t> flipping(double flip, std::size_t length, std::uint64_t seed) {
  wf::random_stream draw(seed, "flipping");
  std::vector<std::int32_t> out{0};
  while (out.size() < length) out.push_back(draw.uniform() < flip ? 1 - out.back() : out.back());
  return out;
}

/// log 2 - H(probability that two tokens so far apart differ), of such a chain.
double information_of_flips(double flip, std::int64_t distance) {
  double const differ = (1 - std::pow(1 - 2 * flip, static_cast<double>(distance))) / 2;
  return std::log(2.0) + differ * std::log(differ) + (1 - differ) * std::log(1 - differ);
}

TEST(token_information, of_a_chain_is_that_of_the_closed_form_at_each_distance) {
  numbers const distances{1, 2, 3, 5, 8};
  auto const r = measure({{"distances", distances}}, {flipping(0.1, 200'000, 1)});
  for (std::size_t d = 0; d < distances.size(); ++d) {
    double const expected = information_of_flips(0.1, distances[d]);
    // Pairs of a chain are not independent: its correlation time of 4 to 5 tokens makes the error about 2 to 3 times as large.
    EXPECT_NEAR(at(r, "information", d), expected, 9 * at(r, "information_standard_error", d)) << distances[d];
    EXPECT_LT(std::abs(at(r, "information_shuffled", d)), 5e-5);
  }
  EXPECT_NEAR(at(r, "information", 0), 0.368, 0.005);
  EXPECT_EQ(r.at("last_above_shuffled").scalar(), 8);
}

TEST(token_information, of_a_cycle_is_its_entropy_at_every_distance) {
  std::vector<std::int32_t> cycle;
  for (std::int32_t i = 0; i < 3000; ++i) cycle.push_back(i % 5);
  auto const r = measure({{"distances", numbers{1, 2, 5, 7}}}, {cycle});
  for (std::size_t d = 0; d < 4; ++d) EXPECT_NEAR(at(r, "information_plug_in", d), std::log(5.0), 1e-4);
  EXPECT_NEAR(r.at("entropy").scalar(), std::log(5.0), 1e-9);
}

TEST(token_information, of_independent_tokens_is_none_without_its_bias) {
  wf::random_stream draw(2, "independent");
  std::vector<std::int32_t> text(20'000);
  for (auto& t : text) t = static_cast<std::int32_t>(draw.below(20));
  double corrected = 0, plug_in = 0;
  auto const r = measure({{"distances", numbers{1, 2, 3, 4, 5, 6, 7, 8}}}, {text});
  for (std::size_t d = 0; d < 8; ++d) corrected += at(r, "information", d) / 8, plug_in += at(r, "information_plug_in", d) / 8;
  double const bias = 19.0 * 19.0 / (2 * 20'000.0);  // (A - 1) (B - 1) / (2 N) where every cell is filled
  EXPECT_NEAR(plug_in, bias, 0.15 * bias) << "the bias is there";
  EXPECT_LT(std::abs(corrected), 0.15 * bias) << "and is subtracted";
  EXPECT_EQ(r.at("last_above_shuffled").scalar(), 0);
  EXPECT_THAT(r.summary(), HasSubstr("nowhere more than in shuffled items"));
}

TEST(token_information, between_items_of_different_tokens_stays_when_items_are_shuffled) {
  // Each item has one of two tokens all over, and noise: what two tokens share is the item, not their order.
  wf::random_stream draw(3, "topics");
  items all;
  for (int i = 0; i < 400; ++i) {
    auto const topic = static_cast<std::int32_t>(draw.below(2));
    all.emplace_back();
    for (int t = 0; t < 50; ++t) all.back().push_back(draw.uniform() < 0.8 ? topic : static_cast<std::int32_t>(draw.below(2)));
  }
  auto const r = measure({{"distances", numbers{1, 10}}}, all);
  double const same = 0.9 * 0.9 + 0.1 * 0.1, expected = std::log(2.0) + same * std::log(same) + (1 - same) * std::log(1 - same);
  for (std::size_t d = 0; d < 2; ++d) {
    EXPECT_NEAR(at(r, "information", d), expected, 0.02);
    EXPECT_NEAR(at(r, "information_shuffled", d), expected, 0.02);
  }
  EXPECT_EQ(r.at("last_above_shuffled").scalar(), 0);
}

TEST(token_information, equals_a_plain_count_of_all_pairs_with_rare_tokens_together) {
  wf::random_stream draw(4, "plain");
  items all;
  for (int i = 0; i < 30; ++i) {
    all.emplace_back();
    for (std::uint32_t n = draw.below(40); n > 0; --n)
      all.back().push_back(static_cast<std::int32_t>(std::min(draw.below(9), draw.below(9))));
  }
  auto const r = measure({{"distances", numbers{3}}, {"most_tokens", std::int64_t{4}}}, all);
  auto const ids = wf::test::ids_of(r.at("token_ids").values());
  ASSERT_EQ(ids.size(), 4u);
  auto const kind = [&](std::int32_t t) { return std::find(ids.begin(), ids.end(), t) - ids.begin(); };
  std::map<std::pair<std::ptrdiff_t, std::ptrdiff_t>, double> cells;
  std::map<std::ptrdiff_t, double> first, second;
  double n = 0;
  for (auto const& item : all)
    for (std::size_t p = 0; p + 3 < item.size(); ++p) {
      auto const a = kind(item[p]), b = kind(item[p + 3]);
      ++cells[{a, b}], ++first[a], ++second[b], ++n;
    }
  double information = 0;
  for (auto const& [cell, c] : cells) information += c / n * std::log(c / n / (first[cell.first] / n * second[cell.second] / n));
  double const bias =
      (static_cast<double>(cells.size()) - static_cast<double>(first.size()) - static_cast<double>(second.size()) + 1) / (2 * n);
  EXPECT_NEAR(at(r, "information_plug_in", 0), information, 1e-12);
  EXPECT_NEAR(at(r, "information", 0), information - bias, 1e-12);
  EXPECT_EQ(at(r, "pairs", 0), n);
}

TEST(token_information, has_the_same_bytes_for_any_block_and_reads_beyond_the_models_limit) {
  items all;
  for (std::uint64_t i = 0; i < 20; ++i) all.push_back(flipping(0.2, 30 + i, 5 + i));
  wf::test::chain_model const m(2, wf::test::chain_of_order(1, 2), 16);
  auto const digest = [&](std::size_t block, int threads, wf::model const* through) {
    auto const r = wf::test::on_threads(threads, [&] { return measure({{"distances", numbers{1, 20}}}, all, block, through); });
    std::string bytes;
    for (auto const& name : r.names()) {
      auto const t = r.at(name).values().to(wf::dtype::f64);
      bytes.append(static_cast<char const*>(t.raw()), t.bytes());
    }
    return bytes;
  };
  auto const one = digest(1, 1, nullptr);
  for (std::size_t const block : {3, 7, 20}) EXPECT_EQ(digest(block, 2, nullptr), one) << block;
  EXPECT_EQ(digest(4, 4, &m), one) << "through a model that reads 16 tokens";
}

TEST(token_information, refuses_what_has_no_pairs) {
  EXPECT_THAT(
      [] {
        measure({{"distances", numbers{5}}}, {{1, 2, 3}, {}});
      },
      ThrowsMessage<wf::data_error>(HasSubstr("give longer texts")));
  EXPECT_THAT([] { measure({{"distances", numbers{}}}, {{1, 2}}); }, ThrowsMessage<wf::parameter_error>(HasSubstr("is empty")));
  EXPECT_THAT(
      [] {
        measure({{"distances", numbers{2, 2}}}, {{1, 2}});
      },
      ThrowsMessage<wf::parameter_error>(HasSubstr("in rising order")));
  EXPECT_THAT([] { measure({}, {{1, 20'000'000}}); }, ThrowsMessage<wf::usage_error>(HasSubstr("name the model")));
}

}  // namespace
