#include <wayfarer/packed_numbers.hpp>

#include <limits>

#include <gtest/gtest.h>

namespace wf = wayfarer;

TEST(packed_numbers, come_back_in_order) {
  wf::packed_numbers all;
  std::vector<std::uint64_t> const odd{0, 1, 127, 128, 16383, 16384, 0xffffffff, std::numeric_limits<std::uint64_t>::max()};
  // Enough that numbers lie across the borders of chunks.
  for (int round = 0; round < 20'000; ++round)
    for (auto const n : odd) all.push_back(n);
  ASSERT_EQ(all.size(), 20'000 * odd.size());
  wf::packed_numbers::reader read(all);
  for (int round = 0; round < 20'000; ++round)
    for (auto const n : odd) ASSERT_EQ(read.next(), n);
}
