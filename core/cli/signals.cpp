#include "cli/signals.hpp"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>

#include <wayfarer/file.hpp>
#include <wayfarer/stopping.hpp>

#include "text/printable.hpp"

namespace wayfarer::host {
namespace {

/// Time limit for a clean stop. Docker kills after 10 seconds, Slurm after 30.
constexpr unsigned seconds_to_rest = 8;
/// `timeout` and shells send the same signal to the process and to its group: that counts as one.
constexpr double seconds_of_one_wish = 0.5;

struct sigaction before;
pid_t program = 0;
pid_t telling_parent = 0;
bool terminal = false;
std::atomic<bool> ending{false};
std::atomic<int> first_signal{0};
timespec first_time{};  // written by the one handler that sets first_signal
std::array<char, 4096> kept{};
std::atomic<std::size_t> kept_length{0};

/// Text put together without anything that a signal handler must not call.
class message {
 public:
  message& operator<<(std::string_view text) noexcept {
    std::size_t const n = std::min(text.size(), all_.size() - used_);
    std::memcpy(all_.data() + used_, text.data(), n);
    used_ += n;
    return *this;
  }
  message& operator<<(std::size_t number) noexcept {
    std::array<char, 20> digits;
    std::size_t at = digits.size();
    do digits[--at] = static_cast<char>('0' + number % 10);
    while ((number /= 10) != 0);
    return *this << std::string_view(digits.data() + at, digits.size() - at);
  }
  message& name(std::string_view text) noexcept {
    while (!text.empty()) {
      std::size_t n = hidden_bytes(text);
      if (n == 0) *this << text.substr(0, 1), text.remove_prefix(1);
      for (; n > 0 && !text.empty(); --n, text.remove_prefix(1)) {
        auto const u = static_cast<unsigned char>(text[0]);
        constexpr std::string_view digits = "0123456789abcdef";
        *this << "\\x" << digits.substr(u >> 4, 1) << digits.substr(u & 15, 1);
      }
    }
    return *this;
  }
  void print() const noexcept {
    if (::write(STDERR_FILENO, all_.data(), used_) < 0) return;
  }

 private:
  std::array<char, 8192> all_{};
  std::size_t used_ = 0;
};

void on_bus_error(int, siginfo_t* info, void*) {
  mapping const at = find_mapping(info->si_addr);
  if (!at.path) {
    // Not ours: the instruction runs again and finds the handler of before.
    if (::getpid() == program) remove_temporary_files();
    ::sigaction(SIGBUS, &before, nullptr);
    return;
  }
  // Other threads may run into the same file; one speaks, the rest wait for the end.
  if (ending.exchange(true))
    for (;;) ::pause();
  message m;
  (m << "\nwayfarer: data error: ").name(at.path)
      << " was cut while it was read, at byte " << at.byte << "; don't change files in use, and start again\n";
  m.print();
  // A child that reads for the program must leave the program's files alone.
  if (::getpid() == program) remove_temporary_files();
  ::_exit(3);
}

void handle(int signal, void (*with)(int, siginfo_t*, void*), struct sigaction* old = nullptr) noexcept {
  struct sigaction action {};
  action.sa_sigaction = with;
  // System calls are restarted; nothing else interrupts a handler.
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigfillset(&action.sa_mask);
  ::sigaction(signal, &action, old);
}

[[noreturn]] void end_now(int signal) noexcept {
  if (ending.exchange(true))
    for (;;) ::pause();
  remove_temporary_files();
  if (parent_tells()) ::_exit(128 + signal);
  message m;
  char const* const name = ::sigabbrev_np(signal);
  // On a terminal there may be half a line of progress.
  m << (terminal ? "\n" : "") << "wayfarer: ended by SIG" << (name ? name : "?")
    << std::string_view(kept.data(), kept_length.load()) << "\n";
  m.print();
  ::_exit(128 + signal);
}

void by_default(int signal) noexcept {
  ::signal(signal, SIG_DFL);
  ::raise(signal);  // as soon as the handler returns
}

void on_alarm(int, siginfo_t*, void*) {
  end_now(first_signal);
}

void on_end(int signal, siginfo_t*, void*) {
  // A child that reads for the program has nothing to put in order.
  if (::getpid() != program) return by_default(signal);
  int const error = errno;
  int none = 0;
  if (first_signal.compare_exchange_strong(none, signal)) {
    ::clock_gettime(CLOCK_MONOTONIC, &first_time);
    if (!ask_to_stop(signal)) end_now(signal);
    handle(SIGALRM, on_alarm);
    ::alarm(seconds_to_rest);
  } else {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    double const since =
        static_cast<double>(now.tv_sec - first_time.tv_sec) + static_cast<double>(now.tv_nsec - first_time.tv_nsec) / 1e9;
    // The kernel sends SIGXCPU again each second, and SIGXFSZ at each write.
    if (signal != SIGXCPU && signal != SIGXFSZ && since > seconds_of_one_wish) end_now(first_signal);
  }
  errno = error;
}

/// The reader of our output has ended: that write fails, and the run continues. SIGPIPE from another process ends it as usual.
void on_pipe(int signal, siginfo_t* info, void* context) {
  if (info->si_pid != ::getpid()) on_end(signal, info, context);
}

/// Of a crash: what comes after is as it would be without us.
void on_crash(int signal, siginfo_t*, void*) {
  if (::getpid() == program) remove_temporary_files();
  by_default(signal);
}

}  // namespace

void install_signal_handlers() {
  program = ::getpid();
  terminal = ::isatty(STDERR_FILENO) == 1;
  handle(SIGBUS, on_bus_error, &before);
  auto const if_default = [](std::initializer_list<int> signals, void (*with)(int, siginfo_t*, void*)) {
    for (int const s : signals) {
      struct sigaction now {};
      // Ignored ones stay so, and a sanitizer keeps those that it handles.
      if (::sigaction(s, nullptr, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL) handle(s, with);
    }
  };
  if_default({SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGXFSZ, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF}, on_end);
  if_default({SIGQUIT, SIGABRT, SIGSEGV, SIGILL, SIGFPE, SIGPIPE}, on_crash);
}

void say_when_ended(std::string_view text) {
  std::string const what = printable(text);
  std::size_t const n = std::min(what.size(), kept.size());
  kept_length = 0;
  std::memcpy(kept.data(), what.data(), n);
  kept_length = n;
}

void let_parent_tell(int parent) noexcept {
  telling_parent = parent;
}

bool parent_tells() noexcept {
  return telling_parent != 0 && ::getppid() == telling_parent;
}

int signal_that_ends() noexcept {
  return first_signal;
}

void outlive_readers() {
  struct sigaction now {};
  if (::sigaction(SIGPIPE, nullptr, &now) == 0 && ((now.sa_flags & SA_SIGINFO) || now.sa_handler != SIG_IGN))
    handle(SIGPIPE, on_pipe);
}

}  // namespace wayfarer::host
