// Where each byte of a changed text comes from. Stretches of characters that stand for themselves take a few bytes together,
// however long, so that 10 MB without spaces need nothing beside themselves.
//
// Filled and read by the one thread that cuts a text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace wayfarer::tokenizing {

/// Bytes [begin, end) of the original text.
struct origin {
  std::uint32_t begin = 0, end = 0;
};

class origins {
 public:
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  /// `i` is below size().
  origin operator[](std::size_t i) const noexcept { return of_run(run_of(i), i); }
  /// From where byte `first` begins to where byte `last` ends; they are near each other.
  origin span(std::size_t first, std::size_t last) const noexcept {
    std::size_t const k = run_of(first);
    return {of_run(k, first).begin, of_run(run_of(last, k), last).end};
  }
  origin back() const noexcept { return (*this)[size_ - 1]; }

  /// Room for `n` more changes, each with what follows it.
  void reserve(std::size_t n) { runs_.reserve(runs_.size() + 2 * n); }
  /// `n` bytes that all stand for the same.
  void add(std::size_t n, origin o) {
    if (n == 0) return;
    if (n == o.end - o.begin && n <= longest_character) return add_characters(n, o.begin, static_cast<std::uint32_t>(n));
    if (runs_.empty() || runs_.back().begin != o.begin || runs_.back().end != o.end) runs_.push_back({at(), o.begin, o.end});
    grow(n);
  }
  /// `n` bytes, the first for byte `begin` alone, the next for the one behind it.
  void add_themselves(std::size_t n, std::size_t begin) {
    if (n != 0) add_characters(n, begin, 1);
  }
  /// Those of bytes [first, first + n) of another text.
  void add(origins const& other, std::size_t first, std::size_t n) {
    if (n == 0) return;
    std::size_t const end = first + n;
    for (std::size_t k = other.run_of(first); k < other.runs_.size() && other.runs_[k].at < end; ++k) {
      run const& r = other.runs_[k];
      std::size_t from = std::max<std::size_t>(first, r.at);
      std::size_t const to = std::min<std::size_t>(end, k + 1 < other.runs_.size() ? other.runs_[k + 1].at : other.size_);
      if (r.end < unchanged) {
        add(to - from, {r.begin, r.end});
        continue;
      }
      // Characters that are cut in two at an end come by the byte.
      std::uint32_t const length = character_length(r);
      auto const by_byte = [&](std::size_t until) {
        for (; from < until; ++from) {
          runs_.push_back({at(), other[from].begin, other[from].end});
          grow(1);
        }
      };
      by_byte(std::min(to, from + (length - (from - r.at) % length) % length));
      std::size_t const whole = (to - from) / length * length;
      if (whole > 0) add_characters(whole, r.begin + (from - r.at), length);
      from += whole;
      by_byte(to);
    }
  }
  void drop_front(std::size_t n) {
    origins rest;
    rest.add(*this, n, size_ - n);
    *this = std::move(rest);
  }
  void clear() noexcept {
    runs_.clear();
    index_.clear();
    size_ = 0;
  }

 private:
  /// From byte `at` on. All stand for [begin, end); or, where `end` is `unchanged` or above, they are characters of equal length
  /// that stand for themselves, the first for the one at `begin`. No text reaches to 4 GiB, so no origin ends there.
  struct run {
    std::uint32_t at, begin, end;
  };
  static constexpr std::uint32_t longest_character = 4, unchanged = 0xffffffff - longest_character;
  static constexpr std::size_t bytes_an_entry = 64;

  static std::uint32_t character_length(run const& r) noexcept { return r.end - unchanged; }
  std::uint32_t at() const noexcept { return static_cast<std::uint32_t>(size_); }
  void add_characters(std::size_t n, std::size_t begin, std::uint32_t length) {
    bool const more =
        !runs_.empty() && runs_.back().end == unchanged + length && runs_.back().begin + (size_ - runs_.back().at) == begin;
    if (!more) runs_.push_back({at(), static_cast<std::uint32_t>(begin), unchanged + length});
    grow(n);
  }
  void grow(std::size_t n) {
    size_ += n;
    while (index_.size() * bytes_an_entry < size_) index_.push_back(static_cast<std::uint32_t>(runs_.size() - 1));
  }
  origin of_run(std::size_t k, std::size_t i) const noexcept {
    run const& r = runs_[k];
    if (r.end < unchanged) return {r.begin, r.end};
    std::uint32_t const length = character_length(r);
    auto const begin = length == 1 ? static_cast<std::uint32_t>(r.begin + (i - r.at))
                                   : static_cast<std::uint32_t>(r.begin + (i - r.at) / length * length);
    return {begin, begin + length};
  }
  std::size_t run_of(std::size_t i) const noexcept { return run_of(i, index_[i / bytes_an_entry]); }
  /// Searched for from run k on.
  std::size_t run_of(std::size_t i, std::size_t k) const noexcept {
    while (k + 1 < runs_.size() && runs_[k + 1].at <= i) ++k;
    return k;
  }

  std::vector<run> runs_;
  std::vector<std::uint32_t> index_;  // the run of each 64th byte
  std::size_t size_ = 0;
};

}  // namespace wayfarer::tokenizing
