// Projections: pca against a decomposition written out, umap's parts against brute force and its layout by what it must keep.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <Eigen/Core>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/random.hpp>

#include "dense_oracles.hpp"
#include "golden_models.hpp"
#include "metrics/umap/layout.hpp"
#include "run_plugins.hpp"

namespace wf = wayfarer;
namespace um = wayfarer::umap_layout;

namespace {

/// `each` points around each of three far centres.
wf::tensor clusters(std::size_t each, std::size_t width) {
  wf::tensor t(wf::dtype::f32, {{"point", 3 * each}, {"coordinate", width}});
  wf::random_stream draw(5, "clusters", 0);
  std::vector<double> center(3 * width);
  for (double& v : center) v = 6 * draw.normal();
  auto const to = t.values<float>();
  for (std::size_t i = 0; i < 3 * each; ++i)
    for (std::size_t j = 0; j < width; ++j) to[i * width + j] = static_cast<float>(center[i % 3 * width + j] + draw.normal());
  return t;
}

wf::tensor swiss_roll(std::size_t n) {
  wf::tensor t(wf::dtype::f32, {{"point", n}, {"coordinate", 3}});
  wf::random_stream draw(6, "roll", 0);
  auto const to = t.values<float>();
  for (std::size_t i = 0; i < n; ++i) {
    double const angle = 1.5 * 3.14159265358979 * (1 + 2 * draw.uniform());
    to[i * 3] = static_cast<float>(angle * std::cos(angle));
    to[i * 3 + 1] = static_cast<float>(21 * draw.uniform());
    to[i * 3 + 2] = static_cast<float>(angle * std::sin(angle));
  }
  return t;
}

wf::results measure(std::string const& id, wf::test::values const& given, wf::dataset const& of,
                    wf::dataset const* also = nullptr) {
  wf::metric_input in;
  in.put("of", "test/points", nullptr, &of);
  if (also) in.put("also", "test/more", nullptr, also);
  wf::results out;
  wf::test::make<wf::metric>(id, given)->measure(in, out);
  return out;
}

TEST(pca, agrees_with_a_singular_value_decomposition) {
  for (auto const& [n, d] : {std::pair<std::size_t, std::size_t>{40, 7}, {6, 30}}) {
    wf::random_stream draw(1, "points", n);
    wf::tensor x(wf::dtype::f64, {{"item", n}, {"d_model", d}});
    for (double& v : x.values<double>()) v = 3 + draw.normal();
    auto const out = measure("pca", {{"components", std::int64_t{4}}}, wf::dataset(x));
    Eigen::MatrixXd m(n, d);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < d; ++j) m(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) = x(i, j);
    m.rowwise() -= m.colwise().mean().eval();
    dense::svd const svd = dense::svd_of(m);
    double shares = 0;
    for (std::size_t c = 0; c < 4; ++c) {
      auto const k = static_cast<Eigen::Index>(c);
      double const s = svd.values[k];
      EXPECT_NEAR(out.at("explained_variance").values()(c), s * s / static_cast<double>(n - 1), 1e-10);
      shares += out.at("explained_share").values()(c);
      double largest = 0, product = 0;
      for (std::size_t j = 0; j < d; ++j) {
        double const v = out.at("components").values()(c, j);
        product += v * svd.right(static_cast<Eigen::Index>(j), k);
        if (std::abs(v) > std::abs(largest)) largest = v;
      }
      EXPECT_NEAR(std::abs(product), 1, 1e-9);
      EXPECT_GT(largest, 0);
      for (std::size_t i = 0; i < n; ++i)
        EXPECT_NEAR(out.at("points").values()(i, c), (product > 0 ? 1 : -1) * s * svd.left(static_cast<Eigen::Index>(i), k),
                    1e-8);
    }
    EXPECT_LE(shares, 1 + 1e-12);
  }
}

TEST(pca, leaves_padding_out_and_in_its_place) {
  wf::random_stream draw(2, "points", 0);
  wf::tensor x(wf::dtype::f64, {{"item", 3}, {"pos", 4}, {"d_model", 5}});
  for (double& v : x.values<double>()) v = draw.normal();
  for (std::size_t j = 0; j < 5; ++j) x(1, 3, j) = std::nan("");
  auto const out = measure("pca", {{"components", std::int64_t{2}}}, wf::dataset(x));
  auto const& points = out.at("points").values();
  EXPECT_EQ(points.shape(), (wf::dims{{"item", 3}, {"pos", 4}, {"component", 2}}));
  EXPECT_TRUE(std::isnan(points(1, 3, 0)));
  double sum = 0;
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t p = 0; p < 4; ++p) sum += i == 1 && p == 3 ? 0 : points(i, p, 0);
  EXPECT_NEAR(sum, 0, 1e-10);
  EXPECT_THROW(measure("pca", {}, wf::dataset(wf::tensor(wf::dtype::f64, {{"item", 3}}))), wf::usage_error);
}

TEST(umap, neighbours_are_the_nearest) {
  auto const x = clusters(70, 9);
  auto const near = um::nearest(x, x, 12);
  auto const v = x.view<float const>();
  for (std::size_t i = 0; i < x.size(0); ++i) {
    std::vector<std::pair<double, std::uint32_t>> all;
    for (std::size_t j = 0; j < x.size(0); ++j) {
      double s = 0;
      for (std::size_t c = 0; c < 9; ++c) s += std::pow(static_cast<double>(v(i, c)) - static_cast<double>(v(j, c)), 2);
      all.emplace_back(std::sqrt(s), static_cast<std::uint32_t>(j));
    }
    std::sort(all.begin(), all.end());
    for (std::size_t e = 0; e < 12; ++e) {
      EXPECT_EQ(near.index[i * 12 + e], all[e].second);
      EXPECT_NEAR(near.distance[i * 12 + e], all[e].first, 1e-5);
    }
  }
  EXPECT_EQ(um::nearest(x, x, 1000).k, x.size(0));
}

TEST(umap, weights_of_each_point_sum_to_the_logarithm_of_its_neighbours) {
  auto const x = clusters(50, 6);
  auto const near = um::nearest(x, x, 15);
  auto const s = um::scales_of(near, 1);
  for (std::size_t i = 0; i < x.size(0); ++i) {
    double sum = 0;
    for (std::size_t e = 1; e < 15; ++e)
      sum +=
          std::exp(-std::max(0.0, static_cast<double>(near.distance[i * 15 + e] - s.rho[i])) / static_cast<double>(s.sigma[i]));
    EXPECT_NEAR(sum, std::log2(15.0), 1e-3);
    EXPECT_EQ(s.rho[i], near.distance[i * 15 + 1]);
  }
  auto const g = um::fuzzy_graph(near, s);
  for (std::size_t i = 0; i < g.points(); ++i)
    for (std::size_t e = g.begin[i]; e < g.begin[i + 1]; ++e) {
      ASSERT_GT(g.weight[e], 0);
      ASSERT_LE(g.weight[e], 1);
      auto const first = g.to.begin() + static_cast<std::ptrdiff_t>(g.begin[g.to[e]]),
                 last = g.to.begin() + static_cast<std::ptrdiff_t>(g.begin[g.to[e] + 1]);
      auto const back = std::lower_bound(first, last, static_cast<std::uint32_t>(i));
      ASSERT_TRUE(back != last && *back == i);
      EXPECT_EQ(g.weight[static_cast<std::size_t>(back - g.to.begin())], g.weight[e]);
    }
}

TEST(umap, curve_is_the_least_squares_fit) {
  auto const c = um::fit_curve(0.1, 1);  // umap-learn's figures
  EXPECT_NEAR(c.a, 1.57694, 1e-4);
  EXPECT_NEAR(c.b, 0.89506, 1e-4);
}

TEST(umap, eigenmap_agrees_with_a_dense_decomposition) {
  auto const x = swiss_roll(160);
  auto const near = um::nearest(x, x, 20);
  auto const g = um::equal_graph(near);
  auto const got = um::eigenmap(g, 3, 0);
  Eigen::MatrixXd a = Eigen::MatrixXd::Zero(160, 160);
  for (std::size_t i = 0; i < 160; ++i)
    for (std::size_t e = g.begin[i]; e < g.begin[i + 1]; ++e)
      a(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(g.to[e])) = static_cast<double>(g.weight[e]);
  Eigen::VectorXd const degree = a.rowwise().sum(), root = degree.cwiseSqrt();
  Eigen::MatrixXd const s = root.cwiseInverse().asDiagonal() * a * root.cwiseInverse().asDiagonal();
  dense::symmetric_eigen const solver = dense::symmetric_eigen_of(s);
  for (std::size_t c = 0; c < 3; ++c) {
    Eigen::VectorXd expected = solver.vectors.col(158 - static_cast<Eigen::Index>(c)).cwiseQuotient(root);
    Eigen::Index largest = 0;
    expected.cwiseAbs().maxCoeff(&largest);
    if (expected[largest] < 0) expected = -expected;
    for (std::size_t i = 0; i < 160; ++i)
      EXPECT_NEAR(got(i, c), expected[static_cast<Eigen::Index>(i)], 1e-3 * expected.cwiseAbs().maxCoeff());
  }
}

TEST(umap, keeps_three_clusters_apart_and_whole) {
  auto const x = clusters(150, 50);
  um::settings how;
  how.components = 2;
  // umap-learn 0.5.3 on these very points, seeds 0 to 2: 0.8962, 0.8962, 0.8971.
  for (auto const start : {um::start_kind::laplacian, um::start_kind::spectral, um::start_kind::random}) {
    how.start = start;
    auto const fit = um::lay_out(x, how);
    EXPECT_NEAR(um::trustworthiness(x, fit.layout, 15), 0.8965, 0.01) << static_cast<int>(start);
    auto const near = um::nearest(fit.layout, fit.layout, 10);
    std::size_t strangers = 0;
    for (std::size_t i = 0; i < x.size(0); ++i)
      for (std::size_t e = 0; e < 10; ++e) strangers += near.index[i * 10 + e] % 3 != i % 3;
    EXPECT_EQ(strangers, 0u) << static_cast<int>(start);
  }
}

TEST(umap, unrolls_what_principal_components_cannot) {
  auto const x = swiss_roll(1000);
  um::settings how;
  how.components = 2;
  auto const layout = um::lay_out(x, how).layout;
  auto const flat = measure("pca", {{"components", std::int64_t{2}}}, wf::dataset(x)).at("points").values().to(wf::dtype::f32);
  double const ours = um::trustworthiness(x, layout, 15), linear = um::trustworthiness(x, flat, 15);
  EXPECT_NEAR(ours, 0.9974, 0.001);  // umap-learn 0.5.3 on these points: 0.9973 to 0.9975
  EXPECT_GT(ours, linear);
}

TEST(umap, trustworthiness_is_one_for_a_faithful_copy_and_near_a_half_for_noise) {
  auto const x = clusters(60, 4);
  EXPECT_EQ(um::trustworthiness(x, x, 10), 1);
  wf::tensor noise(wf::dtype::f32, {{"point", x.size(0)}, {"component", 2}});
  wf::random_stream draw(9, "noise", 0);
  for (float& v : noise.values<float>()) v = static_cast<float>(draw.normal());
  EXPECT_NEAR(um::trustworthiness(x, noise, 10), 0.5, 0.1);
}

TEST(umap, trustworthiness_is_missing_where_it_is_not_defined) {
  auto const x = clusters(5, 4);  // 15 points: half of them are no neighbours of anybody
  EXPECT_THROW(um::trustworthiness(x, x, 8), wf::usage_error);
  EXPECT_EQ(um::trustworthiness(x, x, 7), 1);
  auto const few = measure("umap", {{"epochs", std::int64_t{5}}, {"neighbors", std::int64_t{8}}}, wf::dataset(x));
  EXPECT_TRUE(std::isnan(few.at("trustworthiness").scalar()));
  EXPECT_THAT(few.at("trustworthiness").missing(), testing::HasSubstr("of 15 points `neighbors` may be at most 7, not 8"));
  auto const enough = measure("umap", {{"epochs", std::int64_t{5}}, {"neighbors", std::int64_t{7}}}, wf::dataset(x));
  EXPECT_FALSE(std::isnan(enough.at("trustworthiness").scalar()));
}

TEST(umap, places_a_known_point_where_it_is_and_new_ones_with_their_kind) {
  auto const x = clusters(100, 20);
  um::settings how;
  auto const fit = um::lay_out(x, how);
  auto const again = um::place(fit, x.slice(0, 0, 9));
  auto const near = um::nearest(again, fit.layout, 5);
  std::size_t strangers = 0;
  for (std::size_t i = 0; i < 9; ++i)
    for (std::size_t e = 0; e < 5; ++e) strangers += near.index[i * 5 + e] % 3 != i % 3;
  EXPECT_EQ(strangers, 0u);
  // A point's place depends on itself and its number alone.
  auto const fewer = um::place(fit, x.slice(0, 0, 4));
  EXPECT_EQ(std::memcmp(fewer.raw(), again.raw(), fewer.bytes()), 0);
}

TEST(umap, same_seed_same_bytes_and_another_seed_another_layout) {
  auto const x = clusters(40, 8);
  um::settings how;
  how.epochs = 50;
  auto const a = um::lay_out(x, how).layout, b = um::lay_out(x, how).layout;
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0);
  how.seed = 1;
  auto const c = um::lay_out(x, how).layout;
  EXPECT_NE(std::memcmp(a.raw(), c.raw(), a.bytes()), 0);
}

TEST(umap, same_bytes_for_any_number_of_threads) {
  auto const x = clusters(400, 20), more = clusters(7, 20);
  um::settings how;
  how.epochs = 30;
  auto const all = [&](int threads) {
    return wf::test::on_threads(threads, [&] {
      auto const fit = um::lay_out(x, how);
      return std::pair(fit.layout, um::place(fit, more));
    });
  };
  auto const one = all(1), three = all(3);
  EXPECT_TRUE(wf::test::same_bytes(one.first, three.first));
  EXPECT_TRUE(wf::test::same_bytes(one.second, three.second));
}

TEST(umap, plugin_reports_layout_and_trust_and_refuses_what_it_cannot_lay_out) {
  auto const x = clusters(30, 8);
  wf::dataset const of(x), also(x.slice(0, 0, 5));
  auto const out = measure("umap", {{"epochs", std::int64_t{60}}}, of, &also);
  EXPECT_EQ(out.at("points").shape(), (wf::dims{{"point", 90}, {"component", 3}}));
  EXPECT_EQ(out.at("also_points").shape(), (wf::dims{{"point", 5}, {"component", 3}}));
  EXPECT_GT(out.at("trustworthiness").scalar(), 0.9);
  EXPECT_THROW(measure("umap", {}, wf::dataset(x.slice(0, 0, 4))), wf::data_error);
  wf::dataset const narrow(clusters(5, 3));
  EXPECT_THROW(measure("umap", {}, of, &narrow), wf::usage_error);
}

}  // namespace
