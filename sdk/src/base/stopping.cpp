#include <wayfarer/stopping.hpp>

#include <atomic>
#include <cstring>

namespace wayfarer {
namespace {

constexpr int part_failed = -1;

constinit std::atomic<bool> listening{false};
constinit std::atomic<int> asked{0};  // 0, part_failed, or a signal
thread_local int undivided = 0;

}  // namespace

stopped::stopped() : error("stopped, because another part of the run has failed"), signal_(0) {
  if (int const by = asked.load(); by > 0) *this = stopped("stopped by " + name_of_signal(by), by);
}
stopped::~stopped() = default;

bool stop_asked() noexcept {
  return asked.load(std::memory_order_relaxed) != 0;
}

void stop_if_asked() {
  if (stop_asked()) throw stopped();
}

undivided_work::undivided_work() noexcept {
  ++undivided;
}
undivided_work::~undivided_work() {
  --undivided;
}
bool undivided_work::here() noexcept {
  return undivided != 0;
}

stoppable_work::stoppable_work() noexcept {
  asked = 0;
  listening = true;
}

int stoppable_work::end() noexcept {
  listening = false;
  int const by = asked.exchange(0);
  return by == part_failed ? 0 : by;
}

bool ask_to_stop(int signal) noexcept {
  if (!listening) return false;
  // A signal says more than a failure that it follows.
  int before = 0;
  if (!asked.compare_exchange_strong(before, signal == 0 ? part_failed : signal) && signal != 0 && before == part_failed)
    asked.compare_exchange_strong(before, signal);
  return true;
}

std::string name_of_signal(int signal) {
  char const* const name = ::sigabbrev_np(signal);
  return name ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

}  // namespace wayfarer
