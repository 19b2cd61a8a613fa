// Numbers whose effective number is known.
#include <cmath>

#include <gtest/gtest.h>

#include <wayfarer/testing.hpp>

namespace wf = wayfarer;

namespace {

double effective_number(std::vector<double> const& numbers, double power) {
  wf::dataset const given(wf::tensor::of(numbers, {{"x", numbers.size()}}));
  wf::metric_input in;
  in.put("of", "some/numbers", nullptr, &given);
  wf::results out;
  wf::testing::make_plugin<wf::metric>({{"power", power}})->measure(in, out);
  return out.at("effective_number").scalar();
}

TEST(my_metric, counts_equal_numbers) {
  EXPECT_DOUBLE_EQ(effective_number({2, 2, 2, 2}, 1), 4);
}
TEST(my_metric, leaves_out_zeros) {
  EXPECT_DOUBLE_EQ(effective_number({0, -3, 0, 3}, 1), 2);
}
TEST(my_metric, raises_to_a_power_first) {
  EXPECT_DOUBLE_EQ(effective_number({1, 2}, 2), 25.0 / 17);
}
TEST(my_metric, has_no_answer_for_zeros) {
  EXPECT_TRUE(std::isnan(effective_number({0, 0}, 1)));
}

}  // namespace
