#include "bench/allocations.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>

#include "store/sanitized.hpp"

namespace {

std::atomic<bool> counting{false};
std::atomic<std::uint64_t> bytes{0};

}  // namespace

#ifndef WAYFARER_SANITIZED
#define WAYFARER_COUNTS_ALLOCATIONS 1

extern "C" {

// The C library's own, under the names by which it exports them for this purpose.
void* __libc_malloc(std::size_t) noexcept;
void* __libc_calloc(std::size_t, std::size_t) noexcept;
void* __libc_realloc(void*, std::size_t) noexcept;
void* __libc_memalign(std::size_t, std::size_t) noexcept;
void __libc_free(void*) noexcept;

static inline void note(std::size_t size) noexcept {
  if (counting.load(std::memory_order_relaxed)) bytes.fetch_add(size, std::memory_order_relaxed);
}

__attribute__((visibility("default"))) void* malloc(std::size_t size) noexcept {
  note(size);
  return __libc_malloc(size);
}
__attribute__((visibility("default"))) void* calloc(std::size_t count, std::size_t size) noexcept {
  note(count * size);
  return __libc_calloc(count, size);
}
__attribute__((visibility("default"))) void* realloc(void* old, std::size_t size) noexcept {
  note(size);
  return __libc_realloc(old, size);
}
__attribute__((visibility("default"))) void free(void* p) noexcept {
  __libc_free(p);
}
__attribute__((visibility("default"))) void* memalign(std::size_t alignment, std::size_t size) noexcept {
  note(size);
  return __libc_memalign(alignment, size);
}
__attribute__((visibility("default"))) void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  note(size);
  return __libc_memalign(alignment, size);
}
__attribute__((visibility("default"))) int posix_memalign(void** out, std::size_t alignment, std::size_t size) noexcept {
  note(size);
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
  void* const p = __libc_memalign(alignment, size);
  if (!p) return ENOMEM;
  *out = p;
  return 0;
}

}  // extern "C"
#else
#define WAYFARER_COUNTS_ALLOCATIONS 0
#endif

namespace wayfarer::host::bench {

bool counts_allocations() noexcept {
  return WAYFARER_COUNTS_ALLOCATIONS != 0;
}

void count_allocations() noexcept {
  bytes.store(0);
  counting.store(true);
}

std::uint64_t allocated_bytes() noexcept {
  counting.store(false);
  return bytes.load();
}

void reset_peak_memory() noexcept {
  if (std::FILE* const f = std::fopen("/proc/self/clear_refs", "w")) {
    std::fputs("5", f);
    std::fclose(f);
  }
}

std::uint64_t peak_memory() noexcept {
  unsigned long long kilobytes = 0;
  if (std::FILE* const f = std::fopen("/proc/self/status", "r")) {
    char line[256];
    while (std::fgets(line, sizeof line, f))
      if (std::sscanf(line, "VmHWM: %llu", &kilobytes) == 1) break;
    std::fclose(f);
  }
  return std::uint64_t{kilobytes} << 10;
}

}  // namespace wayfarer::host::bench
