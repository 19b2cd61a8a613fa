// Counter-based random numbers: the n-th draw of a stream is a pure function of (seed, stream, item, n).
//
// A generator seeds one stream per item, so that any thread may make any item, in any order, and get the same numbers. Philox
// 4x32-10 (Salmon et al. 2011) from the Random123 library. Distributions are written out here because those of the standard
// library differ between implementations. A stream is a small value owned by one thread.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include <Random123/philox.h>

#include <wayfarer/export.hpp>

namespace wayfarer {

/// Stable 32-bit name of a stream (FNV-1a), so that each purpose has its own stream.
constexpr std::uint32_t stream_id(std::string_view name) noexcept {
  std::uint32_t h = 2166136261u;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
  return h;
}

class random_stream {
 public:
  random_stream(std::uint64_t seed, std::string_view stream, std::uint64_t item = 0) noexcept
      : random_stream(seed, stream_id(stream), item) {}
  random_stream(std::uint64_t seed, std::uint32_t stream, std::uint64_t item) noexcept
      : key_{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}},
        counter_{{0u, stream, static_cast<std::uint32_t>(item), static_cast<std::uint32_t>(item >> 32)}} {}

  /// 32 uniform random bits.
  std::uint32_t bits() noexcept {
    if (used_ == 4) {
      block_ = r123::Philox4x32()(counter_, key_);
      ++counter_.v[0];
      used_ = 0;
    }
    return block_.v[used_++];
  }

  /// Uniform in [0, 1), 24 bits: exact in float32.
  float uniform_float() noexcept { return static_cast<float>(bits() >> 8) * 0x1.0p-24f; }

  /// Uniform in [0, 1), 53 bits.
  double uniform() noexcept {
    std::uint64_t const high = bits(), low = bits();
    return static_cast<double>((high << 32 | low) >> 11) * 0x1.0p-53;
  }

  /// Uniform in {0, ..., n-1}, n >= 1, without bias (Lemire 2019).
  std::uint32_t below(std::uint32_t n) noexcept {
    std::uint64_t m = std::uint64_t{bits()} * n;
    if (static_cast<std::uint32_t>(m) < n) {
      std::uint32_t const threshold = (0u - n) % n;
      while (static_cast<std::uint32_t>(m) < threshold) m = std::uint64_t{bits()} * n;
    }
    return static_cast<std::uint32_t>(m >> 32);
  }

  /// Standard normal (Box-Muller; every second call costs nothing).
  double normal() noexcept {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    double const r = std::sqrt(-2.0 * std::log1p(-uniform())), angle = 6.283185307179586476925 * uniform();
    spare_ = r * std::sin(angle);
    has_spare_ = true;
    return r * std::cos(angle);
  }

  /// Natural logarithm of a Gamma(shape, 1) draw, shape > 0 (Marsaglia and Tsang 2000). The logarithm, because a draw with a
  /// small shape may be smaller than the smallest double.
  double log_gamma_draw(double shape) noexcept {
    double boost = 0;
    if (shape < 1) {
      boost = std::log1p(-uniform()) / shape;
      shape += 1;
    }
    double const d = shape - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
    for (;;) {
      double const x = normal(), t = 1 + c * x;
      if (t <= 0) continue;
      double const v = t * t * t, u = 1 - uniform();
      if (std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return boost + std::log(d * v);
    }
  }

  /// Fisher-Yates shuffle of [0, n) through `swap(i, j)`.
  template <class Swap>
  void shuffle(std::uint32_t n, Swap&& swap) noexcept(noexcept(swap(n, n))) {
    for (std::uint32_t i = n; i > 1; --i) swap(i - 1, below(i));
  }

 private:
  r123::Philox4x32::key_type key_;
  r123::Philox4x32::ctr_type counter_;
  r123::Philox4x32::ctr_type block_{};
  unsigned used_ = 4;
  bool has_spare_ = false;
  double spare_ = 0;
};

}  // namespace wayfarer
