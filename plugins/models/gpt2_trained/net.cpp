#include "net.hpp"

#include <algorithm>
#include <cmath>

#include <wayfarer/backward.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>

namespace wayfarer::gpt2_training {

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

/// What a block keeps of the way forward.
template <class T>
struct net<T>::saved {
  rows pre, normed1, q, k, v, z, mid, normed2, hidden, active;
};

template <class T>
net<T>::net(net_shape const& s) : shape_(s), parameters_(parameters_of(s)) {
  size_ = parameters_.back().first + (parameters_.back().count + 15) / 16 * 16;
  auto const fresh = [&] {
    std::shared_ptr<T> p = std::static_pointer_cast<T>(pooled_memory(size_ * sizeof(T)));
    std::fill(p.get(), p.get() + size_, T(0));
    return p;
  };
  values_ = fresh(), gradient_ = fresh();
  tokens_ = view("wte.weight"), positions_ = view("wpe.weight");
  auto const linear = [&](std::string const& name) { return linear_weights{view(name + ".weight"), view(name + ".bias")}; };
  auto const norm = [&](std::string const& name) {
    return norm_weights{view(name + ".weight"), view(name + ".bias"), shape_.epsilon};
  };
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const p = "h." + std::to_string(i) + ".";
    block b{norm(p + "ln_1"),          norm(p + "ln_2"),       linear(p + "attn.c_attn"), {}, {}, {},
            linear(p + "attn.c_proj"), linear(p + "mlp.c_fc"), linear(p + "mlp.c_proj")};
    std::size_t const d = s.d_model;
    linear_weights* const parts[] = {&b.q, &b.k, &b.v};
    for (std::size_t j = 0; j < 3; ++j) *parts[j] = {b.qkv.w.slice(1, j * d, (j + 1) * d), b.qkv.b.slice(0, j * d, (j + 1) * d)};
    blocks_.push_back(std::move(b));
  }
  last_ = norm("ln_f");
  head_ = {view(s.tied ? "wte.weight" : "lm_head.weight"), {}, false};
}

namespace {

parameter const& find(std::vector<parameter> const& all, std::string_view name) {
  for (auto const& p : all)
    if (p.name == name) return p;
  throw plugin_error("there is no parameter '" + std::string(name) + "'");
}

std::shared_ptr<row_packing const> sequences(std::span<std::int32_t const> tokens, std::size_t length,
                                             ragged<std::int32_t>& into) {
  if (length == 0 || tokens.size() % length != 0)
    throw plugin_error(std::to_string(tokens.size()) + " tokens do not fill whole sequences of " + std::to_string(length));
  into.values.assign(tokens.begin(), tokens.end());
  for (std::size_t at = length; at <= tokens.size(); at += length) into.offsets.push_back(at);
  return row_packing::of(into);
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
attend_options net<T>::how() const {
  return {shape_.heads, 1 / std::sqrt(static_cast<double>(shape_.d_model / shape_.heads)), true};
}

// x: [token, d_model], sequences end to end.
template <class T>
rows net<T>::forward(ragged<std::int32_t> const& tokens, std::shared_ptr<row_packing const> const& of,
                     std::vector<saved>* keep) const {
  dtype const type = dtype_of<T>();
  rows x = embed(tokens, of, tokens_, type);
  x += embed_positions(of, positions_, type);
  for (auto const& b : blocks_) {
    saved s;
    s.pre = x;
    s.normed1 = layer_norm(x, b.ln1, {});
    s.q = linear(s.normed1, b.q), s.k = linear(s.normed1, b.k), s.v = linear(s.normed1, b.v);
    s.z = attend(s.q, s.k, s.v, how(), {});
    x = x + linear(s.z, b.o);
    s.mid = x;
    s.normed2 = layer_norm(x, b.ln2, {});
    s.hidden = linear(s.normed2, b.in);
    s.active = activate(s.hidden, shape_.act);
    x = x + linear(s.active, b.out);
    if (keep) keep->push_back(std::move(s));
  }
  return x;
}

template <class T>
double net<T>::learn(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length) {
  ragged<std::int32_t> in;
  auto const of = sequences(tokens, length, in);
  std::fill(gradient_.get(), gradient_.get() + size_, T(0));
  std::vector<saved> kept;
  rows const x = forward(in, of, &kept);
  auto const gradients = [&](std::string const& name) {
    return weight_gradient{gradient_of(name + ".weight"), gradient_of(name + ".bias")};
  };
  double const n = static_cast<double>(tokens.size());
  std::string const head = shape_.tied ? "wte.weight" : "lm_head.weight";
  auto const end = cross_entropy(layer_norm(x, last_, {}), head_, targets, 1 / n, {gradient_of(head), {}});
  rows dx = layer_norm_backward(x, last_, end.dx, gradients("ln_f"));
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    auto const& b = blocks_[i];
    saved const s = std::move(kept[i]);
    std::string const p = "h." + std::to_string(i) + ".";
    rows d_hidden = linear_backward(s.active, b.out, dx, gradients(p + "mlp.c_proj"));
    d_hidden = activate_backward(s.hidden, shape_.act, std::move(d_hidden));
    dx += layer_norm_backward(s.mid, b.ln2, linear_backward(s.normed2, b.in, d_hidden, gradients(p + "mlp.c_fc")),
                              gradients(p + "ln_2"));
    rows const dz = linear_backward(s.z, b.o, dx, gradients(p + "attn.c_proj"));
    rows const d_qkv = attend_backward(s.q, s.k, s.v, how(), dz);
    dx += layer_norm_backward(s.pre, b.ln1, linear_backward(s.normed1, b.qkv, d_qkv, gradients(p + "attn.c_attn")),
                              gradients(p + "ln_1"));
  }
  embed_backward(in, dx, gradient_of("wte.weight"));
  embed_positions_backward(dx, gradient_of("wpe.weight"));
  return end.loss / n;
}

template <class T>
double net<T>::loss(std::span<std::int32_t const> tokens, std::span<std::int32_t const> targets, std::size_t length) const {
  ragged<std::int32_t> in;
  auto const of = sequences(tokens, length, in);
  return cross_entropy(layer_norm(forward(in, of, nullptr), last_, {}), head_, targets, 1, {}, false).loss;
}

template class net<float>;
template class net<double>;

}  // namespace wayfarer::gpt2_training
