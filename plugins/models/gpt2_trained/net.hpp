// GPT-2 as a net that learns: the shape, the parameters under Hugging Face's names, and config.json.
//
// Used by the plugin, its tests and benchmarks, on one thread. T is float or double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <wayfarer/json.hpp>
#include <wayfarer/layers.hpp>

#include "models/common/gpt2_model.hpp"
#include "models/common/training/net.hpp"

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
/// Hugging Face's name of the activation.
char const* activation_name(net_shape const&);

/// In the order of the array, with GPT-2's start: matrices and tables N(0, 0.02^2), those that write to the residual stream over
/// sqrt(2 layers), norms 1 and 0, biases 0.
std::vector<language_training::parameter> parameters_of(net_shape const&);

/// Of the start's random numbers.
inline constexpr char start_stream[] = "gpt2 start";

/// config.json, without what the saving of a checkpoint adds.
json_value config_of(net_shape const&);
/// The checkpoint's name of a parameter.
std::string stored_name(std::string const& parameter);

template <class T>
class gpt2_net : public language_training::net<T> {
 public:
  explicit gpt2_net(net_shape const&);
  net_shape const& shape() const noexcept { return shape_; }
  void start(std::uint64_t seed) { language_training::net<T>::start(seed, start_stream); }

 private:
  net_shape shape_;
};

extern template class gpt2_net<float>;
extern template class gpt2_net<double>;

}  // namespace wayfarer::gpt2_training
