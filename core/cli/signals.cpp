#include "cli/signals.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <string_view>

#include <wayfarer/file.hpp>

namespace wayfarer::host {
namespace {

struct sigaction before;
pid_t program = 0;
std::atomic<bool> ending{false};

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
    ::sigaction(SIGBUS, &before, nullptr);
    return;
  }
  // Other threads may run into the same file; one speaks, the rest wait for the end.
  if (ending.exchange(true))
    for (;;) ::pause();
  message m;
  m << "\nwayfarer: data error: " << at.path << " was cut while it was read, at byte " << at.byte
    << "; don't change files in use, and start again\n";
  m.print();
  // A child that reads for the program must leave the program's files alone.
  if (::getpid() == program) remove_temporary_files();
  ::_exit(3);
}

}  // namespace

void install_signal_handlers() {
  program = ::getpid();
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, &before);
}

}  // namespace wayfarer::host
