// What learns: all parameters of a model in one array, the gradient in an array of the same layout, and the model over them,
// whose one forward pass is also that of training.
//
// Used by the trainer, its tests and benchmarks, on one thread; the layers split the work. T is float or double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/differentiable.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::language_training {

using named_tensors = std::vector<std::pair<std::string, tensor>>;

/// One tensor of the checkpoint, under the model's name for it, and where it lies in the array of parameters.
struct parameter {
  std::string name;
  dims shape;
  std::size_t first = 0, count = 0;
  bool decays = false;  ///< matrices do, norms and biases do not
  /// The start: normal numbers of this deviation about `fill`, or `fill` itself.
  double deviation = 0, fill = 0;
};

/// Parameters one behind the other: every tensor begins at a multiple of 16 numbers, what lies between stays 0.
class parameter_list {
 public:
  void add(std::string name, dims shape, double deviation, double fill = 0);
  std::vector<parameter> const& all() const noexcept { return all_; }

 private:
  std::vector<parameter> all_;
  std::size_t end_ = 0;
};

template <class T>
class net {
 public:
  /// A model over these tensors, whose numbers change between passes.
  using make_model = std::function<std::shared_ptr<differentiable_model const>(std::map<std::string, tensor> const&)>;

  /// Parameters are zeros.
  net(std::vector<parameter>, make_model const&);
  net(net&&) noexcept = default;
  net& operator=(net&&) noexcept = default;

  std::vector<parameter> const& parameters() const noexcept { return parameters_; }
  std::span<T> values() noexcept { return {values_.get(), size_}; }
  std::span<T const> values() const noexcept { return {values_.get(), size_}; }
  std::span<T> gradient() noexcept { return {gradient_.get(), size_}; }
  /// A view of one parameter, which lives on its own.
  tensor view(std::string_view name) const;
  /// Copies of all, for a checkpoint or a snapshot.
  named_tensors copy() const;

  /// Each parameter draws from a stream of its own; `stream` names the kind of model.
  void start(std::uint64_t seed, std::string_view stream);

  /// Mean loss, nats a token, of sequences of `length` tokens: tokens and targets are [sequence * length]. Fills the gradient.
  double learn(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length);
  /// Sum of the losses, without a gradient.
  double loss(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length) const;

 private:
  tensor gradient_of(std::string_view name) const;
  gradients pass(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length, double weight,
                 std::vector<weight_slot> wanted) const;

  std::vector<parameter> parameters_;
  std::size_t size_ = 0;
  std::shared_ptr<T> values_, gradient_;
  std::shared_ptr<differentiable_model const> model_;
};

extern template class net<float>;
extern template class net<double>;

}  // namespace wayfarer::language_training
