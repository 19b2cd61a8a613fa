// Threads that are inside the plugin at the same time.
#include <pthread.h>
#include <sched.h>
#include <sys/time.h>

#include <atomic>
#include <csignal>
#include <exception>
#include <mutex>
#include <thread>

#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {

namespace {

/// While it lives, threads that let it are interrupted every 50 microseconds and give way, wherever they are: on a busy machine,
/// or on one core, two threads would otherwise hardly ever be inside the same function.
class interruptions {
 public:
  interruptions() {
    struct sigaction give_way {};
    left_ = 400;
    give_way.sa_handler = [](int) {
      if (left_.fetch_sub(1, std::memory_order_relaxed) > 0) ::sched_yield();
    };
    give_way.sa_flags = SA_RESTART;
    // It stays when this ends: the thread sanitizer holds signals back, so that one may still come then.
    ::sigaction(SIGALRM, &give_way, nullptr);
    mask(SIG_BLOCK);  // this thread only waits
    itimerval const often{{0, 50}, {0, 50}};
    ::setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~interruptions() {
    itimerval const never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    mask(SIG_UNBLOCK);
  }
  interruptions(interruptions const&) = delete;
  static void mask(int how) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGALRM);
    ::pthread_sigmask(how, &set, nullptr);
  }

 private:
  static inline std::atomic<int> left_{0};
};

}  // namespace

void on_threads(std::size_t threads, std::function<void(std::size_t)> const& work) {
  std::atomic<std::size_t> waiting{threads};
  std::exception_ptr first;
  std::mutex mutex;
  std::vector<std::thread> all;
  interruptions const often;
  for (std::size_t t = 0; t < threads; ++t)
    all.emplace_back([&, t] {
      interruptions::mask(SIG_UNBLOCK);
      --waiting;
      while (waiting.load() != 0) std::this_thread::yield();
      try {
        work(t);
      } catch (...) {
        std::lock_guard const lock(mutex);
        if (!first) first = std::current_exception();
      }
      interruptions::mask(SIG_BLOCK);
    });
  for (auto& t : all) t.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace wayfarer::host::conformance
