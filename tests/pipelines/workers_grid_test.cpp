// The same bytes for every number of threads and workers, on four pipelines, and after a thousand kills.
#include <csignal>
#include <random>

#include "pipelines/workers.hpp"

using namespace wayfarer::test;

namespace {

struct workers_grid : shared_run {};

TEST_F(workers_grid, any_number_of_threads_and_workers_gives_the_same_bytes) {
  for (auto const& p : pipelines()) {
    std::string const whole = reference(p);
    for (std::size_t const workers : {1, 2, 3, 5})
      for (std::size_t const threads : {1, 2, 4}) {
        std::string const result = p.name + std::to_string(workers) + "-" + std::to_string(threads) + ".h5";
        EXPECT_EQ(by_workers(p, workers, threads, result), whole) << p.name << ", " << workers << " workers, " << threads;
      }
  }
}

TEST_F(workers_grid, a_thousand_kills_cost_time_alone) {
  auto const p = rows(120);
  std::string const whole = reference(p);
  std::mt19937 random(17);
  std::size_t kills = 0;
  for (std::size_t round = 0; kills < 1000; ++round) {
    std::string const result = "r" + std::to_string(round) + ".h5";
    std::vector<pid_t> children(3);
    auto const begin = [&](std::size_t i) {
      children[i] = start(with(command(p, result), {"--work", out(result + ".w"), "--threads", "1", "--worker",
                                                    std::to_string(i + 1) + "/3", "--lease", "20"}),
                          folder / ("log-" + std::to_string(i)));
    };
    for (std::size_t i = 0; i < 3; ++i) begin(i);
    for (std::size_t n = 0; n < 25; ++n) {
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 120));
      std::size_t const i = random() % 3;
      ::kill(children[i], SIGKILL);
      kills += finish(children[i], folder / ("log-" + std::to_string(i))).code == -SIGKILL;
      begin(i);
    }
    for (std::size_t i = 0; i < 3; ++i) {
      auto const ended = finish(children[i], folder / ("log-" + std::to_string(i)));
      EXPECT_EQ(ended.code, 0) << ended.out;
    }
    ASSERT_EQ(sha(result), whole) << "after " << kills << " kills";
    ASSERT_EQ(run_wayfarer(with(command(p, result), {"--work", out(result + ".w"), "--merge"})).code, 0);
    // What workers that were killed left counts as theirs until their leases end; cleaning the folder takes all of it.
    outcome const cleaned = run_wayfarer({"clean", out(result + ".w")});
    EXPECT_EQ(cleaned.code, 0) << cleaned.out;
    EXPECT_FALSE(std::filesystem::exists(folder / (result + ".w"))) << "after " << kills << " kills";
    std::filesystem::remove_all(folder / (result + ".w"));
    std::filesystem::remove(folder / result);
  }
}

}  // namespace
