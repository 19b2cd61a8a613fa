#include "net.hpp"

#include <algorithm>

#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>

namespace wayfarer::language_training {
namespace {

std::size_t padded(std::size_t count) {
  return (count + 15) / 16 * 16;
}

}  // namespace

void parameter_list::add(std::string name, dims shape, double deviation, double fill) {
  std::size_t const n = element_count(shape);
  bool const decays = shape.size() == 2;
  all_.push_back({std::move(name), std::move(shape), end_, n, decays, deviation, fill});
  end_ += padded(n);
}

template <class T>
net<T>::net(std::vector<parameter> parameters, make_model const& make) : parameters_(std::move(parameters)) {
  size_ = parameters_.back().first + padded(parameters_.back().count);
  auto const fresh = [&] {
    std::shared_ptr<T> p = std::static_pointer_cast<T>(pooled_memory(size_ * sizeof(T)));
    std::fill(p.get(), p.get() + size_, T(0));
    return p;
  };
  values_ = fresh(), gradient_ = fresh();
  std::map<std::string, tensor> weights;
  for (auto const& p : parameters_) weights.emplace(p.name, view(p.name));
  model_ = make(weights);
}

namespace {

parameter const& find(std::vector<parameter> const& all, std::string_view name) {
  for (auto const& p : all)
    if (p.name == name) return p;
  throw plugin_error("there is no parameter '" + std::string(name) + "'");
}

/// The numbers as sequences of this length.
ragged<std::int32_t> cut(std::span<std::int32_t const> numbers, std::size_t length) {
  if (length == 0 || numbers.size() % length != 0)
    throw plugin_error(std::to_string(numbers.size()) + " tokens do not fill whole sequences of " + std::to_string(length));
  ragged<std::int32_t> out;
  out.values.assign(numbers.begin(), numbers.end());
  for (std::size_t at = length; at <= numbers.size(); at += length) out.offsets.push_back(at);
  return out;
}

}  // namespace

template <class T>
tensor net<T>::view(std::string_view name) const {
  auto const& p = find(parameters_, name);
  return tensor::lend(dtype_of<T>(), values_.get() + p.first, p.shape, values_);
}

template <class T>
tensor net<T>::gradient_of(std::string_view name) const {
  auto const& p = find(parameters_, name);
  return tensor::lend(dtype_of<T>(), gradient_.get() + p.first, p.shape, gradient_);
}

template <class T>
named_tensors net<T>::copy() const {
  named_tensors out;
  for (auto const& p : parameters_) out.emplace_back(p.name, view(p.name).clone());
  return out;
}

template <class T>
void net<T>::start(std::uint64_t seed, std::string_view stream) {
  parallel_for(parameters_.size(), [&](std::size_t i) {
    auto const& p = parameters_[i];
    T* const to = values_.get() + p.first;
    if (p.deviation == 0) {
      std::fill(to, to + p.count, static_cast<T>(p.fill));
      return;
    }
    random_stream draw(seed, stream, stream_id(p.name));
    for (std::size_t j = 0; j < p.count; ++j) to[j] = static_cast<T>(p.fill + p.deviation * draw.normal());
  });
}

template <class T>
gradients net<T>::pass(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length,
                       double weight, std::vector<weight_slot> wanted) const {
  batch items;
  items.tokens = cut(tokens, length);
  gradient_request ask;
  ask.forward.precision = dtype_of<T>();
  ask.loss = {cut(targets, length), weight};
  ask.weights = std::move(wanted);
  return model_->differentiate(items, ask);
}

template <class T>
double net<T>::learn(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length) {
  std::fill(gradient_.get(), gradient_.get() + size_, T(0));
  std::vector<weight_slot> wanted;
  for (auto const& p : parameters_) wanted.push_back({view(p.name), gradient_of(p.name)});
  double const n = static_cast<double>(tokens.size());
  return pass(tokens, targets, length, 1 / n, std::move(wanted)).loss / n;
}

template <class T>
double net<T>::loss(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length) const {
  return pass(tokens, targets, length, 1, {}).loss;
}

template class net<float>;
template class net<double>;

}  // namespace wayfarer::language_training
