#include <wayfarer/tensor.hpp>

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>

namespace wf = wayfarer;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

wf::tensor counting(wf::dims d) {
  wf::tensor t(wf::dtype::f64, std::move(d));
  double n = 0;
  for (double& v : t.values<double>()) v = n++;
  return t;
}

TEST(tensor, starts_at_zero_with_named_dimensions) {
  wf::tensor const t(wf::dtype::f32, {{"head", 2}, {"pos", 3}});
  EXPECT_EQ(t.count(), 6u);
  EXPECT_EQ(t.bytes(), 24u);
  EXPECT_EQ(t.size("pos"), 3u);
  for (float v : t.values<float const>()) EXPECT_EQ(v, 0.0f);
  EXPECT_THROW(t.size("layer"), wf::plugin_error);
}

TEST(tensor, a_scalar_has_one_element_and_no_dimension) {
  wf::tensor const t(2.5);
  EXPECT_EQ(t.rank(), 0u);
  EXPECT_EQ(t.count(), 1u);
  EXPECT_EQ(t(), 2.5);
}

TEST(tensor, bounds_and_types_are_checked) {
  wf::tensor const t = counting({{"a", 2}, {"b", 3}});
  EXPECT_EQ(t(1, 2), 5.0);
  EXPECT_THROW(t(2, 0), wf::plugin_error);
  EXPECT_THROW(t(1), wf::plugin_error);
  EXPECT_THROW(t.view<float const>(), wf::plugin_error);
  EXPECT_THROW(wf::tensor().view<double const>(), wf::plugin_error);
}

TEST(tensor, views_share_and_keep_alive) {
  wf::tensor row;
  {
    wf::tensor const t = counting({{"a", 3}, {"b", 4}});
    row = t[1];
    t(1, 2) = 42;
  }
  EXPECT_THAT(row.values<double const>(), ElementsAre(4, 5, 42, 7));
}

TEST(tensor, strided_views_slice_and_transpose) {
  wf::tensor const t = counting({{"a", 3}, {"b", 4}});
  wf::tensor const s = t.slice(1, 1, 3).transposed();
  EXPECT_EQ(wf::describe(s.shape()), "b 2 x a 3");
  EXPECT_FALSE(s.contiguous());
  EXPECT_THROW(s.values<double const>(), wf::plugin_error);
  EXPECT_THAT(s.clone().values<double const>(), ElementsAre(1, 5, 9, 2, 6, 10));
  EXPECT_EQ(s(1, 2), 10.0);
  EXPECT_THROW(t.slice(1, 2, 5), wf::plugin_error);
}

TEST(tensor, converts_every_stored_type) {
  std::uint16_t const halves[] = {0x3c00, 0xc000, 0x0001, 0x7c00};  // 1, -2, smallest subnormal, infinity
  auto const h = wf::tensor::look(wf::dtype::f16, halves, {{"x", 4}}, nullptr).to(wf::dtype::f64);
  EXPECT_THAT(h.values<double const>(), ElementsAre(1.0, -2.0, 0x1.0p-24, std::numeric_limits<double>::infinity()));
  std::uint16_t const brains[] = {0x3f80, 0xc000};
  EXPECT_THAT(wf::tensor::look(wf::dtype::bf16, brains, {{"x", 2}}, nullptr).to(wf::dtype::f32).values<float const>(),
              ElementsAre(1.0f, -2.0f));
  std::vector<std::int32_t> const whole{7, -3};
  EXPECT_THAT(wf::tensor::of(whole, {{"x", 2}}).to(wf::dtype::f64).values<double const>(), ElementsAre(7, -3));
}

TEST(tensor, sixteen_bit_numbers_are_made_by_rounding_to_the_nearest) {
  // Every half there is comes back from a float as it was; between two neighbours the even one wins, beyond the middle the
  // nearer.
  for (std::uint32_t h = 0; h < 0x7c00; ++h) {
    std::uint16_t const pair[] = {static_cast<std::uint16_t>(h), static_cast<std::uint16_t>(h + 1)};
    auto const exact = wf::tensor::look(wf::dtype::f16, pair, {{"x", 2}}, nullptr).to(wf::dtype::f32);
    auto const at = exact.view<float const>();
    float const below = at(0), above = h + 1 == 0x7c00 ? 65536.0f : at(1), middle = (below + above) / 2;
    std::vector<float> const x{below, -below, middle, std::nextafter(middle, below), std::nextafter(middle, above)};
    auto const halves = wf::tensor::of(x, {{"x", x.size()}}).to(wf::dtype::f16);
    auto const* const got = static_cast<std::uint16_t const*>(halves.raw());
    ASSERT_EQ(got[0], h);
    ASSERT_EQ(got[1], h | 0x8000u);
    ASSERT_EQ(got[2], h % 2 == 0 ? h : h + 1);
    ASSERT_EQ(got[3], h);
    ASSERT_EQ(got[4], h + 1);
  }
  std::vector<float> const x{std::numeric_limits<float>::quiet_NaN(), 1e30f, -std::numeric_limits<float>::infinity(), 1e-30f};
  auto const odd = wf::tensor::of(x, {{"x", x.size()}}).to(wf::dtype::f16).to(wf::dtype::f64);
  EXPECT_TRUE(std::isnan(odd(0)));
  EXPECT_TRUE(std::isinf(odd(1)) && odd(1) > 0 && std::isinf(odd(2)) && odd(2) < 0);
  EXPECT_EQ(odd(3), 0);
  std::vector<float> const brain{1.0f, 1.00390625f, 1.01171875f, -3.0f};  // the second and third lie between two bfloat16
  EXPECT_THAT(wf::tensor::of(brain, {{"x", 4}}).to(wf::dtype::bf16).to(wf::dtype::f64).values<double const>(),
              ElementsAre(1.0, 1.0, 1.015625, -3.0));
}

TEST(tensor, is_copied_into_part_of_another_of_any_type) {
  auto const from = counting({{"a", 2}, {"b", 3}});
  for (auto type : {wf::dtype::f16, wf::dtype::bf16, wf::dtype::f32, wf::dtype::f64, wf::dtype::i32, wf::dtype::i64}) {
    wf::tensor const whole(type, {{"row", 2}, {"x", 4}, {"y", 5}});
    wf::copy_into(whole[1].slice(0, 1, 3).slice(1, 2, 5), from);
    EXPECT_EQ(whole.get({1, 1, 2}), 0);
    EXPECT_EQ(whole.get({1, 1, 4}), 2);
    EXPECT_EQ(whole.get({1, 2, 3}), 4);
    EXPECT_EQ(whole.get({1, 3, 3}), 0);
    wf::copy_into(whole[0].slice(0, 0, 3).slice(1, 0, 2), from.transposed());
    EXPECT_EQ(whole.get({0, 2, 1}), 5);
    EXPECT_EQ(whole.get({0, 1, 0}), 1);
  }
  EXPECT_THROW(wf::copy_into(wf::tensor(wf::dtype::f32, {{"a", 3}, {"b", 2}}), from), wf::plugin_error);
  double const fixed[] = {1, 2};
  EXPECT_THROW(wf::copy_into(wf::tensor::look(wf::dtype::f64, fixed, {{"a", 2}}, nullptr), counting({{"a", 2}})),
               wf::plugin_error);
}

TEST(tensor, a_look_is_read_only) {
  double const x[] = {1, 2};
  auto const t = wf::tensor::look(wf::dtype::f64, x, {{"x", 2}}, nullptr);
  EXPECT_THROW(t.view<double>(), wf::plugin_error);
  EXPECT_EQ(t.view<double const>()(1), 2.0);
}

TEST(tensor, sizes_that_overflow_are_refused_before_allocating) {
  std::size_t const big = std::size_t{1} << 40;
  EXPECT_THROW(wf::tensor(wf::dtype::f32, {{"a", big}, {"b", big}}), wf::resource_error);
  EXPECT_THROW(wf::tensor(wf::dtype::f64, {{"a", std::size_t{1} << 62}}), wf::resource_error);
}

TEST(tensor, arithmetic_is_by_element_or_scalar) {
  wf::tensor const t = counting({{"a", 3}});
  EXPECT_THAT((t + t).values<double const>(), ElementsAre(0, 2, 4));
  EXPECT_THAT((t / 2.0).values<double const>(), ElementsAre(0, 0.5, 1));
  EXPECT_THAT((t * wf::tensor(3.0)).values<double const>(), ElementsAre(0, 3, 6));
  EXPECT_THROW(t + counting({{"b", 3}}), wf::plugin_error);
}

TEST(tensor, an_empty_dimension_is_legal) {
  wf::tensor const t(wf::dtype::f64, {{"item", 0}, {"b", 4}});
  EXPECT_EQ(t.count(), 0u);
  EXPECT_TRUE(t.clone().defined());
  EXPECT_EQ(t.to(wf::dtype::f32).count(), 0u);
}

}  // namespace
