#include "engine/stack.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

namespace wayfarer::host {
namespace {

constexpr std::size_t most_in_memory = std::size_t{64} << 20;

[[noreturn]] void shapes_differ(std::string const& name, std::vector<axis> const& axes, std::vector<results> const& parts,
                                std::size_t i) {
  throw plugin_error("'" + name + "' changes its shape: " + describe(parts.front().at(name).shape()) + " for " +
                     name_of_part(axes, 0) + ", but " + describe(parts[i].at(name).shape()) + " for " + name_of_part(axes, i));
}

/// The values of all parts, one after another.
tensor join(std::string const& name, std::vector<axis> const& axes, std::vector<results> const& parts, dims shape,
            std::string const& folder) {
  tensor const& first = parts.front().at(name).values();
  std::size_t const each = first.bytes();
  auto const part_values = [&](std::size_t i) {
    tensor const& values = parts[i].at(name).values();
    if (values.shape() != first.shape()) shapes_differ(name, axes, parts, i);
    return values.to(first.type());
  };
  if (each * parts.size() <= most_in_memory) {
    tensor whole(first.type(), std::move(shape));
    auto* to = static_cast<std::byte*>(const_cast<void*>(whole.raw()));
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (each != 0) std::memcpy(to + i * each, part_values(i).raw(), each);
    return whole;
  }
  scratch_file file(folder);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    tensor const values = part_values(i);
    std::span const bytes(static_cast<std::byte const*>(values.raw()), each);
    file.write_at(i * each, bytes);
    drop_pages(bytes);
  }
  auto memory = file.map(0, each * parts.size());
  auto const* const bytes = memory.get();
  return tensor::look(first.type(), bytes, std::move(shape), std::move(memory));
}

std::vector<std::string> join_texts(std::string const& name, std::vector<axis> const& axes, std::vector<results> const& parts) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    dataset const& part = parts[i].at(name);
    if (part.shape() != parts.front().at(name).shape()) shapes_differ(name, axes, parts, i);
    all.insert(all.end(), part.texts().begin(), part.texts().end());
  }
  return all;
}

dataset stack(std::string const& name, std::vector<axis> axes, std::vector<results> const& parts, std::string const& folder) {
  dataset const& first = parts.front().at(name);
  bool const same_texts = first.is_text() && std::all_of(parts.begin(), parts.end(), [&](results const& part) {
                            return part.at(name).texts() == first.texts() && part.at(name).shape() == first.shape();
                          });
  if (same_texts) return first;
  std::vector<axis> const parts_of = axes;
  if (axes.size() + first.shape().size() > tensor_view<float>::max_rank) {
    axis all{"combination", {}};
    for (std::size_t i = 0; i < parts.size(); ++i) all.labels.push_back(name_of_part(axes, i));
    axes = {std::move(all)};
  }
  dims shape;
  for (auto& a : axes) {
    // A dataset may have a dimension of the parameter's own name.
    for (auto const& d : first.shape())
      if (d.name == a.name) a.name = "swept_" + a.name;
    shape.push_back({a.name, a.size()});
  }
  shape.insert(shape.end(), first.shape().begin(), first.shape().end());
  dataset out = first.is_text() ? dataset(join_texts(name, parts_of, parts), std::move(shape))
                                : dataset(join(name, parts_of, parts, std::move(shape), folder));
  out.about(first.about()).units(first.units()).compress(first.compressed()).view_as_stored(first.view());
  // A plugin may say it only where it had a value to explain.
  for (auto const& part : parts)
    if (out.missing().empty()) out.missing(part.at(name).missing());
  for (auto const& a : axes) {
    if (a.numbers.defined())
      out.coordinate(a.name, a.numbers.named({a.name}));
    else
      out.labels(a.name, a.labels);
  }
  for (auto const& [dimension, labels] : first.label_map()) out.labels(dimension, labels);
  for (auto const& [dimension, numbers_of] : first.coordinate_map()) out.coordinate(dimension, numbers_of);
  return out;
}

/// Index along each axis of a part.
std::vector<std::size_t> place_of(std::vector<axis> const& axes, std::size_t part) {
  std::vector<std::size_t> at(axes.size());
  for (std::size_t a = axes.size(); a-- > 0;) at[a] = part % axes[a].size(), part /= axes[a].size();
  return at;
}

}  // namespace

axis step_axis(std::vector<std::size_t> const& steps) {
  axis a{"step", {}};
  std::vector<std::int64_t> numbers(steps.begin(), steps.end());
  for (auto const s : steps) a.labels.push_back(std::to_string(s));
  a.numbers = tensor::of(numbers, {{"step", numbers.size()}});
  return a;
}

std::vector<axis> axes_of_sweep(plan_node const& node) {
  std::vector<axis> axes;
  for (auto const& s : node.sweep) {
    axis a{s.name, s.given};
    auto const type = node.what->find_param(s.name)->type;
    dims const shape{{s.name, s.values.size()}};
    if (type == param_type::integer) {
      std::vector<std::int64_t> numbers;
      for (auto const& v : s.values) numbers.push_back(v.integer());
      a.numbers = tensor::of(numbers, shape);
    } else if (type == param_type::real) {
      std::vector<double> numbers;
      for (auto const& v : s.values) numbers.push_back(v.real());
      a.numbers = tensor::of(numbers, shape);
    }
    axes.push_back(std::move(a));
  }
  return axes;
}

std::size_t combinations_of(std::vector<axis> const& axes) noexcept {
  std::size_t n = 1;
  for (auto const& a : axes) n *= a.size();
  return n;
}

std::string name_of_part(std::vector<axis> const& axes, std::size_t part) {
  auto const at = place_of(axes, part);
  std::string name;
  for (std::size_t a = 0; a < axes.size(); ++a)
    name += (a == 0 ? "" : ", ") + axes[a].name + (axes[a].name == "step" ? " " : "=") + axes[a].labels[at[a]];
  return name;
}

results stack_parts(std::vector<axis> const& axes, std::vector<results> const& parts, std::string const& folder) {
  results out;
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (parts[i].names() != parts.front().names())
      throw plugin_error("the datasets differ between " + name_of_part(axes, 0) + " and " + name_of_part(axes, i));
  for (auto const& name : parts.front().names()) out.add(name, stack(name, axes, parts, folder));
  out.summarise(parts.back().summary());
  return out;
}

results copy_of(results const& from) {
  results copy;
  for (auto const& name : from.names()) copy.add(name, from.at(name));
  copy.summarise(from.summary());
  return copy;
}

results slice_parts(std::vector<axis> const& axes, std::span<results const> parts,
                    std::vector<std::pair<std::string, std::size_t>> const& fixed, std::string const& folder) {
  if (fixed.empty()) return copy_of(parts.front());
  auto const index_of = [&](std::string const& name) -> std::size_t const* {
    auto const at = std::find_if(fixed.begin(), fixed.end(), [&](auto const& f) { return f.first == name; });
    return at == fixed.end() ? nullptr : &at->second;
  };
  std::vector<axis> rest;
  for (auto const& a : axes)
    if (!index_of(a.name)) rest.push_back(a);
  std::vector<results> chosen;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    auto const at = place_of(axes, i);
    bool wanted = true;
    for (std::size_t a = 0; a < axes.size(); ++a)
      if (auto const* index = index_of(axes[a].name)) wanted = wanted && *index == at[a];
    if (wanted) chosen.push_back(copy_of(parts[i]));
  }
  return rest.empty() ? std::move(chosen.front()) : stack_parts(rest, chosen, folder);
}

}  // namespace wayfarer::host
