// The inner loops of variational LDA: one document's fixed point, a word's statistics, and exp(digamma).
//
// Matrices over topics are [row, ld] with ld the number of topics rounded up to 16; what lies beyond the topics is 0 in weights
// and 1 in Dirichlet parameters. The float32 kernels are compiled for several sets of instructions, of which `kernels<float>()`
// picks one at run time; the float64 ones use the library's exp and are what the others are tested against. Pure functions; any
// thread, each with buffers of its own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wayfarer::lda {

inline constexpr std::size_t topic_padding = 16;

/// Shares words out among the topics in logarithms: where the weights' products vanish, their logarithms don't. Adds to
/// extra[ld] the `counts` of the `n` entries `which`, by topic. Called from `infer`, which knows the two pointers.
template <class T>
struct log_shares {
  void const* of = nullptr;
  void (*add)(void const* of, std::int32_t const* words, T const* counts, std::size_t const* which, std::size_t n, T const* gamma,
              T* extra) = nullptr;
};

/// One document's E step (Hoffman, Blei and Bach 2010, algorithm 2, inner loop).
template <class T>
struct document_job {
  T const* beta = nullptr;              ///< [word, ld], exp(E[log beta]) of the whole vocabulary, each row to its own scale
  std::int32_t const* words = nullptr;  ///< [n], distinct
  T const* counts = nullptr;            ///< [n rounded up to 16], 0 beyond n
  std::size_t n = 0;
  T const* alpha = nullptr;  ///< [ld]
  T* gamma = nullptr;        ///< [ld], the start, then the fixed point
  T* theta = nullptr;        ///< [ld], becomes exp(E[log theta]) for that gamma, to some scale
  T* rate = nullptr;         ///< [n rounded up to 16], becomes count / (theta . beta_w): a topic's share of a word is
                             ///< rate theta_k beta_wk. 0 where that product can't be trusted: the share is then `in_logs`'
  T const* bounds =
      nullptr;  ///< [n rounded up to 16], 0 beyond n: theta . beta_w is trusted from here times the largest theta on
  log_shares<T> in_logs;
  std::size_t* which = nullptr;  ///< scratch, [n rounded up to 16]
  T* extra = nullptr;            ///< scratch, [ld]
  T* rows = nullptr;             ///< scratch, [n rounded up to 16, ld]
  T* sums = nullptr;             ///< scratch, [ld]
  std::size_t ld = 0, topics = 0, iterations = 0;
  T threshold = 0;  ///< stop when gamma changes by less, on average over topics
};

template <class T>
struct kernel_table {
  char const* name;
  /// Returns the number of iterations made.
  std::size_t (*infer)(document_job<T> const&);
  /// out[ld] += beta[ld] * sum_j rate[at[j]] theta[document[j], ld] for the j-th place in which a word occurs.
  void (*collect)(T* out, T const* beta, T const* theta, std::int32_t const* document, std::size_t const* at, T const* rate,
                  std::size_t n, std::size_t ld, T* scratch);
  /// out[i] = scale[i] exp(digamma(x[i]) - shift[i]) / c with one c for all, such that the largest is neither tiny nor huge
  /// however small the x are: only ratios within a word's row matter. x > 0; n a multiple of 16; scratch has 16 places. Returns
  /// that largest.
  T (*exp_digamma)(T* out, T const* x, T const* scale, T const* shift, std::size_t n, T* scratch);
};

template <class T>
kernel_table<T> const& kernels();

/// digamma(x), x > 0. Not inline: a copy compiled for one set of instructions must not serve processors without it.
double plain_digamma(double x) noexcept;

extern kernel_table<float> const kernels_baseline_f32, kernels_avx2_f32, kernels_avx512_f32;
extern kernel_table<double> const kernels_baseline_f64;

}  // namespace wayfarer::lda
