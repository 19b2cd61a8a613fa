#include <wayfarer/statistics.hpp>

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/random.hpp>

namespace wf = wayfarer;

namespace {

std::vector<double> const x{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8}, y{2.5, 7, 1.5, 8, 2.5, 8, 1.5, 8, 2.5, 4, 5, 9};

TEST(statistics, quantiles_are_linear_between_the_nearest_values) {
  // numpy.quantile([1, 2, 4, 8], q)
  std::vector<double> const v{1, 2, 4, 8};
  EXPECT_EQ(wf::quantile(v, 0), 1);
  EXPECT_EQ(wf::quantile(v, 1), 8);
  EXPECT_NEAR(wf::quantile(v, 0.25), 1.75, 1e-15);
  EXPECT_NEAR(wf::quantile(v, 0.9), 6.8, 1e-15);
  EXPECT_EQ(wf::quantile(std::vector<double>{3}, 0.7), 3);
  EXPECT_THROW(wf::quantile({}, 0.5), wf::plugin_error);
  EXPECT_THROW(wf::quantile(v, 1.5), wf::plugin_error);
  EXPECT_THROW(wf::quantile(v, std::nan("")), wf::plugin_error);
}

TEST(statistics, the_median_is_the_middle) {
  std::vector<double> odd{5, 1, 3}, even{8, 1, 4, 2};
  EXPECT_EQ(wf::median(odd), 3);
  EXPECT_EQ(wf::median(even), 3);
  std::vector<double> none;
  EXPECT_THROW(wf::median(none), wf::plugin_error);
}

TEST(ranks, equal_values_share_the_mean_of_their_ranks) {
  // scipy.stats.rankdata
  EXPECT_EQ(wf::average_ranks(x), (std::vector<double>{4.5, 1.5, 6, 1.5, 8, 12, 3, 10, 8, 4.5, 8, 11}));
  double const inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(wf::average_ranks(std::vector<double>{0, -inf, inf, -inf}), (std::vector<double>{3, 1.5, 4, 1.5}));
  EXPECT_TRUE(wf::average_ranks({}).empty());
  EXPECT_THROW(wf::average_ranks(std::vector<double>{1, std::nan("")}), wf::plugin_error);
}

TEST(ranks, correlation_with_ties_is_that_of_scipy) {
  auto const r = wf::spearman(x, y);
  EXPECT_EQ(r.count, 12);
  EXPECT_NEAR(r.value, 0.3626623518284311, 1e-14);  // scipy.stats.spearmanr
  EXPECT_NEAR(r.standard_error, 0.2988592413829209, 1e-14);
  EXPECT_NEAR(r.low, -0.2862833745830572, 1e-13);
  EXPECT_NEAR(r.high, 0.7835146684836093, 1e-13);
}

TEST(ranks, the_same_order_correlates_fully_and_a_constant_not_at_all) {
  std::vector<double> up, grown, down;
  for (int i = 0; i < 9; ++i) up.push_back(i), grown.push_back(std::exp(i)), down.push_back(-i * i);
  EXPECT_EQ(wf::spearman(up, grown).value, 1);
  EXPECT_EQ(wf::spearman(up, down).value, -1);
  EXPECT_EQ(wf::spearman(up, grown).standard_error, 0);
  EXPECT_TRUE(std::isnan(wf::spearman(up, std::vector<double>(9, 2.0)).value));
  EXPECT_TRUE(std::isnan(wf::spearman({}, {}).value));
  EXPECT_TRUE(std::isnan(wf::spearman(std::vector<double>{1}, std::vector<double>{1}).value));
  auto const three = wf::spearman(std::vector<double>{1, 2, 3}, std::vector<double>{1, 3, 2});
  EXPECT_NEAR(three.value, 0.5, 1e-15);
  EXPECT_TRUE(std::isnan(three.standard_error)) << "three pairs say nothing of an error";
  EXPECT_THROW(wf::spearman(up, x), wf::plugin_error);
}

TEST(ranks, the_standard_error_is_the_deviation_over_samples) {
  for (double const rho : {0.0, 0.6}) {
    std::size_t const samples = 2000, n = 40;
    std::vector<double> values, errors;
    std::size_t inside = 0;
    double const truth = 6 / M_PI * std::asin(rho / 2);  // Spearman's correlation of a normal law
    for (std::size_t s = 0; s < samples; ++s) {
      wf::random_stream draw(3, "ranks", s);
      std::vector<double> a, b;
      for (std::size_t i = 0; i < n; ++i) {
        double const u = draw.normal(), v = draw.normal();
        a.push_back(u), b.push_back(rho * u + std::sqrt(1 - rho * rho) * v);
      }
      auto const r = wf::spearman(a, b);
      values.push_back(r.value), errors.push_back(r.standard_error);
      inside += r.low <= truth && truth <= r.high;
    }
    double const deviation = wf::moments_of(values).deviation;
    EXPECT_NEAR(wf::moments_of(errors).mean / deviation, 1, 0.08) << rho;
    EXPECT_NEAR(static_cast<double>(inside) / static_cast<double>(samples), 0.95, 0.02) << rho;
  }
}

}  // namespace
