// Workers that are killed, however they were started: the same bytes, nothing lost, nothing left over. One table of all of it.
//
// When a process is killed goes by what is finished, with some chance, and never by the clock alone: a machine may be fast or
// busy.
#include <sys/prctl.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string_view>

#include "pipelines/workers.hpp"

using namespace wayfarer::test;

namespace fs = std::filesystem;

namespace {

struct workers_kills : shared_run {
  using words = std::vector<std::string>;
  std::mt19937 random{17};
  pipeline p = rows(120);
  std::string whole;

  void SetUp() override {
    // Children of a command that died are this process's, and can be waited for.
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    whole = reference(p);
  }

  fs::path log(std::size_t i) const { return folder / ("log-" + std::to_string(i)); }
  std::string result(std::size_t round) const { return "r" + std::to_string(round) + ".h5"; }
  fs::path work(std::size_t round) const { return folder / (result(round) + ".w"); }

  /// Finished units below a folder.
  static std::size_t units(fs::path const& below) {
    std::size_t n = 0;
    std::error_code gone;
    for (fs::recursive_directory_iterator at(below, gone), end; !gone && at != end; at.increment(gone))
      n += at->path().parent_path().filename().string().size() == 2 && at->path().filename().string().front() != '.';
    return n;
  }
  /// Until some more units are there, by chance none, or the process has ended.
  void wait_for_progress(pid_t process, fs::path const& below) {
    std::size_t const more = random() % 4;
    // To look takes a part of the machine that the workers need.
    if (more != 0)
      wait_until(process, [&, before = units(below)] {
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
        return units(below) >= before + more;
      });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
  }

  static std::vector<pid_t> children_of(pid_t parent) {
    std::vector<pid_t> all;
    std::error_code gone;
    for (fs::directory_iterator at("/proc/" + std::to_string(parent) + "/task", gone), end; !gone && at != end;
         at.increment(gone)) {
      // A stream would throw where the process ends meanwhile.
      std::ifstream in(at->path() / "children");
      for (pid_t child = 0; in >> child;) all.push_back(child);
    }
    return all;
  }
  /// Those of its children that are workers.
  static std::vector<pid_t> workers_of(pid_t parent) {
    static fs::path const program = fs::canonical(WAYFARER_BINARY);
    auto all = children_of(parent);
    std::error_code gone;
    std::erase_if(all, [&](pid_t one) { return fs::read_symlink("/proc/" + std::to_string(one) + "/exe", gone) != program; });
    return all;
  }

  static void wait_for_orphans() {
    while (::waitpid(-1, nullptr, 0) > 0) continue;
  }

  void expect_whole(std::size_t round, std::string const& when) const {
    EXPECT_EQ(sha(result(round)), whole) << when;
    fs::remove(folder / result(round));
  }
  /// What a writer that was killed has left beside the result is swept by the next.
  void expect_nothing_beside(std::string const& when) const {
    for (auto const& e : fs::directory_iterator(folder))
      EXPECT_NE(e.path().filename().string().front(), '.') << when << ": " << e.path();
  }
  /// Everything goes that workers keep in a folder: what the dead have left too.
  void expect_clean(fs::path const& of, std::string const& when) const {
    outcome const cleaned = run_wayfarer({"clean", of.string()});
    EXPECT_EQ(cleaned.code, 0) << when << ": " << cleaned.out;
    EXPECT_FALSE(fs::exists(of)) << when;
    fs::remove_all(of);
  }

  /// Workers that are started one by one, and again when they die.
  std::size_t kills_of_a_loop(std::size_t wanted) {
    std::size_t kills = 0;
    for (std::size_t round = 0; kills < wanted; ++round) {
      std::array<pid_t, 3> workers{};
      auto const begin = [&](std::size_t i) {
        workers[i] = start(with(command(p, result(round)), {"--work", work(round), "--threads", "1", "--lease", "20", "--worker",
                                                            std::to_string(i + 1) + "/3"}),
                           log(i));
      };
      for (std::size_t i = 0; i < 3; ++i) begin(i);
      for (std::size_t n = 0; n < 25 && kills < wanted; ++n) {
        std::size_t const i = random() % 3;
        wait_for_progress(workers[i], work(round));
        ::kill(workers[i], SIGKILL);
        kills += finish(workers[i], log(i)).code == -SIGKILL;
        begin(i);
      }
      for (std::size_t i = 0; i < 3; ++i) {
        auto const ended = finish(workers[i], log(i));
        EXPECT_EQ(ended.code, 0) << ended.out;
      }
      end_round(round, "a loop, after " + std::to_string(kills) + " kills");
    }
    return kills;
  }

  void end_round(std::size_t round, std::string const& when) const {
    expect_whole(round, when);
    outcome const again = run_wayfarer(with(command(p, result(round)), {"--work", work(round)}));
    EXPECT_EQ(again.code, 0) << when << ": " << again.out;
    expect_whole(round, when + ", once more");
    expect_nothing_beside(when);
    expect_clean(work(round), when);
  }

  /// Workers of one command, of which some or all die.
  std::size_t kills_of_processes(std::size_t wanted) {
    std::size_t kills = 0;
    for (std::size_t round = 0; kills < wanted; ++round) {
      auto const line =
          with(command(p, result(round)), {"--work", work(round), "--threads", "1", "--lease", "20", "--processes", "5"});
      for (int again = 0; again < 3 && kills < wanted; ++again) {
        pid_t const command = start(line, log(0));
        wait_until(command, [&] { return workers_of(command).size() == 5; });
        for (std::size_t n = 0; n < 5; ++n) {
          wait_for_progress(command, work(round));
          auto const living = workers_of(command);
          if (living.empty()) break;
          ::kill(living[random() % living.size()], SIGKILL);
        }
        // The command says of each how it ended.
        std::string const said = finish(command, log(0)).out, death = "was ended by SIGKILL";
        for (std::size_t at = 0; (at = said.find(death, at)) != said.npos; at += death.size()) ++kills;
        wait_for_orphans();
      }
      outcome const last = run_wayfarer(line);
      EXPECT_EQ(last.code, 0) << last.out;
      end_round(round, "--processes, after " + std::to_string(kills) + " kills");
    }
    return kills;
  }

  static bool has_mpirun() { return std::system("command -v mpirun > /dev/null 2>&1") == 0; }
  static bool has_messages() {
    return has_mpirun() && fs::exists(fs::path(WAYFARER_BINARY).parent_path() / "../lib/wayfarer/wayfarer_mpi.so");
  }

  /// A job of three ranks. `settings`: for the ranks' environment.
  pid_t start_job(words const& line, words const& settings = {}) const {
    words all{"mpirun", "-n", "3", "--oversubscribe"};
    for (auto const& s : settings) all.insert(all.end(), {"-x", s});
    all.push_back(WAYFARER_BINARY);
    all.insert(all.end(), line.begin(), line.end());
    pid_t const child = ::fork();
    if (child != 0) return child;
    int const to = ::open(log(0).c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    ::dup2(to, 1), ::dup2(to, 2);
    ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // Open MPI's own
    std::vector<char*> pointers;
    for (auto& w : all) pointers.push_back(w.data());
    pointers.push_back(nullptr);
    ::execvp("mpirun", pointers.data());
    ::_exit(127);
  }

  words line_of_job(std::size_t round, bool messages) const {
    return with(command(p, result(round)), {messages ? "--work-local" : "--work", work(round), "--threads", "1"});
  }

  void end_job(std::size_t round, bool messages, std::string const& when) const {
    auto const last = finish(start_job(line_of_job(round, messages)), log(0));
    EXPECT_EQ(last.code, 0) << when << ": " << last.out;
    if (!messages) return end_round(round, when);
    expect_whole(round, when);
    expect_nothing_beside(when);
    // `clean` asks before it takes the folder of a rank that wrote no result.
    for (auto const& rank : fs::directory_iterator(work(round))) EXPECT_EQ(litter(rank.path()), words()) << when;
    fs::remove_all(work(round));
  }

  /// A job of ranks, which ends when one of them dies, and is started again.
  std::size_t kills_of_jobs(std::size_t wanted, bool messages) {
    std::size_t kills = 0;
    std::string const form = messages ? "mpirun --work-local" : "mpirun";
    for (std::size_t round = 0; kills < wanted; ++round) {
      for (int again = 0; again < 6 && kills < wanted; ++again) {
        pid_t const job = start_job(line_of_job(round, messages));
        wait_until(job, [&] { return workers_of(job).size() == 3; });
        wait_for_progress(job, work(round));
        auto const ranks = workers_of(job);
        bool const sent = !ranks.empty() && ::kill(ranks[random() % ranks.size()], SIGKILL) == 0;
        auto const ended = finish(job, log(0));
        kills += sent && ended.code != 0;
        wait_for_orphans();
      }
      end_job(round, messages, form + ", after " + std::to_string(kills) + " kills");
    }
    return kills;
  }

#ifdef UNRELIABLE_FILES
  /// Ranks die at chosen calls.
  std::size_t deaths_of_jobs(bool messages, bool many) {
    std::size_t deaths = 0, round = 0;
    for (std::string const call : {"write", "rename", "symlink", "unlink", "mkdir"})
      for (std::string const when : {"", "+"})
        for (std::string const& n : many ? words{"1", "3", "9"} : words{"3"}) {
          std::string const death = call + when + ":" + n;
          pid_t const job = start_job(line_of_job(round, messages),
                                      {std::string("LD_PRELOAD=") + UNRELIABLE_FILES, "UNRELIABLE_KILL=" + death});
          deaths += finish(job, log(0)).code != 0;
          wait_for_orphans();
          end_job(round++, messages, (messages ? "mpirun --work-local, " : "mpirun, ") + death);
        }
    return deaths;
  }
#endif

  void tell(char const* form, char const* what, std::size_t count) {
    auto const now = std::chrono::steady_clock::now();
    std::printf("%-24s %5zu %s, %.0f s\n", form, count, what, std::chrono::duration<double>(now - told).count());
    std::fflush(stdout);
    told = now;
  }
  std::chrono::steady_clock::time_point told = std::chrono::steady_clock::now();
};

/// A job of ranks takes seconds to start and to die: few do by default, many with WAYFARER_KILLS=all.
bool kill_many() {
  char const* const wanted = std::getenv("WAYFARER_KILLS");
  return wanted && std::string_view(wanted) == "all";
}

TEST_F(workers_kills, a_thousand_over_all_ways_to_start_cost_time_alone) {
  bool const jobs = has_mpirun(), messages = has_messages(), many = kill_many();
  std::size_t all = 0;
  auto const tell_of = [&](char const* form, std::size_t kills) { tell(form, "kills", kills), all += kills; };
  tell_of("mpirun", jobs ? kills_of_jobs(many ? 90 : 15, false) : 0);
  tell_of("mpirun --work-local", messages ? kills_of_jobs(many ? 60 : 10, true) : 0);
  tell_of("--processes", kills_of_processes(many ? 350 : 100));
  tell_of("a loop", kills_of_a_loop(all < 1000 ? 1000 - all : 1));
  std::printf("%-24s %5zu kills\n", "all", all);
  EXPECT_GE(all, 1000u);
}

#ifdef UNRELIABLE_FILES
TEST_F(workers_kills, deaths_of_ranks_at_system_calls_cost_time_alone) {
  if (!has_mpirun()) GTEST_SKIP() << "there is no mpirun here";
  p = rows(12), whole = reference(p);
  bool const many = kill_many();
  std::size_t const shared = deaths_of_jobs(false, many);
  tell("mpirun", "deaths at system calls", shared);
  EXPECT_GE(shared, many ? 15u : 5u);
  if (!has_messages()) GTEST_SKIP() << "this was built without MPI (libopenmpi-dev)";
  std::size_t const apart = deaths_of_jobs(true, many);
  tell("mpirun --work-local", "deaths at system calls", apart);
  EXPECT_GE(apart, many ? 15u : 5u);
}
#endif

}  // namespace
