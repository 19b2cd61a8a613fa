// Small numeric operations that models, probes and metrics share. Pure functions; any thread.
//
// Sums run in a fixed order, so a result depends on the numbers alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

WAYFARER_API double dot(std::span<float const> a, std::span<float const> b) noexcept;
WAYFARER_API double dot(std::span<double const> a, std::span<double const> b) noexcept;
/// a.b / (|a| |b|); 0 when either is zero.
WAYFARER_API double cosine(std::span<float const> a, std::span<float const> b) noexcept;
WAYFARER_API double cosine(std::span<double const> a, std::span<double const> b) noexcept;

/// c = a b for matrices a: [m, k], b: [k, n], either of them strided; float32 or float64, both alike. The product keeps the outer
/// dimensions' names. Same bytes for any thread count: called single-threaded on fixed tiles.
WAYFARER_API tensor matmul(tensor const& a, tensor const& b);
/// a a^T, [m, m]: inner products of the rows of a matrix.
WAYFARER_API tensor gram(tensor const& a);

/// Indices of the k largest values, largest first; the lower index among equals; NaN never counts. Fewer if there are fewer.
WAYFARER_API std::vector<std::int32_t> top_k(std::span<float const> values, std::size_t k);
WAYFARER_API std::vector<std::int32_t> top_k(std::span<double const> values, std::size_t k);
/// How many values come before values[index] in that order: 0 for the largest.
WAYFARER_API std::size_t rank_of(std::span<float const> values, std::size_t index);
WAYFARER_API std::size_t rank_of(std::span<double const> values, std::size_t index);

/// Mean and spread of some numbers.
struct WAYFARER_API moments {
  double count = 0, mean = 0, deviation = 0;  ///< deviation: of the sample, divisor count - 1
  double minimum = 0, maximum = 0;
  double standard_error() const noexcept;
};
WAYFARER_API moments moments_of(std::span<double const>) noexcept;

WAYFARER_LAYOUT(moments, count, mean, deviation, minimum, maximum);

}  // namespace wayfarer
