// What is kept of weights, for the products (wayfarer/packing.hpp).
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

#include <wayfarer/tensor.hpp>

#include "kernels.hpp"

namespace wayfarer {

std::size_t bytes_of(layer_kernels::number) noexcept;

/// A weight [k, n] in the order in which products read it: panel by panel, each [k][columns of a panel] in the stored type, the
/// last one filled up with zeros.
class packed_weights {
 public:
  packed_weights(tensor weight, bool in_first);
  ~packed_weights();
  packed_weights(packed_weights const&) = delete;
  packed_weights& operator=(packed_weights const&) = delete;
  /// All panels, for one more product, of few rows or of more; null if they are not kept.
  std::byte const* panels(bool few);

 private:
  void pack();
  std::size_t in() const { return weight_.size(in_first_ ? 0 : 1); }
  std::size_t out() const { return weight_.size(in_first_ ? 1 : 0); }
  tensor weight_;  // so that its place is no other's
  bool in_first_;
  std::atomic<std::size_t> worth_ = 0;  // what packing would have saved so far
  std::shared_ptr<void> memory_{};
  std::size_t bytes_ = 0;
  std::atomic<std::byte const*> ready_ = nullptr;
};

/// What is kept of a weight [k, n]; null unless keep_packed was asked for it.
std::shared_ptr<packed_weights> kept_of(layer_kernels::matrix const&, std::size_t k, std::size_t n);

}  // namespace wayfarer
