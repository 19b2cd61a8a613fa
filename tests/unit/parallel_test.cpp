// Loops over threads: every piece is done, or an error says so.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/stopping.hpp>

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

TEST(stopping, ends_loops_between_their_pieces_but_for_what_must_be_whole) {
  auto const loop = [] {
    std::atomic<int> done{0};
    parallel_for(100, [&](std::size_t) { ++done; });
    return done.load();
  };
  EXPECT_FALSE(ask_to_stop(2)) << "nothing listens";
  EXPECT_EQ(loop(), 100);
  {
    stoppable_work listening;
    EXPECT_NO_THROW(stop_if_asked());
    EXPECT_TRUE(ask_to_stop(0));
    EXPECT_TRUE(ask_to_stop(15)) << "says more than that a part has failed";
    EXPECT_TRUE(ask_to_stop(2)) << "the first signal stays";
    EXPECT_THROW(stop_if_asked(), stopped);
    try {
      loop();
      ADD_FAILURE() << "went on";
    } catch (stopped const& e) {
      EXPECT_STREQ(e.what(), "stopped by SIGTERM");
      EXPECT_EQ(e.exit_code(), 128 + 15);
    }
    {
      undivided_work const whole;
      EXPECT_EQ(loop(), 100);
    }
    EXPECT_THROW(loop(), stopped);
    EXPECT_EQ(listening.end(), 15);
  }
  stoppable_work again;
  EXPECT_EQ(loop(), 100);
  ask_to_stop(0);
  try {
    stop_if_asked();
  } catch (stopped const& e) {
    EXPECT_EQ(e.exit_code(), 5);
  }
  EXPECT_EQ(again.end(), 0);
}

}  // namespace
}  // namespace wayfarer
