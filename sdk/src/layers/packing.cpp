#include "packing.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <tuple>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/packing.hpp>
#include <wayfarer/rows.hpp>

#include "common.hpp"
#include "products.hpp"

namespace wayfarer {

using layer_kernels::kernels;
using layer_kernels::matrix;

std::size_t bytes_of(layer_kernels::number type) noexcept {
  return type == layer_kernels::number::f64 ? 8 : type == layer_kernels::number::f32 ? 4 : 2;
}

namespace {

/// Where a weight lies and how: two weights of which all of this is the same are one.
using place = std::tuple<void const*, layer_kernels::number, std::size_t, bool, std::size_t, std::size_t>;

place place_of(matrix const& w, std::size_t k, std::size_t n) {
  return {w.data, w.type, w.ld, w.in_first, k, n};
}

/// All weights that are kept. Never destroyed: the last model may go after everything else.
struct kept_list {
  std::shared_mutex mutex;
  std::map<place, std::weak_ptr<packed_weights>> all;
  std::atomic<std::size_t> bytes = 0;

  static kept_list& get() {
    static auto* const list = new kept_list;
    return *list;
  }
};

/// Bytes that a process may keep: a quarter of the memory that it may use.
std::size_t most_kept() {
  static std::size_t const most = [] {
    std::uint64_t memory =
        static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    for (auto const what : {RLIMIT_AS, RLIMIT_DATA})
      if (rlimit limit{}; getrlimit(what, &limit) == 0) memory = std::min<std::uint64_t>(memory, limit.rlim_cur);
    std::uint64_t group = 0;
    if (std::ifstream("/sys/fs/cgroup/memory.max") >> group) memory = std::min(memory, group);
    return static_cast<std::size_t>(memory / 4);
  }();
  return most;
}

}  // namespace

packed_weights::packed_weights(tensor weight, bool in_first) : weight_(std::move(weight)), in_first_(in_first) {}

packed_weights::~packed_weights() {
  auto& list = kept_list::get();
  list.bytes -= bytes_;
  std::unique_lock const lock(list.mutex);
  auto const own = list.all.find(place_of(matrix_of(weight_, in_first_), in(), out()));
  if (own != list.all.end() && own->second.expired()) list.all.erase(own);  // another may have come in its place
}

std::byte const* packed_weights::panels(bool few) {
  if (auto const* const ready = ready_.load(std::memory_order_acquire)) return ready;
  // What is multiplied by once needs no copy, so the second product makes it, or the tenth of few rows, which gain less. Others
  // don't wait for it: it may wait for them.
  std::size_t constexpr enough = 10;
  std::size_t const more = few ? 1 : enough - 1, before = worth_.fetch_add(more);
  if (before < enough && before + more >= enough) pack();
  return ready_.load(std::memory_order_acquire);
}

void packed_weights::pack() {
  auto const& kernel = kernels<float>();
  matrix const w = matrix_of(weight_, in_first_);
  std::size_t const k = in(), n = out(), width = kernel.panel, count = (n + width - 1) / width, size = bytes_of(w.type),
                    bytes = count * width * k * size;
  auto& kept = kept_list::get().bytes;
  if (kept.fetch_add(bytes) + bytes > most_kept()) {
    kept -= bytes;
    return;
  }
  bytes_ = bytes;
  try {
    memory_ = pooled_memory(bytes);
  } catch (resource_error const&) {
    return;  // goes on without
  }
  auto* const to = static_cast<std::byte*>(memory_.get());
  split(count, k * n, [&](std::size_t panel) {
    std::size_t const n0 = panel * width, some = std::min(width, n - n0);
    kernel.pack_stored(to + panel * k * width * size, w, k, n0, some);
  });
  ready_.store(to, std::memory_order_release);
}

std::shared_ptr<packed_weights> kept_of(matrix const& w, std::size_t k, std::size_t n) {
  auto& list = kept_list::get();
  std::shared_lock const lock(list.mutex);
  auto const found = list.all.find(place_of(w, k, n));
  return found == list.all.end() ? nullptr : found->second.lock();
}

std::shared_ptr<void const> keep_packed(linear_weights const& w) {
  if (!w.w.defined()) return nullptr;
  auto& list = kept_list::get();
  auto made = std::make_shared<packed_weights>(w.w, w.in_first);
  std::unique_lock const lock(list.mutex);
  auto& entry = list.all[place_of(matrix_of(w.w, w.in_first), w.in(), w.out())];
  if (auto known = entry.lock()) return known;
  entry = made;
  return made;
}

}  // namespace wayfarer
