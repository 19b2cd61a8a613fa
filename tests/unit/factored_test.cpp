#include <wayfarer/factored.hpp>

#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <Eigen/Core>

#include <wayfarer/error.hpp>
#include <wayfarer/random.hpp>

#include "dense_oracles.hpp"

namespace wf = wayfarer;

namespace {

wf::tensor random_matrix(std::size_t rows, std::size_t columns, std::uint64_t item) {
  wf::random_stream r(12, "factor", item);
  wf::tensor t(wf::dtype::f64, {{"row", rows}, {"column", columns}});
  for (double& v : t.values<double>()) v = r.normal();
  return t;
}

Eigen::MatrixXd formed(wf::tensor const& a) {
  Eigen::MatrixXd m(a.size(0), a.size(1));
  for (std::size_t i = 0; i < a.size(0); ++i)
    for (std::size_t j = 0; j < a.size(1); ++j) m(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) = a.get({i, j});
  return m;
}

struct shape {
  std::size_t m, r, n;
};
void PrintTo(shape const& s, std::ostream* to) {
  *to << s.m << " x " << s.r << " x " << s.n;
}

class factored : public testing::TestWithParam<shape> {};

TEST_P(factored, svd_agrees_with_the_one_of_the_formed_matrix) {
  auto const [m, r, n] = GetParam();
  auto const a = random_matrix(m, r, 1), b = random_matrix(r, n, 2);
  auto const svd = wf::svd_of_product(a, b);
  Eigen::MatrixXd const full = formed(a) * formed(b);
  Eigen::VectorXd const expected = dense::singular_values(full);
  double const largest = expected[0];
  for (std::size_t i = 0; i < r; ++i) EXPECT_NEAR(svd.values(i), expected[static_cast<Eigen::Index>(i)], 1e-12 * largest);
  Eigen::MatrixXd const u = formed(svd.left), v = formed(svd.right);
  Eigen::VectorXd s(r);
  for (std::size_t i = 0; i < r; ++i) s[static_cast<Eigen::Index>(i)] = svd.values(i);
  EXPECT_LT((u.transpose() * s.asDiagonal() * v - full).cwiseAbs().maxCoeff(), 1e-12 * largest);
  EXPECT_LT((u * u.transpose() - Eigen::MatrixXd::Identity(u.rows(), u.rows())).cwiseAbs().maxCoeff(), 1e-12);
  EXPECT_LT((v * v.transpose() - Eigen::MatrixXd::Identity(v.rows(), v.rows())).cwiseAbs().maxCoeff(), 1e-12);
  auto const alone = wf::singular_values_of_product(a, b);
  for (std::size_t i = 0; i < r; ++i) EXPECT_NEAR(alone(i), svd.values(i), 1e-12 * largest);
  EXPECT_NEAR(wf::frobenius_norm_of_product(a, b), full.norm(), 1e-12 * full.norm());
}

INSTANTIATE_TEST_SUITE_P(shapes, factored,
                         testing::Values(shape{1, 1, 1}, shape{8, 1, 5}, shape{9, 3, 7}, shape{40, 16, 40}, shape{24, 24, 24}));

TEST(factored, eigenvalues_are_those_of_the_formed_matrix_without_its_zeros) {
  auto const a = random_matrix(20, 5, 3), b = random_matrix(5, 20, 4);
  Eigen::MatrixXd const full = formed(a) * formed(b);
  Eigen::VectorXcd all = dense::eigen_of(full).values;
  std::sort(all.begin(), all.end(), [](auto x, auto y) { return std::abs(x) > std::abs(y); });
  auto const got = wf::eigen_of_product(a, b);
  auto const values = wf::eigenvalues_of_product(a, b);
  ASSERT_EQ(got.values.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(std::abs(got.values[i]), std::abs(all[static_cast<Eigen::Index>(i)]), 1e-10);
    EXPECT_NEAR(std::abs(values[i] - got.values[i]), 0, 1e-10);
    Eigen::VectorXcd const v = Eigen::Map<Eigen::VectorXcd const>(got.vectors[i].data(), 20);
    EXPECT_NEAR(v.norm(), 1, 1e-12);
    EXPECT_LT((full.cast<std::complex<double>>() * v - got.values[i] * v).norm(), 1e-10 * full.norm());
  }
}

TEST(factored, triangle_keeps_lengths) {
  auto const a = random_matrix(30, 6, 7);
  Eigen::MatrixXd const r = formed(wf::triangle_of(a)), full = formed(a);
  EXPECT_LT((r.transpose() * r - full.transpose() * full).cwiseAbs().maxCoeff(), 1e-12);
  for (Eigen::Index i = 0; i < 6; ++i)
    for (Eigen::Index j = 0; j < i; ++j) EXPECT_EQ(r(i, j), 0);
}

TEST(factored, takes_strided_float32_views) {
  auto const a = random_matrix(4, 12, 5).to(wf::dtype::f32), b = random_matrix(4, 12, 6).to(wf::dtype::f32);
  auto const svd = wf::singular_values_of_product(a.transposed(), b);
  Eigen::VectorXd const expected = dense::singular_values(formed(a).transpose() * formed(b));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(svd(i), expected[static_cast<Eigen::Index>(i)], 1e-10);
}

TEST(factored, refuses_what_it_cannot_decompose) {
  EXPECT_THROW(wf::svd_of_product(random_matrix(3, 5, 1), random_matrix(5, 9, 2)), wf::plugin_error);
  EXPECT_THROW(wf::svd_of_product(random_matrix(9, 5, 1), random_matrix(4, 9, 2)), wf::plugin_error);
  EXPECT_THROW(wf::eigenvalues_of_product(random_matrix(9, 2, 1), random_matrix(2, 8, 2)), wf::plugin_error);
  auto broken = random_matrix(9, 2, 1);
  broken(3, 1) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(wf::svd_of_product(broken, random_matrix(2, 8, 2)), wf::data_error);
}

}  // namespace
