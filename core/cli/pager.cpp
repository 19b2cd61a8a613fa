#include "cli/pager.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>

#include "cli/terminal.hpp"

namespace wayfarer::host {

namespace {

std::size_t shown_columns = 0;

/// Whether a program of this name is on the PATH.
bool on_path(std::string const& name) {
  char const* const path = std::getenv("PATH");
  std::string const folders = path ? path : "";
  for (std::size_t from = 0; from <= folders.size();) {
    std::size_t const to = std::min(folders.find(':', from), folders.size());
    if (to > from && ::access((folders.substr(from, to - from) + "/" + name).c_str(), X_OK) == 0) return true;
    from = to + 1;
  }
  return false;
}

/// The command line of the pager; "": none.
std::string command() {
  for (char const* variable : {"WAYFARER_PAGER", "PAGER"})
    if (char const* const given = std::getenv(variable)) return std::strcmp(given, "cat") == 0 ? "" : given;
  return on_path("less") ? "less" : "";
}

/// The pager's life: it reads what we print, and sees the terminal's Ctrl-C.
[[noreturn]] void become(std::string const& pager, int from) {
  ::dup2(from, STDIN_FILENO);
  std::signal(SIGINT, SIG_DFL);
  // Colours as they are, no pager for what fits the screen, and the text stays there afterwards.
  ::setenv("LESS", "FRX", 0);
  ::execl("/bin/sh", "sh", "-c", pager.c_str(), static_cast<char*>(nullptr));
  ::_exit(127);
}

}  // namespace

pager::pager(bool wanted) {
  if (!wanted || ::isatty(STDOUT_FILENO) != 1) return;
  char const* const terminal = std::getenv("TERM");
  if (terminal == nullptr || *terminal == '\0' || std::strcmp(terminal, "dumb") == 0) return;
  std::string const with = command();
  std::array<int, 2> ends{};
  if (with.empty() || ::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  std::size_t const columns = terminal_columns();
  terminal_ = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  std::cout.flush();
  std::fflush(nullptr);
  child_ = terminal_ < 0 ? -1 : ::fork();
  if (child_ == 0) become(with, ends[0]);
  ::close(ends[0]);
  if (child_ > 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    shown_columns = columns;
    // Ctrl-C is for the pager, which goes on; if we ended first, shell and pager would read the same keys.
    std::signal(SIGINT, SIG_IGN);
  } else {
    child_ = 0;
  }
  ::close(ends[1]);
}

pager::~pager() {
  if (child_ > 0) {
    std::cout.flush();
    std::fflush(stdout);
    ::dup2(terminal_, STDOUT_FILENO);  // closes the pipe: the pager sees the end
    shown_columns = 0;
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  if (terminal_ >= 0) ::close(terminal_);
}

int pager::ended(int code) const noexcept {
  return child_ > 0 && code == 128 + SIGPIPE ? 0 : code;
}

std::size_t pager::columns() noexcept {
  return shown_columns;
}

}  // namespace wayfarer::host
