// cka on vectors that are the same but for a turn, that share some directions, or none; against the definition of both estimates.
#include <cmath>
#include <map>
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
using layers = std::vector<Eigen::MatrixXd>;  // [layer]: a row for each token

Eigen::MatrixXd normal(Eigen::Index rows, Eigen::Index columns, std::uint64_t seed) {
  wf::random_stream draw(seed, "normal");
  return Eigen::MatrixXd::NullaryExpr(rows, columns, [&](Eigen::Index) { return draw.normal(); });
}
Eigen::MatrixXd turn(Eigen::Index width, std::uint64_t seed) {
  return Eigen::HouseholderQR<Eigen::MatrixXd>(normal(width, width, seed)).householderQ();
}

/// Every token once, in items of 10; the vector at layer l is the token's row.
wf::results measure(settings given, layers const& all, std::size_t block = 3) {
  wf::model_info info;
  info.architecture = "layers", info.layers = all.size();
  for (std::size_t l = 0; l < all.size(); ++l)
    info.hooks.push_back(
        {"blocks." + std::to_string(l) + ".hook_resid_post", {{"d_model", static_cast<std::size_t>(all[l].cols())}}});
  wf::testing::fixed_model const m(info, [&](std::string_view hook, std::span<std::int32_t const> tokens) {
    auto const& x = all[static_cast<std::size_t>(hook[7] - '0')];
    wf::tensor const t(wf::dtype::f64, {{"pos", tokens.size()}, {"d_model", static_cast<std::size_t>(x.cols())}});
    for (std::size_t p = 0; p < tokens.size(); ++p)
      for (Eigen::Index d = 0; d < x.cols(); ++d) t(p, static_cast<std::size_t>(d)) = x(tokens[p], d);
    return t;
  });
  std::vector<std::vector<std::int32_t>> items;
  for (std::int32_t t = 0; t < all[0].rows(); ++t) {
    if (t % 10 == 0) items.emplace_back();
    items.back().push_back(t);
  }
  return wf::testing::measure(*wf::testing::make_plugin<wf::probe>(given), &m, wf::testing::fixed_source(items), block);
}
double at(wf::results const& r, std::string const& name, std::size_t a, std::size_t b) {
  return r.at(name).values()(a, b);
}

TEST(cka, is_one_of_turned_and_scaled_vectors_and_none_of_unrelated_ones) {
  auto const x = normal(300, 40, 1);
  Eigen::MatrixXd moved = 3 * x * turn(40, 2);
  moved.rowwise() += Eigen::RowVectorXd::Constant(40, 7);
  auto const r = measure({}, {x, moved, normal(300, 200, 3)});
  EXPECT_NEAR(at(r, "cka", 0, 1), 1, 1e-9);
  EXPECT_NEAR(at(r, "cka", 0, 0), 1, 1e-12);
  EXPECT_EQ(at(r, "cka", 0, 2), at(r, "cka", 2, 0));
  EXPECT_LT(std::abs(at(r, "cka", 0, 2)), 4 * at(r, "cka_shuffled_deviation", 0, 2));
  EXPECT_LT(std::abs(at(r, "cka", 0, 2)), 0.03);
  EXPECT_GT(at(r, "cka_biased", 0, 2), 0.1) << "the usual estimate is far above 0: 200 dimensions, 300 vectors";
  EXPECT_LT(std::abs(at(r, "cka_shuffled", 0, 1)), 0.03) << "the control of what is the same";
}

TEST(cka, finds_the_share_that_is_common) {
  // y has k of x's 10 directions, and others: CKA = k / 10 with equal variances.
  auto const x = normal(4000, 10, 4), other = normal(4000, 10, 5);
  for (Eigen::Index const k : {2, 5, 8}) {
    Eigen::MatrixXd y = other;
    y.leftCols(k) = x.leftCols(k);
    auto const r = measure({{"sample", std::int64_t{2000}}}, {x, y * turn(10, 6)}, 20);
    EXPECT_NEAR(at(r, "cka", 0, 1), static_cast<double>(k) / 10, 4 * at(r, "cka_standard_error", 0, 1));
    EXPECT_LT(at(r, "cka_standard_error", 0, 1), 0.02);
  }
}

TEST(cka, equals_both_definitions) {
  Eigen::Index const n = 24;
  auto const x = normal(n, 5, 7);
  Eigen::MatrixXd const y = x * normal(5, 3, 8) + normal(n, 3, 9);
  auto const r = measure({}, {x, y});
  // U-statistic over all quadruples of different rows, of inner products that are not centred.
  auto const hsic = [&](Eigen::MatrixXd const& a, Eigen::MatrixXd const& b) {
    Eigen::MatrixXd const k = a * a.transpose(), l = b * b.transpose();
    double sum = 0;
    for (Eigen::Index i = 0; i < n; ++i)
      for (Eigen::Index j = 0; j < n; ++j)
        for (Eigen::Index q = 0; q < n; ++q)
          for (Eigen::Index s = 0; s < n; ++s)
            if (i != j && i != q && i != s && j != q && j != s && q != s) sum += k(i, j) * (l(i, j) + l(q, s) - 2 * l(i, q));
    return sum;
  };
  EXPECT_NEAR(at(r, "cka", 0, 1), hsic(x, y) / std::sqrt(hsic(x, x) * hsic(y, y)), 1e-9);
  Eigen::MatrixXd const a = x.rowwise() - x.colwise().mean(), b = y.rowwise() - y.colwise().mean();
  double const usual = (b.transpose() * a).squaredNorm() / ((a.transpose() * a).norm() * (b.transpose() * b).norm());
  EXPECT_NEAR(at(r, "cka_biased", 0, 1), usual, 1e-12);
}

TEST(cka, has_the_same_bytes_for_any_block_and_number_of_threads) {
  auto const x = normal(90, 6, 10);
  layers const all{x, x * normal(6, 4, 11)};
  auto const digest = [&](std::size_t block, int threads) {
    auto const r = wf::test::on_threads(threads, [&] { return measure({{"sample", std::int64_t{60}}}, all, block); });
    std::string bytes;
    for (auto const& name : r.names()) {
      auto const t = r.at(name).values().to(wf::dtype::f64);
      bytes.append(static_cast<char const*>(t.raw()), t.bytes());
    }
    return bytes;
  };
  auto const one = digest(1, 1);
  for (std::size_t const block : {2, 9})
    for (int const threads : {1, 4}) EXPECT_EQ(digest(block, threads), one) << block << ' ' << threads;
}

TEST(cka, refuses_few_vectors_and_says_where_all_are_alike) {
  EXPECT_THAT([] { measure({}, {normal(10, 3, 1)}); }, ThrowsMessage<wf::data_error>(HasSubstr("at least 24")));
  auto const r = measure({}, {normal(50, 3, 1), Eigen::MatrixXd::Constant(50, 3, 2)});
  EXPECT_TRUE(std::isnan(at(r, "cka", 0, 1)));
  EXPECT_TRUE(std::isnan(at(r, "cka", 1, 1)));
}

}  // namespace
