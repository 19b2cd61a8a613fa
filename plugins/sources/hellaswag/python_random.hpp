// The random numbers of CPython's `random.Random(seed)`, bit for bit: the published few-shot contexts were drawn with them.
//
// Mersenne Twister 19937 (Matsumoto and Nishimura 1998), seeded by `init_by_array` with the seed's 32-bit words, and the
// `shuffle` and `sample` of CPython 3.9 to 3.12 on top. Only for that purpose: all other code uses random_stream. A plain
// object, used by one thread at a time.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

namespace wayfarer {

class python_random {
 public:
  explicit python_random(std::uint64_t seed) {
    auto const low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(seed >> 32);
    std::array<std::uint32_t, 2> const key{low, high};
    seed_by_array(std::span(key).first(high != 0 ? 2 : 1));
  }

  /// 32 random bits.
  std::uint32_t bits() noexcept {
    if (next_ == words) refill();
    std::uint32_t y = state_[next_++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
  }

  /// Uniform in [0, n), n >= 1: `_randbelow`, which draws again until the number's bits fit.
  std::uint32_t below(std::uint32_t n) noexcept {
    int const unused = std::countl_zero(n);
    std::uint32_t r = bits() >> unused;
    while (r >= n) r = bits() >> unused;
    return r;
  }

  /// `random.shuffle`.
  template <class T>
  void shuffle(std::span<T> all) noexcept {
    for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[below(static_cast<std::uint32_t>(i))]);
  }

  /// `random.sample(range(n), k)`, k <= n < 2^32.
  std::vector<std::uint32_t> sample(std::uint32_t n, std::uint32_t k) {
    // CPython takes a list where that is smaller than a set of the numbers drawn; the two draw differently.
    double size_of_set = 21;
    if (k > 5) size_of_set += std::pow(4.0, std::ceil(std::log(3.0 * k) / std::log(4.0)));
    std::vector<std::uint32_t> drawn;
    drawn.reserve(k);
    if (n <= size_of_set) {
      std::vector<std::uint32_t> pool(n);
      for (std::uint32_t i = 0; i < n; ++i) pool[i] = i;
      for (std::uint32_t i = 0; i < k; ++i) {
        std::uint32_t const j = below(n - i);
        drawn.push_back(pool[j]);
        pool[j] = pool[n - i - 1];
      }
      return drawn;
    }
    std::unordered_set<std::uint32_t> taken;
    while (drawn.size() < k)
      if (std::uint32_t const j = below(n); taken.insert(j).second) drawn.push_back(j);
    return drawn;
  }

 private:
  static constexpr std::size_t words = 624, middle = 397;

  void seed_by_array(std::span<std::uint32_t const> key) noexcept {
    state_[0] = 19650218u;
    for (std::uint32_t i = 1; i < words; ++i) state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
    std::size_t i = 1, j = 0;
    auto const before = [&] { return state_[i - 1] ^ (state_[i - 1] >> 30); };
    auto const step = [&] {
      if (++i == words) state_[0] = state_[words - 1], i = 1;
    };
    for (std::size_t n = words; n > 0; --n) {  // the key is shorter than the state
      state_[i] = (state_[i] ^ (before() * 1664525u)) + key[j] + static_cast<std::uint32_t>(j);
      step();
      if (++j == key.size()) j = 0;
    }
    for (std::size_t n = words - 1; n > 0; --n) {
      state_[i] = (state_[i] ^ (before() * 1566083941u)) - static_cast<std::uint32_t>(i);
      step();
    }
    state_[0] = 0x80000000u;
    next_ = words;
  }

  void refill() noexcept {
    for (std::size_t i = 0; i < words; ++i) {
      std::uint32_t const y = (state_[i] & 0x80000000u) | (state_[(i + 1) % words] & 0x7fffffffu);
      state_[i] = state_[(i + middle) % words] ^ (y >> 1) ^ ((y & 1u) != 0 ? 0x9908b0dfu : 0u);
    }
    next_ = 0;
  }

  std::array<std::uint32_t, words> state_{};
  std::size_t next_ = words;
};

}  // namespace wayfarer
