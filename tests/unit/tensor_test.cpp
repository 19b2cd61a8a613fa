#include <wayfarer/tensor.hpp>

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
