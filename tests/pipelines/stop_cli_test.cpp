// The real program when a signal ends it, when a limit stops it, and when several runs share a place.
#include <array>
#include <csignal>
#include <set>
#include <vector>

#include <sys/resource.h>

#include <gmock/gmock.h>

#include <wayfarer/file.hpp>

#include "pipelines/command.hpp"
#include "store/sanitized.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

namespace {

std::string const data = WAYFARER_SOURCE_DIR "/runs/data";

struct stop_cli : scratch {
  std::string out(std::string const& name) const { return (folder / name).string(); }
  std::set<std::string> listing(std::string const& within = "") const {
    std::set<std::string> names;
    for (auto const& e : std::filesystem::directory_iterator(folder / within)) names.insert(e.path().filename());
    return names;
  }
  /// A training that would take hours.
  std::vector<std::string> long_training() {
    auto const p = file(
        "train.yaml", "nodes:\n  t: {source: text, texts: [" + std::string(400, '7') +
                          "]}\n  l: {model: gpt2_trained, train: {source: t, updates: 100000000, state: st, state_every: 5}}\n");
    return {"run", p, "--quiet", "--set", "l.train.state=" + out("st"), "--out", out("r.h5")};
  }
  std::vector<std::string> short_run(std::string const& name) {
    auto const p = file(
        name + ".yaml",
        "nodes:\n  t: {source: text, texts: [one two three, four five]}\n  m: {model: gpt2, path: " + data +
            "/tiny-gpt2}\n  l: {probe: activations, model: m, source: t, hooks: " + "\"blocks.*.hook_resid_post\", block: 1}\n");
    return {"run", p, "--out", out(name + ".h5"), "--quiet"};
  }
};

TEST_F(stop_cli, a_signal_ends_a_run_in_good_order_and_says_what_is_kept) {
  auto const arguments = long_training();
  auto const state = folder / "st/state.safetensors";
  for (int const signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXCPU, SIGXFSZ, SIGUSR1, SIGUSR2, SIGVTALRM}) {
    SCOPED_TRACE(signal);
    std::filesystem::remove_all(folder / "st");
    auto const log = folder / "log";
    pid_t const child = start(arguments, log);
    ASSERT_TRUE(wait_until(child, [&] { return std::filesystem::exists(state); })) << slurp(log);
    // As `timeout` does: to the process, and to its group.
    ::kill(child, signal), ::kill(child, signal);
    auto const ended = finish(child, log);
    EXPECT_EQ(ended.code, 128 + signal) << ended.out;
    EXPECT_THAT(ended.out,
                AllOf(HasSubstr(std::string("stopped by SIG") + sigabbrev_np(signal)), HasSubstr("no result is written"),
                      HasSubstr("st keeps the training of 'l'"), HasSubstr("same command")));
    EXPECT_EQ(listing("st"), std::set<std::string>{"state.safetensors"});
    EXPECT_EQ(listing(), (std::set<std::string>{"log", "st", "train.yaml"}));
  }
  // What is ignored stays ignored, as under nohup.
  std::filesystem::remove_all(folder / "st");
  pid_t const child = start(arguments, folder / "log", [] { std::signal(SIGHUP, SIG_IGN); });
  ASSERT_TRUE(wait_until(child, [&] { return std::filesystem::exists(state); }));
  ::kill(child, SIGHUP);
  auto const first = std::filesystem::last_write_time(state);
  EXPECT_TRUE(wait_until(child, [&] { return std::filesystem::last_write_time(state) != first; })) << "goes on";
  ::kill(child, SIGTERM);
  EXPECT_EQ(finish(child, folder / "log").code, 128 + SIGTERM);
}

TEST_F(stop_cli, the_next_run_sweeps_what_killed_ones_left_but_nothing_of_the_living) {
  auto const arguments = long_training();
  auto const begun = [&](pid_t child) {
    return wait_until(child, [&] { return std::filesystem::exists(folder / "st/state.safetensors"); });
  };
  pid_t child = start(arguments, folder / "log");
  ASSERT_TRUE(begun(child));
  ::kill(child, SIGKILL);
  finish(child, folder / "log");
  file("st/.state.safetensors.tmp.1.2", "half");
  file(".r.h5.tmp.1.2", "half");
  wayfarer::atomic_file living(out("r.h5"));
  child = start(arguments, folder / "log");
  ASSERT_TRUE(wait_until(child, [&] { return !std::filesystem::exists(folder / "st/.state.safetensors.tmp.1.2"); }))
      << slurp(folder / "log");
  ::kill(child, SIGTERM);
  EXPECT_EQ(finish(child, folder / "log").code, 128 + SIGTERM);
  EXPECT_EQ(listing("st"), std::set<std::string>{"state.safetensors"});
  auto const left = listing();
  EXPECT_EQ(left.size(), 4u) << "log, st, train.yaml, and the file of the living writer: " << testing::PrintToString(left);
  living.write("whole");
  living.commit();
  EXPECT_EQ(slurp(folder / "r.h5"), "whole");
}

TEST_F(stop_cli, a_run_whose_output_nobody_reads_writes_its_result) {
  auto const arguments = short_run("r");
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ::close(ends[0]);
  auto const ended = run_wayfarer(arguments, [&] { ::dup2(ends[1], 1), ::dup2(ends[1], 2); });
  ::close(ends[1]);
  EXPECT_GE(ended.code, 0) << "no signal";
  EXPECT_EQ(listing(), (std::set<std::string>{"r.h5", "r.yaml"}));
  EXPECT_EQ(run_wayfarer({"show", out("r.h5")}).code, 0);
}

TEST_F(stop_cli, limits_are_errors_that_leave_nothing) {
  auto const arguments = short_run("r");
  auto const limited = [&](std::vector<std::string> what, auto which, rlim_t most) {
    auto const r = run_wayfarer(std::move(what), [&] {
      // The log is a file too; a child that is forked must still be able to say what is wrong.
      rlimit const limit{most, most};
      ::setrlimit(which, &limit);
    });
    EXPECT_EQ(r.code, which == RLIMIT_FSIZE ? 128 + SIGXFSZ : 5) << r.out;
    EXPECT_EQ(listing(), std::set<std::string>{"r.yaml"});
    return r.out;
  };
  EXPECT_THAT(limited(arguments, RLIMIT_FSIZE, 5000), HasSubstr("ulimit -f"));
#ifndef WAYFARER_SANITIZED
  // So many that the stacks alone do not fit, and so few that they would, but for the heaps that threads get.
  for (std::string const threads : {"1024", "300"}) {
    auto many = arguments;
    many.insert(many.end(), {"--threads", threads});
    EXPECT_THAT(limited(many, RLIMIT_AS, rlim_t{2'000'000} << 10),
                AllOf(HasSubstr("of " + threads + " threads can be started"), HasSubstr("ulimit -v 2000000"),
                      HasSubstr("use --threads")));
  }
#endif
}

TEST_F(stop_cli, blocks_of_other_runs_stay) {
  auto arguments = short_run("r");
  arguments.emplace_back("--resume");
  std::string const foreign = std::string(40, 'f') + "-0-1.block";
  std::filesystem::create_directory(folder / "r.h5.blocks");
  file("r.h5.blocks/" + foreign, "of another run");
  auto const done = run_wayfarer(arguments);
  ASSERT_EQ(done.code, 0) << done.out;
  EXPECT_EQ(listing("r.h5.blocks"), std::set<std::string>{foreign});
  // Through a link nothing is touched.
  std::filesystem::rename(folder / "r.h5.blocks", folder / "theirs");
  std::filesystem::create_directory_symlink(folder / "theirs", folder / "r.h5.blocks");
  auto const refused = run_wayfarer(arguments);
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.out, AllOf(HasSubstr("r.h5.blocks"), HasSubstr("symbolic link")));
  EXPECT_EQ(listing("theirs"), std::set<std::string>{foreign});
}

TEST_F(stop_cli, the_same_command_twice_at_once_succeeds_twice) {
  auto arguments = short_run("r");
  arguments.emplace_back("--resume");
  pid_t const slow = start(arguments, folder / "slow");
  wait_until(slow, [&] { return count_files(folder / "r.h5.blocks") > 0; });
  ::kill(slow, SIGSTOP);
  auto const fast = run_wayfarer(arguments);
  EXPECT_EQ(fast.code, 0) << fast.out;
  ::kill(slow, SIGCONT);
  auto const other = finish(slow, folder / "slow");
  EXPECT_EQ(other.code, 0) << other.out;
  EXPECT_EQ(listing(), (std::set<std::string>{"r.h5", "r.yaml", "slow"}));
}

}  // namespace
