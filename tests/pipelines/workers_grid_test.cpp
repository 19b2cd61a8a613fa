// The same bytes for every number of threads and workers, on four pipelines, however the workers are started. Under Slurm:
// cluster/slurm_test.py.
#include "pipelines/workers.hpp"

using namespace wayfarer::test;

namespace {

struct workers_grid : shared_run {
  std::filesystem::path log() const { return folder / "log"; }

  /// Workers of one command.
  std::string by_processes(pipeline const& p, std::size_t workers, std::size_t threads, std::string const& result) const {
    auto const ended =
        run_wayfarer(with(command(p, result), {"--processes", std::to_string(workers), "--threads", std::to_string(threads)}));
    EXPECT_EQ(ended.code, 0) << ended.out;
    return sha(result);
  }

  /// Ranks of a job. One rank alone is no worker by itself, so that the folder is named.
  std::string by_mpirun(pipeline const& p, std::size_t workers, std::size_t threads, std::string const& result) const {
    std::string line = "timeout 300 mpirun -n " + std::to_string(workers) + " --oversubscribe " WAYFARER_BINARY;
    for (auto const& word : with(command(p, result), {"--work", out(result + ".w"), "--threads", std::to_string(threads)}))
      line += " '" + word + "'";
    EXPECT_EQ(std::system((line + " > " + log().string() + " 2>&1").c_str()), 0) << slurp(log());
    return sha(result);
  }

  /// One SHA-256 for 12 cells of each pipeline.
  template <class Form>
  void expect_one_result(char const* form, Form by) const {
    std::size_t cells = 0;
    for (auto const& p : pipelines()) {
      std::string const whole = reference(p);
      for (std::size_t const workers : {1, 2, 3, 5})
        for (std::size_t const threads : {1, 2, 4}) {
          std::string const result = p.name + std::to_string(workers) + "-" + std::to_string(threads) + ".h5";
          EXPECT_EQ(by(p, workers, threads, result), whole) << p.name << ", " << workers << " workers, " << threads << " threads";
          ++cells;
        }
    }
    std::printf("%s: %zu cells\n", form, cells);
  }
};

TEST_F(workers_grid, any_number_of_threads_and_workers_gives_the_same_bytes) {
  expect_one_result("a loop", [&](auto const&... cell) { return by_workers(cell...); });
}

TEST_F(workers_grid, any_number_of_threads_and_processes_gives_the_same_bytes) {
  expect_one_result("--processes", [&](auto const&... cell) { return by_processes(cell...); });
}

TEST_F(workers_grid, any_number_of_threads_and_ranks_gives_the_same_bytes) {
  if (std::system("command -v mpirun > /dev/null 2>&1") != 0) GTEST_SKIP() << "there is no mpirun here";
  expect_one_result("mpirun", [&](auto const&... cell) { return by_mpirun(cell...); });
}

}  // namespace
