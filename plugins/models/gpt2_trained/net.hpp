// A trainable GPT-2: all parameters in one array, the gradient in an array of the same layout, and the model of models/common
// over them, whose one forward pass is also that of training.
//
// Used by the trainer, its tests and benchmarks, on one thread; the layers split the work. T is float or double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/differentiable.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/tensor.hpp>

#include "models/common/gpt2_model.hpp"

namespace wayfarer::gpt2_training {

struct net_shape {
  std::size_t layers = 0, heads = 0, d_model = 0, d_mlp = 0, vocabulary = 0, positions = 0;
  bool tied = true;
  activation act = activation::gelu_tanh;
  double epsilon = 1e-5;
  friend bool operator==(net_shape const&, net_shape const&) = default;
};

/// The same in the words of the model.
gpt2_shape shape_of(net_shape const&);

/// One tensor of the checkpoint, under Hugging Face's name, and where it lies in the array of parameters.
struct parameter {
  std::string name;
  dims shape;
  std::size_t first = 0, count = 0;
  bool decays = false;  ///< matrices do, norms and biases do not
};

/// In the order of the array; every tensor begins at a multiple of 16 numbers, what lies between stays 0.
std::vector<parameter> parameters_of(net_shape const&);

template <class T>
class net {
 public:
  /// Parameters are zeros.
  explicit net(net_shape const&);

  net_shape const& shape() const noexcept { return shape_; }
  std::vector<parameter> const& parameters() const noexcept { return parameters_; }
  std::span<T> values() noexcept { return {values_.get(), size_}; }
  std::span<T const> values() const noexcept { return {values_.get(), size_}; }
  std::span<T> gradient() noexcept { return {gradient_.get(), size_}; }
  /// A view of one parameter, which lives on its own.
  tensor view(std::string_view name) const;
  /// Copies of all, for a checkpoint or a snapshot.
  std::vector<std::pair<std::string, tensor>> copy() const;

  /// As GPT-2 starts: matrices and tables N(0, 0.02^2), those that write to the residual stream over sqrt(2 layers), norms 1 and
  /// 0, biases 0. Each tensor draws from its own stream.
  void start(std::uint64_t seed);

  /// Mean loss, nats a token, of sequences of `length` tokens: tokens and targets are [sequence * length]. Fills the gradient.
  double learn(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length);
  /// Sum of the losses, without a gradient.
  double loss(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length) const;

 private:
  tensor gradient_of(std::string_view name) const;
  gradients pass(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length, double weight,
                 std::vector<weight_slot> wanted) const;

  net_shape shape_;
  std::vector<parameter> parameters_;
  std::size_t size_ = 0;
  std::shared_ptr<T> values_, gradient_;
  std::unique_ptr<gpt2_model> model_;
};

extern template class net<float>;
extern template class net<double>;

}  // namespace wayfarer::gpt2_training
