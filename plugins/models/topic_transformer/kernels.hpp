// The inner loops of the table path, compiled once per instruction set and chosen at run time: so one binary runs anywhere and is
// fast where AVX-512 is. Every loop has fixed tiles and a fixed order of summation: the same input gives the same bytes on one
// machine. Kernel files include nothing but this header and write plain loops over plain pointers, so that no library template is
// compiled with the wrong instructions.
//
// All matrices are row-major; their leading dimension `ld` is a multiple of `lane_pad` and padding columns hold zeros.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wayfarer::topic_transformer {

inline constexpr std::size_t lane_pad = 16;
constexpr std::size_t padded(std::size_t n) noexcept {
  return (n + lane_pad - 1) / lane_pad * lane_pad;
}

/// What a batch reads and writes. Tables are by token id, [vocabulary, ld].
template <class T>
struct batch_job {
  std::uint16_t const* const* documents = nullptr;  // counts, as documents.hpp lays them out
  std::size_t size = 0;
  std::size_t vocabulary = 0, ld = 0;
  bool squared = false;
  T const* logits = nullptr;                 // [vocabulary, ld]: logits that attending to this id alone gives
  T const* bias = nullptr;                   // [ld]: added to every logit; padding -1e30 for cross-entropy, 0 for squared
  T const* scores = nullptr;                 // [queries, ld], scaled; null for uniform attention
  std::uint16_t const* query_row = nullptr;  // [vocabulary] row of `scores` for each query id
  T scale = 1;                               // of the scores, for their gradient
  // Gradients are added to these; null when only the loss is wanted.
  T* d_logits = nullptr;           // [vocabulary, ld]
  T* d_bias = nullptr;             // [ld]
  T* d_scores = nullptr;           // [queries, ld]
  T tokens = 1;                    // masked tokens in the batch: the loss is a mean over them
  T* scratch = nullptr;            // scratch_count(...) numbers, aligned to 64 bytes
  std::uint32_t* index = nullptr;  // index_count(...) numbers, for uniform attention
  std::size_t most_entries = 0;    // keys of all documents of the batch
};

/// Numbers of scratch that a batch needs, given the most keys and rows that one document of it has, and the keys of all.
constexpr std::size_t scratch_count(bool uniform, std::size_t documents, std::size_t most_keys, std::size_t most_rows,
                                    std::size_t entries, std::size_t ld) noexcept {
  return uniform ? documents * ld + 2 * entries + lane_pad
                 : most_rows * (2 * padded(most_keys) + ld) + padded(most_keys) + 8 * lane_pad;
}
constexpr std::size_t index_count(std::size_t vocabulary, std::size_t entries) noexcept {
  return vocabulary + 2 + entries / 2;
}

template <class T>
struct kernel_table {
  char const* name;
  /// c [m, ld_c] = (or +=) a b, where a(i, k) = a[i * a_row + k * a_col], b [k, ld_b]; n columns, a multiple of lane_pad.
  void (*product)(T* c, std::size_t ld_c, T const* a, std::size_t a_row, std::size_t a_col, T const* b, std::size_t ld_b,
                  std::size_t m, std::size_t n, std::size_t k, bool add);
  /// Sum of the losses of the masked tokens, and gradients of their mean.
  double (*batch)(batch_job<T> const&);
  /// One optimiser step over n numbers. `rate` and `epsilon` include the bias corrections.
  void (*adam)(T* w, T const* g, T* m, T* v, std::size_t n, T rate, T beta1, T beta2, T inverse_root, T epsilon, T l2_twice);
  void (*sgd)(T* w, T const* g, std::size_t n, T rate, T l2_twice);
  // LayerNorm of one-hot rows, see fast.cpp: n rows of d (padded ld) numbers.
  /// out[i,:] = r[i] * (a + gamma[i] * w[i,:]) + b
  void (*one_hot_project)(T* out, T const* w, T const* r, T const* gamma, T const* a, T const* b, std::size_t n, std::size_t ld);
  /// s0 = sum_i d[i,:], s1 = sum_i r[i] d[i,:]
  void (*column_sums)(T* s0, T* s1, T const* d, T const* r, std::size_t n, std::size_t ld);
  /// dw[k,:] = r[k] gamma[k] d[k,:] + u[k] s1 + beta[k] s0, and the row products
  /// dots[4 k ..] = {d[k].a, d[k].w[k], w[k].s1, w[k].s0}
  void (*one_hot_backward)(T* dw, T* dots, T const* d, T const* w, T const* r, T const* gamma, T const* u, T const* beta,
                           T const* a, T const* s0, T const* s1, std::size_t n, std::size_t ld);
};

extern kernel_table<float> const kernels_baseline_f32;
extern kernel_table<double> const kernels_baseline_f64;
#if defined(__x86_64__)
extern kernel_table<float> const kernels_avx2_f32;
extern kernel_table<float> const kernels_avx512_f32;
#endif

/// Those of best_instruction_set(); float64 has one table for all sets.
template <class T>
kernel_table<T> const& kernels();
template <>
inline kernel_table<double> const& kernels<double>() {
  return kernels_baseline_f64;
}

}  // namespace wayfarer::topic_transformer
