// Runs the real program as a user does and returns what it printed and how it ended.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace wayfarer::test {

/// A folder of its own for each test, removed with all that is in it.
class scratch : public testing::Test {
 protected:
  scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "wayfarer-test-XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~scratch() override { std::filesystem::remove_all(folder); }
  std::filesystem::path file(std::string const& name, std::string const& text) const {
    std::ofstream(folder / name) << text;
    return folder / name;
  }
  std::filesystem::path folder;
};

struct outcome {
  int code = -1;    ///< exit code, or -signal
  std::string out;  ///< standard output and error
};

inline std::string slurp(std::filesystem::path const& p) {
  std::ifstream in(p, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Starts the program; `prepare` runs in the child. Output goes to `log`.
inline pid_t start(std::vector<std::string> arguments, std::filesystem::path const& log,
                   std::function<void()> const& prepare = {}) {
  arguments.insert(arguments.begin(), WAYFARER_BINARY);
  pid_t const child = fork();
  if (child != 0) return child;
  int const to = ::open(log.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  dup2(to, 1), dup2(to, 2);
  if (prepare) prepare();
  std::vector<char*> words;
  for (auto& a : arguments) words.push_back(a.data());
  words.push_back(nullptr);
  execv(WAYFARER_BINARY, words.data());
  _exit(127);
}

inline outcome finish(pid_t child, std::filesystem::path const& log) {
  int status = 0;
  waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), slurp(log)};
}

/// Waits until `reached()` holds or the child has ended by itself, however long the machine takes; the answer: whether it holds.
inline bool wait_until(pid_t child, std::function<bool()> const& reached) {
  for (;;) {
    siginfo_t ended{};
    bool const over = waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid != 0;
    if (reached()) return true;
    if (over) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

inline std::size_t count_files(std::filesystem::path const& folder) {
  std::error_code missing;
  std::size_t all = 0;
  for (std::filesystem::directory_iterator at(folder, missing), end; at != end; at.increment(missing)) ++all;
  return all;
}

inline outcome run_wayfarer(std::vector<std::string> arguments, std::function<void()> const& prepare = {}) {
  std::filesystem::path const log = std::filesystem::temp_directory_path() / ("wayfarer-log-" + std::to_string(getpid()));
  outcome const done = finish(start(std::move(arguments), log, prepare), log);
  std::filesystem::remove(log);
  return done;
}

}  // namespace wayfarer::test
