// intrinsic_dimension on clouds of points whose dimension is known, and against plain computations of each figure.
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <Eigen/Dense>

#include <wayfarer/error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/testing.hpp>

#include "golden_models.hpp"

namespace wf = wayfarer;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

using settings = std::initializer_list<std::pair<char const*, wf::param_value::storage>>;
using points = std::vector<std::vector<double>>;

/// One hook whose vector at a token is that token's point.
wf::testing::fixed_model model_of(points const& all) {
  wf::model_info info;
  info.architecture = "cloud", info.layers = 1, info.d_model = all[0].size(), info.vocabulary = all.size();
  info.hooks.push_back({"blocks.0.hook_resid_post", {{"d_model", all[0].size()}}});
  info.hooks.push_back({"blocks.0.attn.hook_pattern", {{"head", 1}}, true});
  return {info, [all](std::string_view, std::span<std::int32_t const> tokens) {
            wf::tensor const t(wf::dtype::f64, {{"pos", tokens.size()}, {"d_model", all[0].size()}});
            for (std::size_t p = 0; p < tokens.size(); ++p)
              for (std::size_t d = 0; d < all[0].size(); ++d) t(p, d) = all[static_cast<std::size_t>(tokens[p])][d];
            return t;
          }};
}

/// Every point once, in items of 50.
std::vector<std::vector<std::int32_t>> items_of(std::size_t count) {
  std::vector<std::vector<std::int32_t>> all;
  for (std::size_t t = 0; t < count; ++t) {
    if (t % 50 == 0) all.emplace_back();
    all.back().push_back(static_cast<std::int32_t>(t));
  }
  return all;
}

wf::results measure(settings given, points const& all, std::size_t block = 7, std::uint64_t seed = 0) {
  auto const m = model_of(all);
  return wf::testing::measure(*wf::testing::make_plugin<wf::probe>(given), &m, wf::testing::fixed_source(items_of(all.size())),
                              block, seed);
}
double number(wf::results const& r, std::string const& name) {
  return r.at(name).values()(std::size_t{0});
}

/// Normal points in `rank` of `width` dimensions, turned at random, about `mean` in the first coordinate.
points gaussian(std::size_t count, std::size_t rank, std::size_t width, std::uint64_t seed, double mean = 0) {
  wf::random_stream draw(seed, "gaussian");
  Eigen::MatrixXd const turn =
      Eigen::HouseholderQR<Eigen::MatrixXd>(Eigen::MatrixXd::NullaryExpr(static_cast<Eigen::Index>(width),
                                                                         static_cast<Eigen::Index>(width),
                                                                         [&](Eigen::Index) { return draw.normal(); }))
          .householderQ();
  points all;
  for (std::size_t i = 0; i < count; ++i) {
    Eigen::VectorXd x = Eigen::VectorXd::Zero(static_cast<Eigen::Index>(width));
    for (std::size_t j = 0; j < rank; ++j) x[static_cast<Eigen::Index>(j)] = draw.normal();
    x = turn * x;
    x[0] += mean;
    all.emplace_back(x.data(), x.data() + x.size());
  }
  return all;
}

TEST(intrinsic_dimension, of_a_gaussian_of_rank_r_is_r) {
  for (std::size_t const rank : {1, 2, 3, 5}) {
    auto const r = measure({{"sample", std::int64_t{2000}}}, gaussian(3000, rank, 16, rank));
    double const expected = static_cast<double>(rank);
    EXPECT_NEAR(number(r, "two_nn"), expected, 4 * number(r, "two_nn_standard_error")) << rank;
    EXPECT_LT(number(r, "two_nn_standard_error"), 0.035 * expected);
    EXPECT_NEAR(number(r, "participation_ratio"), expected, 4 * number(r, "participation_ratio_standard_error") + 0.03) << rank;
    EXPECT_NEAR(number(r, "effective_rank"), expected, 0.02 * expected);
    EXPECT_LT(std::abs(number(r, "mean_cosine")), 4 * number(r, "mean_cosine_standard_error") + 1e-3);
    EXPECT_EQ(number(r, "duplicates"), 0);
    EXPECT_EQ(r.at("vectors").scalar(), 3000);
    EXPECT_EQ(r.at("sampled").scalar(), 2000);
    auto const& shares = r.at("variance_share").values();
    EXPECT_GT(shares(0, rank - 1), 0.8 / expected);
    EXPECT_LT(shares(0, rank), 1e-12);
  }
}

TEST(intrinsic_dimension, of_a_curve_in_many_directions_is_one_and_its_participation_ratio_is_not) {
  points all;
  wf::random_stream draw(1, "curve");
  for (int i = 0; i < 2000; ++i) {
    double const t = 2 * M_PI * draw.uniform();
    all.emplace_back();
    for (int k = 1; k <= 4; ++k) all.back().push_back(std::cos(k * t)), all.back().push_back(std::sin(k * t));
  }
  auto const r = measure({}, all);
  EXPECT_NEAR(number(r, "two_nn"), 1, 4 * number(r, "two_nn_standard_error"));
  EXPECT_NEAR(number(r, "participation_ratio"), 8, 4 * number(r, "participation_ratio_standard_error") + 0.1);
}

TEST(intrinsic_dimension, leaves_out_duplicates_and_counts_them) {
  auto all = gaussian(600, 3, 8, 2);
  auto const without = measure({{"sample", std::int64_t{20'000}}}, all);
  auto twice = all;
  twice.insert(twice.end(), all.begin(), all.begin() + 300);
  auto const with = measure({{"sample", std::int64_t{20'000}}}, twice);
  EXPECT_NEAR(number(with, "duplicates"), 300.0 / 900, 1e-12);
  EXPECT_DOUBLE_EQ(number(with, "two_nn"), number(without, "two_nn"));
  auto const alike = measure({}, points(100, {1, 2, 3}));
  EXPECT_TRUE(std::isnan(number(alike, "two_nn")));
  EXPECT_TRUE(std::isnan(number(alike, "participation_ratio")));
  EXPECT_NEAR(number(alike, "mean_cosine"), 1, 1e-12);
  EXPECT_NEAR(number(alike, "mean_share"), 1, 1e-12);
}

TEST(intrinsic_dimension, tells_a_common_mean_from_directions) {
  auto const r = measure({}, gaussian(3000, 6, 6, 3, 10));
  // x = 10 e + z, z normal in 6 dimensions: unit vectors have the mean E[1 / sqrt(1 + c / (10 + z)^2)] along e, c chi-squared of
  // 5 degrees, 0.9756, and their cosines its square. None is left without the mean.
  EXPECT_NEAR(number(r, "mean_cosine"), 0.9517, 0.004);
  EXPECT_LT(std::abs(number(r, "mean_cosine_centred")), 4 * number(r, "mean_cosine_centred_standard_error") + 2e-3);
  EXPECT_NEAR(number(r, "mean_share"), 100.0 / 106, 0.01);
  EXPECT_NEAR(number(r, "participation_ratio"), 6, 0.1) << "of the covariance, which has no mean";
}

TEST(intrinsic_dimension, equals_plain_computations_of_all_pairs) {
  auto all = gaussian(60, 4, 5, 4, 1);
  for (std::size_t i = 0; i < 60; ++i) all[i][2] *= 3;
  auto const r = measure({{"discard", 0.0}}, all);
  auto const n = static_cast<Eigen::Index>(all.size());
  Eigen::MatrixXd x(n, 5);
  for (Eigen::Index i = 0; i < n; ++i)
    for (Eigen::Index j = 0; j < 5; ++j) x(i, j) = all[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
  double sum = 0, cosines = 0, centred = 0;
  Eigen::MatrixXd const y = x.rowwise() - x.colwise().mean();
  for (Eigen::Index i = 0; i < n; ++i) {
    std::vector<double> away;
    for (Eigen::Index j = 0; j < n; ++j)
      if (j != i) {
        away.push_back((x.row(i) - x.row(j)).norm());
        cosines += x.row(i).dot(x.row(j)) / (x.row(i).norm() * x.row(j).norm());
        centred += y.row(i).dot(y.row(j)) / (y.row(i).norm() * y.row(j).norm());
      }
    std::sort(away.begin(), away.end());
    sum += std::log(away[1] / away[0]);
  }
  EXPECT_NEAR(number(r, "two_nn"), 59 / sum, 1e-9);
  EXPECT_NEAR(number(r, "two_nn_standard_error"), 59 / sum / std::sqrt(58.0), 1e-9);
  EXPECT_NEAR(number(r, "mean_cosine"), cosines / (60 * 59), 1e-12);
  EXPECT_NEAR(number(r, "mean_cosine_centred"), centred / (60 * 59), 1e-12);
  Eigen::VectorXd const s = Eigen::JacobiSVD<Eigen::MatrixXd>(y).singularValues();
  double const squares = s.array().square().sum(), fourths = s.array().square().square().sum();
  EXPECT_NEAR(number(r, "participation_ratio"), squares * squares / fourths, 1e-9);
  double entropy = 0;
  for (double const v : s) entropy -= v / s.sum() * std::log(v / s.sum());
  EXPECT_NEAR(number(r, "effective_rank"), std::exp(entropy), 1e-6);
  // A jackknife over vectors has nearly the error that influences give.
  double mean = 0, square = 0;
  for (Eigen::Index out = 0; out < n; ++out) {
    Eigen::MatrixXd rest(n - 1, 5);
    for (Eigen::Index i = 0, k = 0; i < n; ++i)
      if (i != out) rest.row(k++) = x.row(i);
    rest.rowwise() -= rest.colwise().mean().eval();
    Eigen::MatrixXd const c = rest.transpose() * rest;
    double const ratio = c.trace() * c.trace() / c.squaredNorm();
    mean += ratio / 60, square += ratio * ratio / 60;
  }
  double const jackknife = std::sqrt(std::max(0.0, square - mean * mean) * 59);
  EXPECT_NEAR(number(r, "participation_ratio_standard_error"), jackknife, 0.25 * jackknife);
}

TEST(intrinsic_dimension, takes_the_same_sample_for_any_blocks_and_another_for_another_seed) {
  auto const all = gaussian(400, 4, 6, 5);
  auto const digest = [&](std::size_t block, int threads, std::uint64_t seed, std::string const& name) {
    return wf::test::on_threads(threads, [&] {
      return number(measure({{"sample", std::int64_t{100}}}, all, block, seed), name);
    });
  };
  for (std::string const name : {"two_nn", "mean_cosine", "duplicates"}) {
    double const one = digest(1, 1, 0, name);
    for (std::size_t const block : {2, 5, 100})
      for (int const threads : {1, 3}) EXPECT_EQ(digest(block, threads, 0, name), one) << name << block;
  }
  EXPECT_NE(digest(1, 1, 1, "two_nn"), digest(1, 1, 0, "two_nn"));
  EXPECT_EQ(digest(3, 1, 0, "participation_ratio"), digest(3, 4, 0, "participation_ratio"));
  EXPECT_NEAR(digest(1, 1, 0, "participation_ratio"), digest(100, 1, 0, "participation_ratio"), 1e-12);
}

TEST(intrinsic_dimension, takes_every_position_with_equal_chance) {
  // Items of unequal lengths, in one of which all vectors have another length: of the sample their share is that of all.
  points all(2, std::vector<double>{1, 0});
  all[1] = {0, 1};
  std::vector<std::vector<std::int32_t>> texts{std::vector<std::int32_t>(3000, 1)};
  for (int i = 0; i < 100; ++i) texts.emplace_back(30, 0);
  auto const m = model_of(all);
  auto const r = wf::testing::measure(*wf::testing::make_plugin<wf::probe>({{"sample", std::int64_t{2000}}}), &m,
                                      wf::testing::fixed_source(texts), 10);
  EXPECT_NEAR(number(r, "mean_cosine"), 0.5, 0.02);  // k of n at one point: (k (k - 1) + (n - k) (n - k - 1)) / n (n - 1)
}

TEST(intrinsic_dimension, refuses_what_has_no_neighbours) {
  EXPECT_THAT([] { measure({}, points(3, {1, 2})); }, ThrowsMessage<wf::data_error>(HasSubstr("at least 10")));
  EXPECT_THAT(
      [] {
        measure({{"skip", std::int64_t{50}}}, gaussian(100, 2, 2, 1));
      },
      ThrowsMessage<wf::data_error>(HasSubstr("`skip`")));
  EXPECT_THAT(
      [] {
        measure({{"hooks", std::vector<std::string>{"blocks.0.attn.hook_pattern"}}}, gaussian(100, 2, 2, 1));
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("pairs of positions")));
  auto const skipped = measure({{"skip", std::int64_t{10}}}, gaussian(100, 2, 2, 1));
  EXPECT_EQ(skipped.at("vectors").scalar(), 80);
}

}  // namespace
