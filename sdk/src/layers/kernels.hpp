// The inner loops of the layers, compiled once per instruction set and chosen at run time, so that one binary runs anywhere and
// is fast where AVX-512 is. Kernel files include nothing but this header and use plain loops over plain pointers, so that no
// library template is compiled with the wrong instructions.
//
// Every product is summed in one order: a chain of multiply-adds over blocks of `block_k` terms, and the blocks' sums in turn. So
// an element has the same bits whichever rows and columns it is computed with, one row alone included.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wayfarer::layer_kernels {

using size = std::size_t;

inline constexpr size block_k = 384;

enum class number : std::uint8_t { f32, f64, f16, bf16 };

/// A matrix [k, n] where `in_first`, else stored as [n, k]; `ld` is the distance of its rows in elements.
struct matrix {
  void const* data;
  number type;
  size ld;
  bool in_first;
};

inline constexpr size cache_line = 64;
/// The prefetch hint of the second-level cache: what is fetched for later would push out what is in use from the first.
inline constexpr int second_cache = 2;

/// Weights that will be packed next, fetched into the cache while products are made: rows of cache lines.
struct ahead {
  char const* at = nullptr;
  size rows = 0, lines = 0;  ///< rows that are left, and cache lines of one
  std::ptrdiff_t skip = 0;   ///< bytes from the end of one row's lines to the next row
  size left = 0;             ///< lines of this row

  /// The part [k0, k0 + k) x [n0, n0 + n) of w, whose numbers have so many bytes.
  static ahead of(matrix const& w, size bytes, size k0, size k, size n0, size n) {
    size const lines = ((w.in_first ? n : k) * bytes + cache_line - 1) / cache_line;
    char const* const at = static_cast<char const*>(w.data) + (w.in_first ? k0 * w.ld + n0 : n0 * w.ld + k0) * bytes;
    return {at, w.in_first ? k : n, lines,
            static_cast<std::ptrdiff_t>(w.ld * bytes) - static_cast<std::ptrdiff_t>(lines * cache_line), lines};
  }
  void one() {
    if (rows == 0) return;
    __builtin_prefetch(at, 0, second_cache);
    at += cache_line;
    if (--left == 0) at += skip, left = lines, --rows;
  }
  /// Whether the tiles of the m rows that are left, one line in each of k steps, are needed to fetch all: not earlier, or it
  /// would be gone when it is wanted.
  bool soon(size m, size tile_rows, size k) const { return m / tile_rows * k <= rows * lines + 2 * k; }
};

enum class act : std::uint8_t { relu, gelu_tanh, gelu_erf, silu, tanh, identity, gelu_quick, relu_squared };

/// One step of AdamW: m and v are the moments, g is scaled before it counts.
template <class T>
struct adamw_constants {
  T gradient_scale, beta1, beta2;
  T rate;     ///< of the step, over 1 - beta1^t
  T v_scale;  ///< 1 / (1 - beta2^t)
  T epsilon;
  T keep;  ///< 1 - rate * decay
};

template <class T>
struct kernel_table {
  char const* name;
  size panel;     ///< columns of a packed panel, a divisor of 64
  size row_tile;  ///< rows that are computed together
  /// packed[k][panel] = w[k0 + ., n0 + .] for k x n of them, the columns after n filled with zeros.
  void (*pack)(T* packed, matrix const& w, size k0, size k, size n0, size n);
  /// The same of all k terms, in the stored type.
  void (*pack_stored)(void* packed, matrix const& w, size k, size n0, size n);
  /// c [m, ld_c] = (or +=) a [m, ld_a] packed; k <= block_k terms, n <= panel columns. Fetches `next` meanwhile.
  void (*product)(T* c, size ld_c, T const* a, size ld_a, T const* packed, size m, size n, size k, bool add, ahead const& next);
  /// One row: c[n] = a[k] w[k0 + ., n0 + .], or continues the chain that c holds.
  void (*row_product)(T* c, T const* a, matrix const& w, size k0, size k, size n0, size n, bool go_on);
  /// c [m, ld_c] = a [m, ld_a] w[., n0 + .] over all k terms, for few rows: weights are read once, as they lie.
  /// sums: m (n + 16) numbers.
  void (*few_rows)(T* c, size ld_c, T const* a, size ld_a, matrix const& w, size m, size k, size n0, size n, T* sums);
  /// c [m, ld_c] = a [m, ld_a] panel over all k terms, for few rows and one panel [k][panel] of stored numbers, of which n
  /// columns count. sums: m * panel numbers.
  void (*few_kept)(T* c, size ld_c, T const* a, size ld_a, void const* panel, number type, size m, size k, size n, T* sums);
  void (*convert)(T* out, void const* from, number type, size n);
  void (*add)(T* out, T const* a, T const* b, size n);
  void (*scale)(T* x, T by, size n);
  void (*activate)(act, T* x, size n);
  void (*multiply)(T* x, T const* by, size n);
  /// Mean (0 if not `centred`) and sqrt(variance + epsilon) of a row.
  void (*norm_scale)(T* mean, T* scale, T const* x, size n, double epsilon, bool centred);
  void (*norm_apply)(T* out, T const* x, T mean, T scale, size n);
  /// out = x w + b; w or b may be null.
  void (*affine)(T* out, T const* x, T const* w, T const* b, size n);
  /// s = s by + bias (null: none).
  void (*scores)(T* s, T by, T const* bias, size n);
  void (*softmax)(T* s, size n);
  // A row of logits. What is no number is above nothing.
  /// The highest, -infinity if there is none.
  T (*highest)(T const* z, size n);
  /// How many are above a value, or as high if `or_equal`.
  size (*count_above)(T const* z, size n, T value, bool or_equal);
  /// The first place from `from` on that is above a value; n if none is.
  size (*next_above)(T const* z, size from, size n, T value);
  /// sums[0] of w = exp(z - reference), sums[1] of w (z - reference), in float64. w: n numbers, or null.
  void (*exponential_sums)(double* sums, T* w, T const* z, T reference, size n);
  /// Sum of w (a - b) in float64, where w is not 0.
  double (*weighted_difference)(T const* w, T const* a, T const* b, size n);
  /// Multiply-adds of `steps` rounds over registers, for the peak that benchmarks compare with; returns their number.
  double (*peak)(size steps, T* sink);
  // Backward and optimiser.
  /// out [columns, ld_out] = in [rows, ld_in] transposed.
  void (*transpose)(T* out, size ld_out, T const* in, size ld_in, size rows, size columns);
  /// dy *= derivative at x.
  void (*activate_backward)(act, T* dy, T const* x, size n);
  /// dx of a norm's row; dw += dy * normalised and db += dy, where they are not null. w may be null.
  void (*norm_backward)(T* dx, T* dw, T* db, T const* dy, T const* x, T const* w, T mean, T scale, size n, bool centred);
  /// dp = by p (dp - sum(p dp)).
  void (*softmax_backward)(T* dp, T const* p, T by, size n);
  /// The loss of a row of logits, -log softmax at target; s becomes its derivative times `by`.
  double (*cross_entropy)(T* s, size n, size target, T by);
  double (*sum_of_squares)(T const* x, size n);
  void (*adamw)(T* w, T* m, T* v, T const* g, size n, adamw_constants<T> const&);
  // Positions and limits of attention.
  /// Turns n planes of a head by their angles: numbers (j, j + n), or (2j, 2j + 1) where `pairs`.
  void (*rotate)(T* x, T const* cos, T const* sin, size n, bool pairs);
  /// x = at tanh(x / at).
  void (*cap)(T* x, T at, size n);
};

extern kernel_table<float> const kernels_baseline_f32;
extern kernel_table<double> const kernels_baseline_f64;
#if defined(__x86_64__)
extern kernel_table<float> const kernels_avx2_f32;
extern kernel_table<double> const kernels_avx2_f64;
extern kernel_table<float> const kernels_avx512_f32;
extern kernel_table<double> const kernels_avx512_f64;
#endif

/// Products in bfloat16 with float32 sums: pairs of terms, in the order of block_k.
struct bf16_kernels {
  size panel, row_tile;
  /// packed[k / 2][panel][2], an odd k filled with a zero.
  void (*pack)(std::uint16_t* packed, matrix const& w, size k0, size k, size n0, size n);
  /// a: [m, ld_a], bfloat16, readable to an even k.
  void (*product)(float* c, size ld_c, std::uint16_t const* a, size ld_a, std::uint16_t const* packed, size m, size n, size k,
                  bool add, ahead const& next);
  void (*convert)(std::uint16_t* out, float const* from, size n);
};

/// Those of best_instruction_set().
template <class T>
kernel_table<T> const& kernels();
/// Null where the processor has no bfloat16 products.
bf16_kernels const* bf16();

}  // namespace wayfarer::layer_kernels
