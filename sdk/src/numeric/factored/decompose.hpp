// The decompositions behind factored.hpp, compiled once for each set of instructions. Called by factored.cpp alone.
#pragma once

#include <cstddef>

namespace wayfarer::factored_kernels {

/// a: [m, r] and b: [n, r], both column by column (b is the second factor transposed); m, n >= r. Fills values [r], descending,
/// and, unless null, left [r, m] and right [r, n], row by row.
using svd_kernel = void(double const* a, std::ptrdiff_t m, double const* b, std::ptrdiff_t n, std::ptrdiff_t r, double* values,
                        double* left, double* right);
/// The triangle R of a = Q R: [r, r], row by row.
using triangle_kernel = void(double const* a, std::ptrdiff_t m, std::ptrdiff_t r, double* triangle);

struct kernel_table {
  svd_kernel* svd;
  triangle_kernel* triangle;
};
extern kernel_table const kernels_baseline, kernels_avx2, kernels_avx512;

}  // namespace wayfarer::factored_kernels
