#include "engine/threads.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/info.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <wayfarer/error.hpp>

namespace wayfarer::host {
namespace {

/// What a thread of oneTBB has on a machine of 64 bits.
constexpr std::size_t stack_bytes = std::size_t{4} << 20;
/// Addresses that must be left beside the stacks, for the work itself.
constexpr std::size_t spare_bytes = std::size_t{256} << 20;

bool addresses_are_limited() {
  rlimit now{};
  return ::getrlimit(RLIMIT_AS, &now) == 0 && now.rlim_cur != RLIM_INFINITY;
}

struct gate {
  std::mutex mutex;
  std::condition_variable opened;
  bool open = false;
  std::atomic<std::size_t> waiting{0};
};

void* wait_at(void* at) {
  auto& g = *static_cast<gate*>(at);
  // The C library gives the first threads that ask for memory a heap of their own, with addresses for 64 MiB or more.
  if (addresses_are_limited()) {
    void* const volatile some = std::malloc(64);
    std::free(some);
  }
  ++g.waiting;
  std::unique_lock lock(g.mutex);
  g.opened.wait(lock, [&] { return g.open; });
  return nullptr;
}

/// Starts threads that do nothing, at most so many, and lets them end. How many there were, and why no more.
std::pair<std::size_t, int> try_threads(std::size_t wanted) {
  gate g;
  void* const spare = ::mmap(nullptr, spare_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (spare == MAP_FAILED) return {0, errno};
  std::vector<pthread_t> all;
  all.reserve(wanted);
  pthread_attr_t how;
  int code = ::pthread_attr_init(&how);
  if (code == 0) code = ::pthread_attr_setstacksize(&how, stack_bytes);
  while (all.size() < wanted && code == 0) {
    pthread_t one{};
    code = ::pthread_create(&one, &how, wait_at, &g);
    if (code != 0) break;
    all.push_back(one);
    // One after another: what each takes is gone for the next.
    while (addresses_are_limited() && g.waiting < all.size()) std::this_thread::yield();
  }
  ::pthread_attr_destroy(&how);
  {
    std::lock_guard const lock(g.mutex);
    g.open = true;
  }
  g.opened.notify_all();
  for (auto const one : all) ::pthread_join(one, nullptr);
  ::munmap(spare, spare_bytes);
  return {all.size(), code};
}

std::string limits_text() {
  std::string text;
  auto const add = [&](auto which, rlim_t unit, std::string const& what) {
    rlimit now{};
    if (::getrlimit(which, &now) == 0 && now.rlim_cur != RLIM_INFINITY)
      text += (text.empty() ? "" : ", ") + what + " " + std::to_string(now.rlim_cur / unit);
  };
  add(RLIMIT_AS, 1024, "ulimit -v");
  add(RLIMIT_NPROC, 1, "ulimit -u");
  return text.empty() ? "the system's or the container's limit of processes or of memory" : "limits that are set: " + text;
}

}  // namespace

std::size_t default_threads() {
  auto const all = static_cast<std::size_t>(tbb::info::default_concurrency());
  // Slurm may grant less than it lets a process see.
  char const* const granted = std::getenv("SLURM_CPUS_PER_TASK");
  std::size_t n = 0;
  if (granted && std::from_chars(granted, granted + std::strlen(granted), n).ec == std::errc() && n > 0) return std::min(n, all);
  return all;
}

void prove_threads(std::size_t threads) {
  static std::atomic<std::size_t> proved{1};
  if (threads <= proved) return;
  auto const [started, code] = try_threads(threads - 1);
  if (started + 1 < threads)
    throw resource_error("only " + std::to_string(started + 1) + " of " + std::to_string(threads) + " threads can be started: " +
                         std::generic_category().message(code) + " (" + limits_text() + "); use --threads " +
                         std::to_string(started / 2 + 1) + " or fewer, which changes no result, or raise the limit");
  proved = threads;
}

void with_threads(std::size_t threads, std::function<void()> const& work) {
  prove_threads(threads);
  tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
  tbb::task_arena arena(static_cast<int>(threads));
  arena.execute([&] {
    // Where room is short, oneTBB starts its threads while there is what was found: each piece waits for the others, not for
    // long.
    static std::atomic<std::size_t> begun{1};
    if (threads > begun && addresses_are_limited()) {
      std::atomic<std::size_t> here{0};
      auto const until = std::chrono::steady_clock::now() + std::chrono::milliseconds(20 + threads);
      tbb::parallel_for(
          std::size_t{0}, threads,
          [&](std::size_t) {
            for (++here; here < threads && std::chrono::steady_clock::now() < until;) std::this_thread::yield();
          },
          tbb::simple_partitioner());
      begun = threads;
    }
    work();
  });
}

}  // namespace wayfarer::host
