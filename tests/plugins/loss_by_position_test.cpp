// loss_by_position: means and errors against formulas, on a made text whose second half is easier, and what it must refuse.
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/random.hpp>

#include "plugins/run_plugins.hpp"

namespace wayfarer::test {
namespace {

using ::testing::HasSubstr;
using table = std::vector<std::vector<double>>;
double const none = std::numeric_limits<double>::quiet_NaN();

results node(table const& log_probability) {
  tensor t(dtype::f64, {{"item", log_probability.size()}, {"pos", log_probability[0].size()}});
  for (std::size_t i = 0; i < t.size(0); ++i)
    for (std::size_t p = 0; p < t.size(1); ++p) t(i, p) = log_probability[i][p];
  results out;
  out.add("log_probability", t).missing("not predicted");
  return out;
}

results measure(results const& of, results const* against = nullptr, values given = {}) {
  metric_input in;
  in.put("of", "of", &of, nullptr);
  if (against) in.put("against", "against", against, nullptr);
  results out;
  make<metric>("loss_by_position", std::move(given))->measure(in, out);
  return out;
}

/// Items of 1 + 12 tokens; the first is not predicted.
table made(double early, double late, std::uint64_t seed, std::size_t items = 50) {
  table out;
  for (std::size_t i = 0; i < items; ++i) {
    random_stream draw(seed, "losses", i);
    double const of_item = 0.3 * draw.normal();  // tokens of an item go together
    std::vector<double> row{none};
    for (std::size_t p = 0; p < 12; ++p) row.push_back(-((p < 5 ? early : late) + of_item + 0.1 * draw.normal()));
    out.push_back(row);
  }
  return out;
}

TEST(loss_by_position, errors_are_those_of_the_items_means) {
  auto const text = made(3, 1, 1);
  auto const out = measure(node(text), nullptr, {{"split", std::int64_t{6}}});
  auto const check = [&](std::string const& name, std::size_t first, std::size_t last) {
    std::vector<double> means;
    for (auto const& row : text) {
      double sum = 0;
      for (std::size_t p = first; p < last; ++p) sum -= row[p];
      means.push_back(sum / static_cast<double>(last - first));
    }
    double mean = 0, squares = 0;
    for (double const m : means) mean += m / 50;
    for (double const m : means) squares += (m - mean) * (m - mean);
    EXPECT_NEAR(out.at(name).scalar(), mean, 1e-12) << name;
    EXPECT_NEAR(out.at(name + "_standard_error").scalar(), std::sqrt(squares / 49 / 50), 1e-12) << name;
  };
  check("mean_loss", 1, 13), check("early_loss", 1, 6), check("late_loss", 6, 13);
  EXPECT_NEAR(out.at("gain").scalar(), 2, 0.1);
  auto const curve = out.at("loss").values(), error = out.at("loss_standard_error").values();
  EXPECT_TRUE(std::isnan(curve.get({0})) && std::isnan(error.get({0})));
  EXPECT_NEAR(curve.get({3}), 3, 0.2);
  EXPECT_NEAR(curve.get({9}), 1, 0.2);
  EXPECT_NEAR(error.get({9}), std::sqrt(0.3 * 0.3 + 0.1 * 0.1) / std::sqrt(50), 0.02);
}

TEST(loss_by_position, texts_of_other_lengths_count_by_their_tokens) {
  auto const out = measure(node({{none, -1, -1, -1}, {none, -3, none, none}, {none, none, none, none}}));
  EXPECT_DOUBLE_EQ(out.at("mean_loss").scalar(), 1.5);
  // Residuals of the items' sums: 3 - 3 * 1.5 and 3 - 1.5; the empty item counts for nothing.
  EXPECT_DOUBLE_EQ(out.at("mean_loss_standard_error").scalar(), std::sqrt((1.5 * 1.5 + 1.5 * 1.5) * 2) / 4);
  EXPECT_DOUBLE_EQ(out.at("late_loss").scalar(), 1);
  EXPECT_TRUE(std::isnan(out.at("late_loss_standard_error").scalar()));
}

TEST(loss_by_position, two_models_on_the_same_texts_differ_by_less_than_their_texts_do) {
  auto const text = made(3, 1, 1);
  auto other = text;
  for (auto& row : other)
    for (std::size_t p = 6; p < 13; ++p) row[p] -= 0.5;
  auto const one = node(text), two = node(other);
  auto const out = measure(one, &two, {{"split", std::int64_t{6}}});
  EXPECT_NEAR(out.at("early_difference").scalar(), 0, 1e-12);
  EXPECT_NEAR(out.at("late_difference").scalar(), -0.5, 1e-12);
  EXPECT_NEAR(out.at("difference").scalar(), -0.5 * 7 / 12, 1e-12);
  EXPECT_NEAR(out.at("difference_standard_error").scalar(), 0, 1e-12);
  EXPECT_GT(out.at("mean_loss_standard_error").scalar(), 0.02);
  EXPECT_NEAR(out.at("difference_at").values().get({8}), -0.5, 1e-12);
}

TEST(loss_by_position, refuses_what_it_can_not_compare) {
  auto const says = [](results const& of, results const* against, values given = {}) {
    try {
      measure(of, against, std::move(given));
    } catch (error const& e) {
      return std::string(e.what());
    }
    return std::string("nothing");
  };
  auto const one = node(made(3, 1, 1)), fewer = node(made(3, 1, 1, 20));
  auto gap = made(3, 1, 1);
  gap[4][5] = none;
  auto const other = node(gap);
  EXPECT_THAT(says(one, &fewer), HasSubstr("both must be of the same texts"));
  EXPECT_THAT(says(one, &other), HasSubstr("predict other tokens"));
  EXPECT_THAT(says(one, nullptr, {{"split", std::int64_t{13}}}), HasSubstr("split 13"));
  EXPECT_THAT(says(node({{none, none}}), nullptr), HasSubstr("no predicted token"));
  EXPECT_THAT(says(node({{none, -std::numeric_limits<double>::infinity()}}), nullptr), HasSubstr("probability 0"));
  results flat;
  flat.add("log_probability", tensor::of(std::vector<double>{1, 2}, {{"item", 2}}));
  EXPECT_THAT(says(flat, nullptr), HasSubstr("[item, pos]"));
}

}  // namespace
}  // namespace wayfarer::test
