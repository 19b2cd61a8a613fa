#include <wayfarer/rows.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include <sys/mman.h>

#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/tape.hpp>

#include "common.hpp"

namespace wayfarer {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;

/// Freed blocks by size, so that a run's next layer, and the next run, find pages that are already there. Never destroyed: the
/// last activations may go after everything else.
class memory_pool {
 public:
  static memory_pool& get() {
    static auto* const pool = new memory_pool;
    return *pool;
  }

  void* take(std::size_t& bytes) {
    bytes = rounded(bytes);
    {
      std::lock_guard const lock(mutex_);
      // A block that is a little too large is better than fresh pages.
      auto const found = free_.lower_bound(bytes);
      if (found != free_.end() && found->first <= bytes + bytes / 4) {
        void* const p = found->second;
        bytes = found->first;
        kept_ -= bytes;
        free_.erase(found);
        return p;
      }
    }
    std::size_t const alignment = bytes >= huge_page ? huge_page : 64;
    void* p = std::aligned_alloc(alignment, bytes);
    if (!p) {
      release();
      p = std::aligned_alloc(alignment, bytes);
    }
    if (!p) throw resource_error("no memory for activations of " + std::to_string(bytes) + " bytes; use smaller blocks");
    if (bytes >= huge_page) madvise(p, bytes, MADV_HUGEPAGE);
    return p;
  }

  void give(void* p, std::size_t bytes) noexcept {
    {
      std::lock_guard const lock(mutex_);
      if (kept_ + bytes <= most_kept) {
        try {
          free_.emplace(bytes, p);
          kept_ += bytes;
          return;
        } catch (std::bad_alloc const&) {
        }
      }
    }
    std::free(p);
  }

 private:
  void release() noexcept {
    std::lock_guard const lock(mutex_);
    for (auto const& [bytes, p] : free_) std::free(p);
    free_.clear();
    kept_ = 0;
  }

  // Enough for GPT-2's logits and patterns at 1,024 tokens. Never more than was in use at some time before.
  static constexpr std::size_t most_kept = std::size_t{1} << 30;
  static std::size_t rounded(std::size_t bytes) {
    std::size_t const to = bytes >= huge_page ? huge_page : bytes >= 65536 ? 4096 : 64;
    if (bytes > SIZE_MAX - to) throw resource_error("activations of " + std::to_string(bytes) + " bytes are too large");
    return std::max<std::size_t>(64, (bytes + to - 1) / to * to);
  }
  std::mutex mutex_;
  std::multimap<std::size_t, void*> free_;
  std::size_t kept_ = 0;
};

std::size_t bytes_of(std::size_t rows, std::size_t width, dtype t) {
  std::size_t n = 0;
  if (__builtin_mul_overflow(rows, width, &n) || __builtin_mul_overflow(n, size_of(t), &n))
    throw resource_error("activations of " + std::to_string(rows) + " x " + std::to_string(width) + " are too large");
  return n;
}

}  // namespace

std::shared_ptr<void> pooled_memory(std::size_t bytes) {
  void* const p = memory_pool::get().take(bytes);
  return {p, [bytes](void* q) { memory_pool::get().give(q, bytes); }};
}

// ---- packing -----------------------------------------------------------------------------------------------------------------

std::size_t row_packing::longest() const noexcept {
  std::size_t n = 0;
  for (std::size_t i = 0; i < items(); ++i) n = std::max(n, length(i));
  return n;
}

std::shared_ptr<row_packing const> row_packing::of(ragged<std::int32_t> const& tokens,
                                                   std::span<std::size_t const> first_position) {
  auto p = std::make_shared<row_packing>();
  if (!first_position.empty() && first_position.size() != tokens.size())
    throw plugin_error("a batch of " + std::to_string(tokens.size()) + " items has " + std::to_string(first_position.size()) +
                       " first positions");
  p->offsets.clear();
  for (auto const o : tokens.offsets) p->offsets.push_back(o - tokens.offsets.front());
  p->first_position.assign(tokens.size(), 0);
  std::copy(first_position.begin(), first_position.end(), p->first_position.begin());
  return p;
}

std::shared_ptr<row_packing const> row_packing::last_rows() const {
  auto p = std::make_shared<row_packing>();
  for (std::size_t i = 0; i < items(); ++i) {
    std::size_t const n = std::min<std::size_t>(length(i), 1);
    p->offsets.push_back(p->offsets.back() + n);
    p->first_position.push_back(first_position[i] + length(i) - n);
  }
  return p;
}

// ---- rows --------------------------------------------------------------------------------------------------------------------

rows::rows(std::shared_ptr<row_packing const> of, std::size_t width, dtype precision)
    : of_(std::move(of)), width_(width), precision_(precision) {
  memory_ = pooled_memory(bytes_of(of_->rows(), width, type()));
}

void rows::unshare(bool keep) {
  if (!memory_ || memory_.use_count() == 1) return;
  std::size_t const bytes = bytes_of(count(), width_, type());
  auto fresh = pooled_memory(bytes);
  if (keep) std::memcpy(fresh.get(), memory_.get(), bytes);
  memory_ = std::move(fresh);
}

tensor rows::item(std::size_t i, dims const& row) const {
  dims shape{{"pos", of_->length(i)}};
  shape.insert(shape.end(), row.begin(), row.end());
  auto* const first = static_cast<std::byte*>(memory_.get()) + of_->offsets[i] * width_ * size_of(type());
  return tensor::lend(type(), first, std::move(shape), memory_);
}

rows rows::last() const {
  rows out(of_->last_rows(), width_, precision_);
  std::size_t const bytes = width_ * size_of(type());
  for (std::size_t i = 0; i < of_->items(); ++i)
    if (of_->length(i))
      std::memcpy(static_cast<std::byte*>(out.memory_.get()) + out.of_->offsets[i] * bytes,
                  static_cast<std::byte const*>(memory_.get()) + (of_->offsets[i + 1] - 1) * bytes, bytes);
  out.tape_ = tape_;
  if (tape* const on = tape::following("last rows", {recorded()}))
    on->add("last rows", {recorded()}, {&out}, [](step_gradients& g) {
      rows const dy = g.take();
      rows& dx = g.sum(0);
      with_type(dx.type(), [&]<class T>(T const*) {
        T* const to = dx.own<T>();
        std::size_t const d = dx.width();
        for (std::size_t i = 0; i < dy.packing().items(); ++i)
          if (dx.packing().length(i)) {
            T* const row = to + (dx.packing().offsets[i + 1] - 1) * d;
            layer_kernels::kernels<T>().add(row, row, dy.data<T>() + dy.packing().offsets[i] * d, d);
          }
      });
    });
  return out;
}

rows& rows::operator+=(rows const& other) {
  if (other.count() != count() || other.width_ != width_ || other.type() != type())
    throw plugin_error("rows of different shapes can't be added");
  recorded_value const first = recorded(), second = other.recorded();
  auto const before = memory_;
  with_type(type(), [&]<class T>(T const*) {
    // One owner besides `before` is this object itself.
    if (before.use_count() > 2) memory_ = pooled_memory(bytes_of(count(), width_, type()));
    T* const out = static_cast<T*>(memory_.get());
    T const* const a = static_cast<T const*>(before.get());
    T const* const b = other.data<T>();
    in_chunks(count() * width_,
              [&](std::size_t at, std::size_t n) { layer_kernels::kernels<T>().add(out + at, a + at, b + at, n); });
  });
  if (!tape_) tape_ = other.tape_;
  if (tape* const on = tape::following("+", {first, second}))
    on->add("+", {first, second}, {this}, [](step_gradients& g) {
      rows const dy = g.take();
      g.add(1, dy), g.add(0, dy);
    });
  return *this;
}

rows operator+(rows const& a, rows const& b) {
  rows out = a;
  out += b;
  return out;
}

// ---- pairs -------------------------------------------------------------------------------------------------------------------

pairs::pairs(std::shared_ptr<row_packing const> queries, std::vector<std::size_t> keys, std::size_t heads, dtype precision)
    : queries_(std::move(queries)), keys_(std::move(keys)), heads_(heads), precision_(precision) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < queries_->items(); ++i) {
    offsets_.push_back(n);
    std::size_t one = 0;
    if (__builtin_mul_overflow(queries_->length(i), keys_[i], &one) || __builtin_mul_overflow(one, heads_, &one) ||
        __builtin_add_overflow(n, one, &n))
      throw resource_error("attention patterns of so many positions are too large");
  }
  offsets_.push_back(n);
  memory_ = pooled_memory(bytes_of(n, 1, type()));
}

tensor pairs::item(std::size_t i) const {
  auto* const first = static_cast<std::byte*>(memory_.get()) + offsets_[i] * size_of(type());
  return tensor::lend(type(), first, {{"head", heads_}, {"query", queries_->length(i)}, {"key", keys_[i]}}, memory_);
}

void pairs::unshare() {
  if (!memory_ || memory_.use_count() == 1) return;
  std::size_t const bytes = offsets_.back() * size_of(type());
  auto fresh = pooled_memory(bytes);
  std::memcpy(fresh.get(), memory_.get(), bytes);
  memory_ = std::move(fresh);
}

}  // namespace wayfarer
