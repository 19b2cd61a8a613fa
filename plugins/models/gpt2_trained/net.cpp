#include "net.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>

namespace wayfarer::gpt2_training {

gpt2_shape shape_of(net_shape const& s) {
  gpt2_shape out;
  out.layers = s.layers, out.heads = s.heads, out.d_model = s.d_model, out.d_head = s.d_model / s.heads, out.d_mlp = s.d_mlp;
  out.vocabulary = s.vocabulary, out.positions = s.positions, out.epsilon = s.epsilon, out.tied = s.tied;
  return out;
}

std::vector<parameter> parameters_of(net_shape const& s) {
  std::vector<parameter> out;
  std::size_t at = 0;
  auto const add = [&](std::string name, dims shape) {
    std::size_t const n = element_count(shape);
    out.push_back({std::move(name), shape, at, n, shape.size() == 2});
    at += (n + 15) / 16 * 16;
  };
  std::size_t const d = s.d_model;
  add("wte.weight", {{"token", s.vocabulary}, {"d_model", d}});
  add("wpe.weight", {{"pos", s.positions}, {"d_model", d}});
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const p = "h." + std::to_string(i) + ".";
    auto const norm = [&](std::string const& name) {
      add(p + name + ".weight", {{"d_model", d}});
      add(p + name + ".bias", {{"d_model", d}});
    };
    auto const linear = [&](std::string const& name, dim in, dim to) {
      add(p + name + ".weight", {in, to});
      add(p + name + ".bias", {to});
    };
    norm("ln_1");
    linear("attn.c_attn", {"d_model", d}, {"qkv", 3 * d});
    linear("attn.c_proj", {"head_d_head", d}, {"d_model", d});
    norm("ln_2");
    linear("mlp.c_fc", {"d_model", d}, {"d_mlp", s.d_mlp});
    linear("mlp.c_proj", {"d_mlp", s.d_mlp}, {"d_model", d});
  }
  add("ln_f.weight", {{"d_model", d}});
  add("ln_f.bias", {{"d_model", d}});
  if (!s.tied) add("lm_head.weight", {{"token", s.vocabulary}, {"d_model", d}});
  return out;
}

template <class T>
net<T>::net(net_shape const& s) : shape_(s), parameters_(parameters_of(s)) {
  size_ = parameters_.back().first + (parameters_.back().count + 15) / 16 * 16;
  auto const fresh = [&] {
    std::shared_ptr<T> p = std::static_pointer_cast<T>(pooled_memory(size_ * sizeof(T)));
    std::fill(p.get(), p.get() + size_, T(0));
    return p;
  };
  values_ = fresh(), gradient_ = fresh();
  std::map<std::string, tensor> weights;
  for (auto const& p : parameters_) weights.emplace(p.name, view(p.name));
  model_ = std::make_unique<gpt2_model>(shape_of(s), s.act, "", [] { return nullptr; });
  model_->watch("gpt2_trained", weights);
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
std::vector<std::pair<std::string, tensor>> net<T>::copy() const {
  std::vector<std::pair<std::string, tensor>> out;
  for (auto const& p : parameters_) out.emplace_back(p.name, view(p.name).clone());
  return out;
}

template <class T>
void net<T>::start(std::uint64_t seed) {
  parallel_for(parameters_.size(), [&](std::size_t i) {
    auto const& p = parameters_[i];
    T* const to = values_.get() + p.first;
    if (!p.decays) {
      bool const norm = p.name.find("ln_") != std::string::npos && p.name.ends_with(".weight");
      std::fill(to, to + p.count, norm ? T(1) : T(0));
      return;
    }
    double const sd = p.name.ends_with("c_proj.weight") ? 0.02 / std::sqrt(2.0 * static_cast<double>(shape_.layers)) : 0.02;
    random_stream draw(seed, "gpt2 start", stream_id(p.name));
    for (std::size_t j = 0; j < p.count; ++j) to[j] = static_cast<T>(sd * draw.normal());
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

}  // namespace wayfarer::gpt2_training
