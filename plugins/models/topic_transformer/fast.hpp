// The table path: one layer, one head, nothing of BERT beyond the embedding's LayerNorm.
//
// Without positions, a hidden row, its key, query, value and even the logits that its value leads to depend on the token id
// alone. So they are tables over the vocabulary, a few small products an update, and a document is what its counts say: its
// logits are one weighted sum of table rows for each distinct masked query (a single one when attention is uniform). A one-hot
// embedding makes the products with it disappear: the tables are the weights themselves, or, after LayerNorm, a scaled copy plus
// two rank-one terms.
//
// The trainer owns one; `gradient` and `step` are for one thread, `loss` may run on many threads, each with its own `work_space`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "documents.hpp"
#include "kernels.hpp"
#include "spec.hpp"

namespace wayfarer::topic_transformer {

/// Zeroed numbers at a 64-byte boundary.
template <class T>
class aligned_array {
 public:
  aligned_array() = default;
  explicit aligned_array(std::size_t n) { resize(n); }
  void resize(std::size_t n);
  T* data() noexcept { return data_.get(); }
  T const* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return size_; }
  T& operator[](std::size_t i) noexcept { return data_.get()[i]; }
  T const& operator[](std::size_t i) const noexcept { return data_.get()[i]; }

 private:
  struct release {
    void operator()(T* p) const noexcept;
  };
  std::unique_ptr<T[], release> data_;
  std::size_t size_ = 0;
};

template <class T>
class fast_model {
 public:
  /// `spec` must have a fast path; see has_fast_path.
  fast_model(spec const&, layout const&, weights<T> const& start, kernel_table<T> const& = kernels<T>());

  /// Mean loss of the masked tokens of these documents (counts as documents.hpp makes them); the gradient replaces the last one.
  double gradient(std::vector<std::uint16_t const*> const& documents);
  /// One optimiser step along the last gradient; `update` counts from 0, for Adam's bias corrections.
  void step(std::size_t update, double learning_rate);

  /// Brings the tables up to date with the weights, for `loss`.
  void prepare();
  struct work_space {
    aligned_array<T> scratch;
    std::vector<std::uint32_t> index;
  };
  /// Mean loss alone, after `prepare`.
  double loss(std::vector<std::uint16_t const*> const& documents, work_space&) const;

  void store(weights<T>& out) const;
  void store_gradient(weights<T>& out) const;
  /// Frobenius norm of a parameter array.
  double norm(int slot) const noexcept;

 private:
  // A parameter array as it lies in `w_`: rows padded to ld numbers, transposed when `turned`.
  struct segment {
    std::size_t offset = 0, rows = 0, cols = 0, ld = 0;
    bool turned = false, present = false, trained = false;
  };
  // A linear map of the hidden rows and the table [vocabulary, ld] that it makes.
  struct projection {
    segment weight, bias;
    aligned_array<T> own;   // the table, unless it is the weights themselves
    aligned_array<T> a, b;  // [ld], one-hot after LayerNorm: table = r (a + gamma w) + b
    T const* table = nullptr;
    aligned_array<T> d_table;  // gradient of the table, unless it is the weights' gradient itself
  };

  void store_from(aligned_array<T> const& from, weights<T>& out) const;
  void hidden();
  void project(projection&);
  void project_back(projection&, T const* d_table);
  void hidden_back();
  void tables();
  batch_job<T> job(std::vector<std::uint16_t const*> const&, work_space&) const;
  T* at(segment const& s) noexcept { return w_.data() + s.offset; }
  T* gradient_at(segment const& s) noexcept { return g_.data() + s.offset; }

  spec spec_;
  layout layout_;
  kernel_table<T> const& kernel_;
  std::size_t vocabulary_, d_, ld_, ld_v_;  // ld_ pads d, ld_v_ the vocabulary
  std::vector<segment> segments_;           // by parameter
  std::size_t trained_count_ = 0;           // trained segments come first in w_
  aligned_array<T> w_, g_, m_, v_;

  bool one_hot_, norm_;
  segment embed_, token_type_, norm_w_, norm_b_, decoder_, decoder_bias_;
  projection q_, k_, value_;
  // Hidden rows after LayerNorm; `h_` only where they are not one-hot in disguise.
  bool dense_hidden_ = false;
  aligned_array<T> h_, x_hat_, d_h_;  // [vocabulary, ld]
  aligned_array<T> r_, centred_, u_;  // r: 1 / sd of a row [vocabulary]; centred token type and u = gamma (centred - 1/d) [ld]
  aligned_array<T> d_u_, d_r_, sums_, dots_;
  aligned_array<T> logits_, d_logits_, bias_, decoder_turned_, k_turned_, value_turned_;
  aligned_array<T> q_used_, d_q_used_, scores_, d_scores_;
  std::vector<std::uint16_t> query_row_, used_;
  work_space work_;
  T const* logits_table_ = nullptr;
};

}  // namespace wayfarer::topic_transformer
