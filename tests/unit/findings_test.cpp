#include <wayfarer/findings.hpp>

#include <limits>

#include <gtest/gtest.h>

namespace wf = wayfarer;

TEST(findings, numbers_have_the_digits_asked_for_and_no_exponent_below_ten_million) {
  EXPECT_EQ(wf::told(1.4142), "1.41");
  EXPECT_EQ(wf::told(1.4142, 3, true), "+1.41");
  EXPECT_EQ(wf::told(-0.0), "0");
  EXPECT_EQ(wf::told(100, 2), "100");
  EXPECT_EQ(wf::told(123.4, 2), "123");
  EXPECT_EQ(wf::told(99.6, 2), "100");
  EXPECT_EQ(wf::told(-1234567.0), "-1234567");
  EXPECT_EQ(wf::told(12345678.0), "1.23e+07");
  EXPECT_EQ(wf::told(0.000012345), "1.23e-05");
  EXPECT_EQ(wf::told(std::numeric_limits<double>::quiet_NaN()), "no number");
  EXPECT_EQ(wf::told(-std::numeric_limits<double>::infinity()), "-infinity");
}

TEST(findings, nouns_agree_with_their_count) {
  EXPECT_EQ(wf::counted(1, "pair"), "1 pair");
  EXPECT_EQ(wf::counted(0, "pair"), "0 pairs");
}
