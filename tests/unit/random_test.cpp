#include <wayfarer/random.hpp>

#include <algorithm>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace wf = wayfarer;

namespace {

TEST(random, is_philox_4x32_10) {
  // Known answers of Random123: counter and key all zeros.
  r123::Philox4x32::ctr_type const c{{0, 0, 0, 0}};
  r123::Philox4x32::key_type const k{{0, 0}};
  auto const r = r123::Philox4x32()(c, k);
  EXPECT_EQ(r.v[0], 0x6627e8d5u);
  EXPECT_EQ(r.v[3], 0x9b00dbd8u);
}

TEST(random, a_stream_is_a_function_of_its_name_and_item) {
  wf::random_stream a(7, "documents", 3), b(7, "documents", 3), other_item(7, "documents", 4), other_name(7, "masks", 3),
      other_seed(8, "documents", 3);
  bool item = false, name = false, seed = false;
  for (int i = 0; i < 100; ++i) {
    auto const x = a.bits();
    ASSERT_EQ(x, b.bits());
    item |= x != other_item.bits();
    name |= x != other_name.bits();
    seed |= x != other_seed.bits();
  }
  EXPECT_TRUE(item && name && seed);
}

// Golden values: results that were published with one version must come out of every later one.
TEST(random, stays_as_it_was_first_published) {
  wf::random_stream r(42, "golden", 1);
  EXPECT_EQ(r.bits(), 0xbe4b39adu);
  EXPECT_EQ(wf::stream_id("documents"), 0x009017e5u);
}

TEST(random, below_is_unbiased_and_in_range) {
  wf::random_stream r(1, "below");
  std::vector<int> seen(7);
  for (int i = 0; i < 70000; ++i) ++seen.at(r.below(7));
  for (int n : seen) EXPECT_NEAR(n, 10000, 500);  // 5 standard deviations
  for (int i = 0; i < 100; ++i) EXPECT_EQ(r.below(1), 0u);
}

TEST(random, uniform_and_normal_have_their_moments) {
  wf::random_stream r(2, "moments");
  double sum = 0, squares = 0, normal = 0, normal_squares = 0;
  int const n = 200000;
  for (int i = 0; i < n; ++i) {
    double const u = r.uniform(), z = r.normal();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u, squares += u * u, normal += z, normal_squares += z * z;
  }
  EXPECT_NEAR(sum / n, 0.5, 0.004);
  EXPECT_NEAR(squares / n, 1.0 / 3, 0.004);
  EXPECT_NEAR(normal / n, 0.0, 0.012);
  EXPECT_NEAR(normal_squares / n, 1.0, 0.017);
}

TEST(random, gamma_draws_have_their_mean_even_for_small_shapes) {
  for (double shape : {0.1, 0.5, 3.0}) {
    wf::random_stream r(3, "gamma");
    double sum = 0;
    int const n = 200000;
    for (int i = 0; i < n; ++i) sum += std::exp(r.log_gamma_draw(shape));
    EXPECT_NEAR(sum / n, shape, 5 * std::sqrt(shape / n)) << shape;
  }
}

TEST(random, shuffle_is_a_permutation) {
  wf::random_stream r(4, "shuffle");
  std::vector<int> v(1000);
  std::iota(v.begin(), v.end(), 0);
  r.shuffle(1000, [&](std::uint32_t i, std::uint32_t j) { std::swap(v[i], v[j]); });
  EXPECT_FALSE(std::is_sorted(v.begin(), v.end()));
  std::sort(v.begin(), v.end());
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(v[static_cast<std::size_t>(i)], i);
}

}  // namespace
