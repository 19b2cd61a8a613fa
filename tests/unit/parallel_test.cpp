// Loops over threads: every piece is done, or an error says so.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>

namespace wayfarer {
namespace {

TEST(parallel_for, does_each_piece_once_and_throws_what_a_piece_throws) {
  std::vector<std::atomic<int>> done(1000);
  parallel_for(done.size(), [&](std::size_t i) { ++done[i]; });
  for (auto const& d : done) EXPECT_EQ(d, 1);
  EXPECT_THROW(parallel_for(10,
                            [](std::size_t i) {
                              if (i == 7) throw data_error("seven");
                            }),
               data_error);
}

// Pieces that nobody did must not pass for done: what they should have made is read next.
TEST(parallel_for, does_not_return_with_pieces_left_out_when_something_around_it_fails) {
  for (int round = 0; round < 5; ++round) {
    std::atomic<bool> failed{false}, begun{false};
    auto const in_time = [] { return std::chrono::steady_clock::now() + std::chrono::milliseconds(200); };
    std::atomic<int> lied{0};
    EXPECT_THROW(parallel_for(2,
                              [&](std::size_t i) {
                                if (i == 0) {
                                  // With one thread the other piece never begins.
                                  for (auto const until = in_time(); !begun && std::chrono::steady_clock::now() < until;)
                                    std::this_thread::yield();
                                  failed = true;
                                  throw data_error("first");
                                }
                                begun = true;
                                // Ends when the outer loop is given up, which the inner one must say.
                                for (auto const until = in_time(); std::chrono::steady_clock::now() < until;) {
                                  std::atomic<int> done{0};
                                  parallel_for(100, [&](std::size_t) { ++done; });
                                  if (done != 100) ++lied;
                                }
                              }),
                 data_error);
    EXPECT_TRUE(failed);
    EXPECT_EQ(lied, 0);
  }
}

}  // namespace
}  // namespace wayfarer
