// A matrix known only as the product of two thin factors, such as a head's W_Q W_K^T: never formed, decomposed through its
// factors.
//
// M = A B with A: [m, r] and B: [r, n], r small (64 for a GPT-2 head, where m = n = 768). Thin QR of both factors leaves an r x r
// core, whose decomposition costs next to nothing. All arithmetic is float64. Pure functions; any thread.
#pragma once

#include <complex>
#include <cstddef>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// M = sum_i values[i] left[i]^T right[i]: rows are directions, largest value first. Float64.
struct thin_svd {
  tensor left;    ///< [r, m], orthonormal rows
  tensor values;  ///< [r], descending, not negative
  tensor right;   ///< [r, n], orthonormal rows
};

/// a: [m, r], b: [r, n], float32 or float64, either of them strided. r must not exceed m or n. Throws plugin_error for shapes
/// that do not fit and data_error for numbers that are not finite. Signs are those of the decomposition: fix them by what they
/// mean.
WAYFARER_API thin_svd svd_of_product(tensor const& a, tensor const& b);

/// The singular values alone, [r].
WAYFARER_API tensor singular_values_of_product(tensor const& a, tensor const& b);

/// The eigenvalues of the square matrix a b that can differ from zero: those of b a, [r], by descending magnitude, then
/// descending real part, then descending imaginary part.
WAYFARER_API std::vector<std::complex<double>> eigenvalues_of_product(tensor const& a, tensor const& b);

/// The eigenvectors as well: vectors[i] of [m] belongs to values[i], with unit length.
struct thin_eigen {
  std::vector<std::complex<double>> values;
  std::vector<std::vector<std::complex<double>>> vectors;
};
WAYFARER_API thin_eigen eigen_of_product(tensor const& a, tensor const& b);

/// The triangle R [r, r] of the QR decomposition of a thin matrix a: [m, r]. ||a x|| = ||R x|| for every x.
WAYFARER_API tensor triangle_of(tensor const& a);

/// ||a b||_F from the Gram matrices of the factors.
WAYFARER_API double frobenius_norm_of_product(tensor const& a, tensor const& b);

WAYFARER_LAYOUT(thin_svd, left, values, right);
WAYFARER_LAYOUT(thin_eigen, values, vectors);

}  // namespace wayfarer
