#include "store/standard_output.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <iostream>
#include <string>
#include <system_error>

#include <wayfarer/error.hpp>

namespace wayfarer::host {

void hold_standard_streams() {
  for (int d : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(d, F_GETFD) < 0 && errno == EBADF)
      // The lowest free number is taken. What goes in the wrong direction fails.
      if (::open("/dev/null", d == STDIN_FILENO ? O_WRONLY : O_RDONLY) != d) std::abort();
}

void finish_standard_output() {
  // std::cout writes into stdout's buffer, and would lose the reason if it were the one to empty it.
  errno = 0;
  int const code = std::fflush(stdout) != 0 ? errno : 0;
  std::cout.flush();
  if (code == 0 && std::ferror(stdout) == 0 && std::cout) return;
  pollfd at{STDOUT_FILENO, POLLOUT, 0};
  if (code == EPIPE || (::poll(&at, 1, 0) == 1 && (at.revents & POLLERR) != 0)) throw reader_has_gone();
  throw resource_error("can't write to standard output" +
                       (code != 0 ? ": " + std::generic_category().message(code) : std::string(": some of it is lost")) +
                       "; free some space, or send it elsewhere");
}

}  // namespace wayfarer::host
