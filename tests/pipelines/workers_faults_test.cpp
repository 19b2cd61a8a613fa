// Workers that die or stop inside a system call, whose clocks are wrong, or whose file system forgets: the bytes of the result
// stay.
#include <algorithm>
#include <array>
#include <csignal>

#include <sys/prctl.h>

#include "pipelines/workers.hpp"

using namespace wayfarer::test;

namespace {

using setting = std::pair<char const*, std::string>;

struct workers_faults : shared_run {
  std::filesystem::path log(std::size_t i) const { return folder / ("log-" + std::to_string(i)); }

  std::vector<std::string> worker(pipeline const& p, std::string const& result, std::size_t i, std::size_t of) const {
    return with(command(p, result), {"--work", out(result + ".w"), "--threads", "1", "--lease", "20", "--worker",
                                     std::to_string(i) + "/" + std::to_string(of)});
  }

  /// In the child: the library that wraps the calls, and what it is to do.
  static std::function<void()> under(std::vector<setting> const& settings) {
    return [settings] {
      ::setenv("LD_PRELOAD", UNRELIABLE_FILES, 1);
      for (auto const& [name, value] : settings) ::setenv(name, value.c_str(), 1);
    };
  }

  /// The wrapped calls are the ones that the program makes: else these tests would show nothing.
  void SetUp() override {
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    auto const died =
        finish(start(with(command(rows(1), "probe.h5"), {}), log(0), under({{"UNRELIABLE_KILL", "rename:1"}})), log(0));
    ASSERT_EQ(died.code, -SIGKILL) << died.out;
    for (auto const& name : left_beside()) std::filesystem::remove(folder / name);
  }

  /// One worker for each list of settings, at once; all must end well.
  void all_end_well(pipeline const& p, std::string const& result, std::vector<std::vector<setting>> const& each) const {
    std::vector<pid_t> children;
    for (std::size_t i = 0; i < each.size(); ++i)
      children.push_back(start(worker(p, result, i + 1, each.size()), log(i), under(each[i])));
    for (std::size_t i = 0; i < each.size(); ++i) {
      auto const ended = finish(children[i], log(i));
      EXPECT_EQ(ended.code, 0) << "worker " << i + 1 << ": " << ended.out;
    }
  }

  /// Dies once in every way, while another worker goes on or by itself; what comes after must be whole. The number of deaths.
  std::size_t deaths_at(pipeline const& p, std::string const& whole, std::string const& call,
                        std::vector<std::string> const& form) const {
    std::size_t deaths = 0;
    for (int n = 1; n <= 200; n += n < 8 ? 1 : n / 3) {
      std::string const result = "r.h5", folder_of = result + ".w";
      auto const words = with(with(command(p, result), {"--work", out(folder_of), "--threads", "1"}), form);
      auto const killed = finish(start(words, log(0), under({{"UNRELIABLE_KILL", call + ":" + std::to_string(n)}})), log(0));
      // Children of a command that died end a little after it; they are this process's now.
      while (::waitpid(-1, nullptr, 0) > 0) continue;
      bool const died = killed.code != 0;  // else it makes fewer calls than that
      deaths += died;
      auto const then = run_wayfarer(with(command(p, result), {"--work", out(folder_of)}));
      EXPECT_EQ(then.code, 0) << call << ":" << n << ": " << then.out;
      EXPECT_EQ(sha(result), whole) << call << ":" << n;
      EXPECT_EQ(litter(folder / folder_of), std::vector<std::string>()) << call << ":" << n;
      if (n < 3) dies_when_all_is_done(words, call + ":" + std::to_string(n), result, whole);
      std::filesystem::remove_all(folder / folder_of);
      std::filesystem::remove(folder / result);
      EXPECT_EQ(left_beside(), std::vector<std::string>()) << call << ":" << n;
      if (!died) break;
    }
    return deaths;
  }

  /// The same death in a worker that finds the result there.
  void dies_when_all_is_done(std::vector<std::string> const& words, std::string const& death, std::string const& result,
                             std::string const& whole) const {
    finish(start(words, log(0), under({{"UNRELIABLE_KILL", death}})), log(0));
    while (::waitpid(-1, nullptr, 0) > 0) continue;
    std::vector<std::string> alone(words.begin(), std::find(words.begin(), words.end(), "--threads"));
    EXPECT_EQ(run_wayfarer(alone).code, 0) << death;
    EXPECT_EQ(sha(result), whole) << death;
    EXPECT_EQ(litter(folder / (result + ".w")), std::vector<std::string>()) << death;
  }

  /// Hidden files beside the result: what a writer that was killed has left.
  std::vector<std::string> left_beside() const {
    std::vector<std::string> names;
    for (auto const& e : std::filesystem::directory_iterator(folder))
      if (e.path().filename().string().front() == '.') names.push_back(e.path().filename());
    return names;
  }
};

TEST_F(workers_faults, deaths_at_two_hundred_system_calls_cost_time_alone) {
  auto const p = rows(12);
  std::string const whole = reference(p);
  std::size_t deaths = 0;
  for (std::string const call : {"write", "fsync", "rename", "symlink", "unlink", "mkdir"})
    for (std::string const when : {"", "+"}) {
      deaths += deaths_at(p, whole, call + when, {"--worker", "1/2"});
      deaths += deaths_at(p, whole, call + when, {"--processes", "2"});
    }
  EXPECT_GE(deaths, 200u);
}

TEST_F(workers_faults, deaths_of_runs_that_use_a_store_cost_time_alone) {
  // Two that push each other out, so that entries are removed as well.
  std::array<pipeline, 2> both{rows(12), rows(13)};
  both[1].name = "more";
  both[0].file = file("one.yaml", "keep: activations\n" + slurp(rows(12).file));
  both[1].file = file("two.yaml", "keep: activations\n" + slurp(rows(13).file));
  std::array<std::string, 2> const whole{reference(both[0]), reference(both[1])};
  auto const words = [&](std::size_t i) {
    return with(command(both[i], "s.h5"), {"--reproducible", "--threads", "1", "--store", out("s"), "--store-limit", "60K"});
  };
  std::size_t deaths = 0;
  for (std::string const call : {"write", "rename", "create", "unlink", "mkdir"})
    for (std::string const when : {"", "+"})
      for (int n = 1; n <= 300; n += n < 8 ? 1 : n / 3) {
        std::string const death = call + when + ":" + std::to_string(n);
        auto const killed = finish(start(words(1), log(0), under({{"UNRELIABLE_KILL", death}})), log(0));
        deaths += killed.code == -SIGKILL;
        for (std::size_t const i : {std::size_t(n) % 2, std::size_t(n + 1) % 2}) {
          auto const then = run_wayfarer(words(i));
          EXPECT_EQ(then.code, 0) << death << ": " << then.out;
          EXPECT_EQ(sha("s.h5"), whole[i]) << death;
          EXPECT_EQ(then.out.find("damaged"), std::string::npos) << death << ": " << then.out;
        }
        for (char const* in : {"making", "removed", "runs"})
          EXPECT_TRUE(std::filesystem::is_empty(folder / "s" / in)) << death << ": " << in;
        if (n % 3 == 0) std::filesystem::remove_all(folder / "s");  // from the beginning, too
        if (killed.code == 0) break;
      }
  EXPECT_GE(deaths, 40u);
}

TEST_F(workers_faults, a_run_that_stops_inside_any_system_call_keeps_no_other_from_its_result) {
  auto const p = rows(2);
  std::string const whole = reference(p);
  auto const words = with(command(p, "r.h5"), {"--reproducible", "--resume", "--threads", "1"});
  std::size_t stops = 0;
  for (std::string const call : {"create", "fsync", "rename", "unlink", "mkdir"})
    for (std::string const when : {"", "+"})
      for (int n = 1;; ++n) {
        std::string const place = call + when + ":" + std::to_string(n);
        pid_t const slow = start(words, log(0), under({{"UNRELIABLE_STOP", place}}));
        siginfo_t came{};
        ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(slow), &came, WSTOPPED | WEXITED | WNOWAIT), 0);
        bool const stopped = came.si_code == CLD_STOPPED;  // else it makes fewer calls than that
        if (stopped) {
          ++stops;
          auto const fast = run_wayfarer(words);
          EXPECT_EQ(fast.code, 0) << place << ": " << fast.out;
          EXPECT_EQ(sha("r.h5"), whole) << place;
          ::kill(slow, SIGCONT);
        }
        auto const ended = finish(slow, log(0));
        EXPECT_EQ(ended.code, 0) << place << ": " << ended.out;
        EXPECT_EQ(sha("r.h5"), whole) << place;
        EXPECT_FALSE(std::filesystem::exists(folder / "r.h5.blocks")) << place;
        EXPECT_EQ(left_beside(), std::vector<std::string>()) << place;
        std::filesystem::remove(folder / "r.h5");
        if (!stopped) break;
      }
  EXPECT_GE(stops, 30u);
}

TEST_F(workers_faults, clocks_that_differ_by_hours_do_no_harm) {
  for (auto const& p : {rows(40), pipelines()[1]}) {
    std::string const whole = reference(p), result = p.name + ".h5";
    all_end_well(p, result, {{{"UNRELIABLE_CLOCK", "3600"}}, {{"UNRELIABLE_CLOCK", "-3600"}}, {}});
    EXPECT_EQ(sha(result), whole);
    EXPECT_EQ(litter(folder / (result + ".w")), std::vector<std::string>());
  }
}

TEST_F(workers_faults, a_file_system_without_locks_that_shows_names_late_does_no_harm) {
  for (auto const& p : {rows(40), pipelines()[1]}) {
    std::string const whole = reference(p), result = p.name + ".h5";
    all_end_well(p, result, {3, {{"UNRELIABLE_CACHE", "300"}}});
    EXPECT_EQ(sha(result), whole);
    EXPECT_EQ(litter(folder / (result + ".w")), std::vector<std::string>());
  }
}

TEST_F(workers_faults, two_clusters_on_one_folder_make_one_result) {
  auto const p = rows(60);
  std::string const whole = reference(p), result = "r.h5";
  // Both count their workers from 1.
  std::vector<pid_t> children;
  for (std::size_t i = 0; i < 4; ++i) children.push_back(start(worker(p, result, i / 2 + 1, 2), log(i)));
  for (std::size_t i = 0; i < 4; ++i) {
    auto const ended = finish(children[i], log(i));
    EXPECT_EQ(ended.code, 0) << ended.out;
  }
  EXPECT_EQ(sha(result), whole);
  EXPECT_EQ(litter(folder / (result + ".w")), std::vector<std::string>());
}

}  // namespace
