#include <wayfarer/ops.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/random.hpp>

namespace wf = wayfarer;

namespace {

wf::tensor random_matrix(std::size_t rows, std::size_t columns, wf::dtype type, std::uint64_t item) {
  wf::random_stream r(11, "matrix", item);
  wf::tensor t(wf::dtype::f64, {{"row", rows}, {"column", columns}});
  for (double& v : t.values<double>()) v = r.normal();
  return t.to(type);
}

/// The oracle: three loops in float64.
void expect_product(wf::tensor const& a, wf::tensor const& b, double tolerance) {
  wf::tensor const c = wf::matmul(a, b), x = a.to(wf::dtype::f64), y = b.to(wf::dtype::f64);
  ASSERT_EQ(c.size(0), a.size(0));
  ASSERT_EQ(c.size(1), b.size(1));
  for (std::size_t i = 0; i < a.size(0); ++i)
    for (std::size_t j = 0; j < b.size(1); ++j) {
      double sum = 0, scale = 0;
      for (std::size_t k = 0; k < a.size(1); ++k) sum += x(i, k) * y(k, j), scale += std::abs(x(i, k) * y(k, j));
      ASSERT_NEAR(c.get({i, j}), sum, tolerance * (scale + 1e-30)) << i << ' ' << j;
    }
}

TEST(ops, matmul_equals_the_float64_oracle_however_the_operands_are_laid_out) {
  for (auto const& [m, k, n] : {std::array<std::size_t, 3>{1, 1, 1}, {7, 5, 3}, {33, 64, 17}, {1, 20, 9}, {9, 20, 1}, {5, 1, 6}})
    for (wf::dtype type : {wf::dtype::f32, wf::dtype::f64}) {
      double const tolerance = type == wf::dtype::f32 ? 1e-6 : 1e-14;
      expect_product(random_matrix(m, k, type, 1), random_matrix(k, n, type, 2), tolerance);
      expect_product(random_matrix(k, m, type, 3).transposed(), random_matrix(k, n, type, 4), tolerance);
      expect_product(random_matrix(m, k, type, 5), random_matrix(n, k, type, 6).transposed(), tolerance);
      expect_product(random_matrix(k, m, type, 7).transposed(), random_matrix(n, k, type, 8).transposed(), tolerance);
      expect_product(random_matrix(m, 3 * k, type, 9).slice(1, k, 2 * k), random_matrix(k, n, type, 10), tolerance);
    }
}

TEST(ops, matmul_refuses_shapes_that_do_not_fit) {
  EXPECT_THROW(wf::matmul(random_matrix(2, 3, wf::dtype::f32, 1), random_matrix(2, 3, wf::dtype::f32, 2)), wf::plugin_error);
}

TEST(ops, gram_is_symmetric_and_has_squared_norms) {
  wf::tensor const a = random_matrix(6, 9, wf::dtype::f64, 1), g = wf::gram(a);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(g(i, i), wf::dot(a.view<double const>().row(i), a.view<double const>().row(i)), 1e-12);
    for (std::size_t j = 0; j < 6; ++j) EXPECT_NEAR(g(i, j), g(j, i), 1e-12);
  }
}

TEST(ops, cosine_of_parallel_opposite_and_zero_vectors) {
  std::vector<float> const a{1, 2, 3}, b{-2, -4, -6}, zero{0, 0, 0};
  EXPECT_NEAR(wf::cosine(std::span<float const>(a), a), 1, 1e-12);
  EXPECT_NEAR(wf::cosine(std::span<float const>(a), b), -1, 1e-12);
  EXPECT_EQ(wf::cosine(std::span<float const>(a), zero), 0);
}

TEST(ops, moments_are_those_of_the_sample) {
  std::vector<double> const v{1, 2, 3, 4};
  auto const m = wf::moments_of(v);
  EXPECT_EQ(m.mean, 2.5);
  EXPECT_NEAR(m.deviation, std::sqrt(5.0 / 3), 1e-15);
  EXPECT_NEAR(m.standard_error(), std::sqrt(5.0 / 12), 1e-15);
  EXPECT_EQ(wf::moments_of(std::vector<double>{}).count, 0);
}

TEST(ops, top_k_and_rank_agree_with_a_stable_sort) {
  wf::random_stream r(3, "top", 0);
  for (std::size_t n : {std::size_t{1}, std::size_t{7}, std::size_t{300}}) {
    std::vector<float> v(n);
    for (auto& x : v) x = static_cast<float>(r.below(40));  // many ties
    std::vector<std::int32_t> order(n);
    for (std::size_t i = 0; i < n; ++i) order[i] = static_cast<std::int32_t>(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return v[static_cast<std::size_t>(a)] > v[static_cast<std::size_t>(b)]; });
    for (std::size_t k : {std::size_t{0}, std::size_t{1}, std::size_t{5}, n, n + 3}) {
      auto const top = wf::top_k(std::span<float const>(v), k);
      ASSERT_EQ(top, std::vector<std::int32_t>(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(std::min(k, n))));
    }
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(wf::rank_of(std::span<float const>(v), static_cast<std::size_t>(order[i])), i);
  }
  std::vector<double> const with_nan{1, std::nan(""), 3};
  EXPECT_EQ(wf::top_k(std::span<double const>(with_nan), 3), (std::vector<std::int32_t>{2, 0}));
}

}  // namespace
