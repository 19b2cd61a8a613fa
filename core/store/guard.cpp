#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <system_error>

#include <wayfarer/error.hpp>

#include "store/sanitized.hpp"
#include "store/standard_output.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

namespace {

// Sanitizers reserve terabytes of address space, which a limit would take away.
#ifdef WAYFARER_SANITIZED
constexpr bool limit_memory = false;
#else
constexpr bool limit_memory = true;
#endif

constexpr std::uint64_t spare_memory = std::uint64_t{1} << 30;
constexpr std::uint64_t copies = 6;  ///< of the file's values that a comparison may hold at once, widened to float64
constexpr rlim_t spare_seconds = 60;
constexpr std::uint64_t slowest_bytes_per_second = 10'000'000;
constexpr std::size_t longest_message = 60'000;

std::uint64_t address_space() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t pages = 0;
  statm >> pages;
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void restrain(std::uint64_t bytes) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  rlimit const none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  if (limit_memory) {
    rlim_t const most = address_space() + spare_memory + copies * bytes;
    rlimit const memory{most, most};
    ::setrlimit(RLIMIT_AS, &memory);
  }
  rlim_t const seconds = spare_seconds + bytes / slowest_bytes_per_second;
  rlimit const time{seconds, seconds};
  ::setrlimit(RLIMIT_CPU, &time);
}

void send(int to, char kind, std::string_view text) noexcept {
  // One write of less than a pipe's capacity: it is there whole, or the child was killed.
  std::array<char, longest_message + 1> message;
  message[0] = kind;
  std::size_t const length = std::min(text.size(), longest_message);
  std::memcpy(message.data() + 1, text.data(), length);
  if (::write(to, message.data(), length + 1) < 0) {
  }
}

/// The child's life; returns its exit code. Errors travel to the parent as a kind and their text.
int live(int to, std::uint64_t bytes, std::function<int()> const& body) noexcept {
  int code = 1;
  try {
    restrain(bytes);
    code = body();
    finish_standard_output();
    send(to, 'r', std::to_string(code));
  } catch (reader_has_gone const&) {
    send(to, 'r', std::to_string(code = 128 + SIGPIPE));
  } catch (usage_error const& e) {
    send(to, 'u', e.what());
  } catch (data_error const& e) {
    send(to, 'd', e.what());
  } catch (plugin_error const& e) {
    send(to, 'p', e.what());
  } catch (resource_error const& e) {
    send(to, 'm', e.what());
  } catch (std::bad_alloc const&) {
    send(to, 'd', "");
  } catch (std::exception const& e) {
    send(to, 'p', e.what());
  }
  std::cout.flush();
  std::fflush(nullptr);
  return code;
}

/// Starts the child. Returns it and the reading end of a pipe for what it reports.
std::pair<pid_t, int> start_child(std::string const& names, std::uint64_t bytes, std::function<int()> const& body) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw resource_error("can't make a pipe for reading " + names + ": " + std::generic_category().message(errno));
  std::cout.flush();
  std::fflush(nullptr);
  pid_t const child = ::fork();
  if (child < 0) {
    int const code = errno;
    ::close(ends[0]), ::close(ends[1]);
    throw resource_error("can't start a process for reading " + names + ": " + std::generic_category().message(code));
  }
  if (child == 0) {
    ::close(ends[0]);
    ::_exit(live(ends[1], bytes, body));
  }
  ::close(ends[1]);
  return {child, ends[0]};
}

std::string read_to_end(int from) {
  std::string message;
  std::array<char, 4096> piece;
  for (;;) {
    ssize_t const n = ::read(from, piece.data(), piece.size());
    if (n > 0)
      message.append(piece.data(), static_cast<std::size_t>(n));
    else if (n == 0 || errno != EINTR)
      break;
  }
  ::close(from);
  return message;
}

}  // namespace

int read_in_child(std::vector<std::filesystem::path> const& files, std::function<int()> const& body) {
  std::string names;
  std::uint64_t bytes = 0;
  for (auto const& f : files) {
    names += (names.empty() ? "" : " or ") + f.string();
    std::error_code missing;
    if (auto const size = std::filesystem::file_size(f, missing); !missing) bytes += size;
  }
  auto const [child, messages] = start_child(names, bytes, body);
  std::string const message = read_to_end(messages);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }

  if (WIFSIGNALED(status)) {
    int const signal = WTERMSIG(status);
    // The reader of our output has ended, as in `wayfarer show F.h5 | head`.
    if (signal == SIGPIPE) return 128 + SIGPIPE;
    throw data_error(names + ": damaged or crafted: the HDF5 library " +
                     (signal == SIGXCPU || signal == SIGKILL ? "took too long or too much memory"
                                                             : std::string("crashed (") + ::strsignal(signal) + ")") +
                     " while reading it");
  }
  std::string const text = message.empty() ? "" : message.substr(1);
  switch (message.empty() ? '\0' : message[0]) {
    case 'r':
      return WEXITSTATUS(status);
    case 'u':
      throw usage_error(text);
    case 'd':
      throw data_error(text.empty() ? names + ": reading takes more memory than a file of that size may need" : text);
    case 'm':
      throw resource_error(text);
    case 'p':
      throw plugin_error(text);
    default:
      throw data_error(names + ": damaged or crafted: the reader ended without a word");
  }
}

}  // namespace wayfarer::host
