#include <wayfarer/weights.hpp>

#include <cmath>
#include <cstdint>
#include <memory>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/parallel.hpp>

namespace wayfarer {
namespace {

tensor strided(tensor const& t, std::size_t offset, dims shape, std::vector<std::ptrdiff_t> strides) {
  auto const keep = std::make_shared<tensor const>(t);
  auto const* const data = static_cast<std::byte const*>(t.raw()) + offset * size_of(t.type());
  return tensor::look(t.type(), data, std::move(shape), keep, std::move(strides));
}

bool is_real(dtype t) noexcept {
  return t == dtype::f32 || t == dtype::f64 || t == dtype::f16 || t == dtype::bf16;
}

}  // namespace

void weight_table::store(std::string name, dims shape, bool optional) {
  stored_order_.push_back(name);
  stored_.insert_or_assign(std::move(name), place{std::move(shape), optional});
}

void weight_table::also(std::string_view name, std::string other) {
  auto const found = stored_.find(name);
  if (found == stored_.end()) throw plugin_error("no tensor '" + std::string(name) + "' was declared");
  found->second.others.push_back(std::move(other));
}

void weight_table::name(std::string common, std::string stored, make_view view) {
  order_.push_back(common);
  common_.insert_or_assign(std::move(common), alias{std::move(stored), std::move(view), {}});
}

void weight_table::zeros(std::string common, dims shape) {
  order_.push_back(common);
  common_.insert_or_assign(std::move(common), alias{"", {}, std::move(shape)});
}

void weight_table::check(std::string const& where, dtype type, std::vector<std::size_t> const& shape, place const& p) {
  if (!is_real(type))
    throw data_error(where + " is " + std::string(name_of(type)) + "; a weight is float32, float64, float16 or bfloat16");
  bool fits = shape.size() == p.shape.size();
  for (std::size_t i = 0; fits && i < p.shape.size(); ++i) fits = shape[i] == p.shape[i].size;
  if (fits) return;
  std::string got;
  for (auto const n : shape) got += (got.empty() ? "" : " x ") + std::to_string(n);
  throw data_error(where + " is " + (got.empty() ? "a scalar" : got) + ", but config.json asks for " + describe(p.shape));
}

void weight_table::load(std::string const& path, std::vector<std::string> const& prefixes) {
  path_ = path;
  auto const file = open_checkpoint(path);
  for (auto& [name, p] : stored_) {
    safetensors_entry const* found = nullptr;
    for (std::size_t other = 0; !found && other <= p.others.size(); ++other)
      for (auto const& prefix : prefixes)
        if (!found) found = file.find(prefix + (other ? p.others[other - 1] : name));
    if (found) {
      check(path_ + ": tensor " + in_quotes(found->name), found->type, found->shape, p);
      std::vector<std::string> dim_names;
      for (auto const& d : p.shape) dim_names.push_back(d.name);
      p.data = file.tensor(found->name, dim_names);
    }
  }
  loaded_ = true;
}

void weight_table::load(std::string const& what, std::map<std::string, tensor> const& tensors) {
  path_ = what;
  for (auto& [name, p] : stored_) {
    auto const found = tensors.find(name);
    if (found == tensors.end()) continue;
    std::vector<std::size_t> shape;
    std::vector<std::string> dim_names;
    for (auto const& d : found->second.shape()) shape.push_back(d.size);
    check(path_ + ": tensor " + in_quotes(name), found->second.type(), shape, p);
    for (auto const& d : p.shape) dim_names.push_back(d.name);
    p.data = found->second.named(dim_names);
  }
  loaded_ = true;
}

tensor weight_table::weight(std::string_view common) const {
  auto const found = common_.find(common);
  if (found == common_.end())
    throw usage_error("there is no weight '" + std::string(common) + "'" + did_you_mean(common, order_));
  if (!loaded_) throw plugin_error("weight '" + std::string(common) + "' was asked for before the model was loaded");
  auto const& a = found->second;
  tensor t;
  if (!a.stored.empty()) {
    auto const& p = stored_.at(a.stored);
    t = p.data;
    if (!t.defined() && p.optional) return tensor(dtype::f32, p.shape);
    if (!t.defined())
      throw data_error(path_ + ": weight '" + std::string(common) + "' is not in this checkpoint: tensor " + in_quotes(a.stored) +
                       " is missing");
  } else {
    t = tensor(dtype::f32, a.zeros);
  }
  return a.view ? a.view(t) : t;
}

tensor weight_table::stored(std::string_view name) const {
  auto const found = stored_.find(name);
  if (found == stored_.end()) throw plugin_error("no tensor '" + std::string(name) + "' was declared");
  if (!found->second.data.defined() && !found->second.optional) require_all();
  return found->second.data;
}

std::vector<std::string> weight_table::missing() const {
  std::vector<std::string> out;
  for (auto const& name : stored_order_)
    if (auto const& p = stored_.at(name); !p.optional && !p.data.defined()) out.push_back(name);
  return out;
}

void weight_table::require_all() const {
  require([](std::string_view) { return true; });
}

void weight_table::require(std::function<bool(std::string_view)> const& needed) const {
  if (!loaded_) throw plugin_error("the model was used before it was loaded");
  auto gone = missing();
  std::erase_if(gone, [&](std::string const& name) { return !needed(name); });
  if (gone.empty()) return;
  std::string list;
  for (auto const& name : gone) list += (list.empty() ? "" : ", ") + name;
  throw data_error(path_ + ": this checkpoint lacks " + std::to_string(gone.size()) +
                   " tensors that a forward pass needs (its other weights can still be probed): " + list);
}

tensor split_heads(tensor const& stored, std::size_t first, std::size_t heads, std::size_t d_head, bool in_first) {
  auto const dh = static_cast<std::ptrdiff_t>(d_head);
  if (stored.rank() == 1) return strided(stored, first, {{"head", heads}, {"d_head", d_head}}, {dh, 1});
  auto const columns = static_cast<std::ptrdiff_t>(stored.size(1));
  dims const shape{{"head", heads}, {"d_model", stored.size(in_first ? 0 : 1)}, {"d_head", d_head}};
  if (in_first) return strided(stored, first, shape, {dh, columns, 1});
  return strided(stored, first * stored.size(1), shape, {dh * columns, 1, columns});
}

tensor join_heads(tensor const& stored, std::size_t heads, bool in_first) {
  std::size_t const in = stored.size(in_first ? 0 : 1), out = stored.size(in_first ? 1 : 0), d_head = in / heads;
  auto const dh = static_cast<std::ptrdiff_t>(d_head), columns = static_cast<std::ptrdiff_t>(stored.size(1));
  dims const shape{{"head", heads}, {"d_head", d_head}, {"d_model", out}};
  if (in_first) return strided(stored, 0, shape, {dh * columns, columns, 1});
  return strided(stored, 0, shape, {dh, 1, columns});
}

std::vector<non_finite_weight> non_finite_weights(model const& m) {
  auto const& names = m.info().weights;
  std::vector<std::size_t> counts(names.size());
  parallel_for(names.size(), [&](std::size_t i) {
    tensor t;
    try {
      t = m.weight(names[i]);
    } catch (data_error const&) {
      return;  // not in this checkpoint
    }
    auto const values = t.contiguous() ? t : t.clone();
    std::size_t const n = values.count();
    std::size_t bad = 0;
    auto const same_exponent = [&](auto const* bits, auto mask) {
      for (std::size_t j = 0; j < n; ++j) bad += (bits[j] & mask) == mask ? 1 : 0;
    };
    switch (values.type()) {
      case dtype::f32:
        same_exponent(static_cast<std::uint32_t const*>(values.raw()), std::uint32_t{0x7f800000});
        break;
      case dtype::f64:
        same_exponent(static_cast<std::uint64_t const*>(values.raw()), std::uint64_t{0x7ff0000000000000});
        break;
      case dtype::f16:
        same_exponent(static_cast<std::uint16_t const*>(values.raw()), std::uint16_t{0x7c00});
        break;
      case dtype::bf16:
        same_exponent(static_cast<std::uint16_t const*>(values.raw()), std::uint16_t{0x7f80});
        break;
      case dtype::i32:
      case dtype::i64:
      case dtype::u8:
        break;
    }
    counts[i] = bad;
  });
  std::vector<non_finite_weight> out;
  for (std::size_t i = 0; i < names.size(); ++i)
    if (counts[i]) out.push_back({names[i], counts[i]});
  return out;
}

}  // namespace wayfarer
