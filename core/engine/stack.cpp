#include "engine/stack.hpp"

#include <cstring>

#include <wayfarer/error.hpp>

namespace wayfarer::host {
namespace {

dataset stack(std::string const& name, std::vector<std::size_t> const& steps, std::vector<results> const& parts) {
  dataset const& first = parts.front().at(name);
  if (first.is_text()) {
    for (auto const& part : parts)
      if (part.at(name).texts() != first.texts()) throw plugin_error("the texts of '" + name + "' differ between steps");
    return first;
  }
  dims shape = first.shape();
  shape.insert(shape.begin(), {"step", steps.size()});
  tensor whole(first.values().type(), shape);
  auto* to = static_cast<std::byte*>(const_cast<void*>(whole.raw()));
  for (auto const& part : parts) {
    tensor const values = part.at(name).values().to(first.values().type());
    if (values.shape() != first.shape())
      throw plugin_error("'" + name + "' changes its shape between steps: " + describe(first.shape()) + ", then " +
                         describe(values.shape()));
    if (values.bytes() != 0) std::memcpy(to, values.raw(), values.bytes());
    to += values.bytes();
  }
  dataset out(whole);
  out.about(first.about()).units(first.units());
  std::vector<std::int64_t> numbers(steps.begin(), steps.end());
  out.coordinate("step", tensor::of(numbers, {{"step", numbers.size()}}));
  for (auto const& [dimension, labels] : first.label_map()) out.labels(dimension, labels);
  for (auto const& [dimension, numbers_of] : first.coordinate_map()) out.coordinate(dimension, numbers_of);
  return out;
}

}  // namespace

results stack_steps(std::vector<std::size_t> const& steps, std::vector<results> const& parts) {
  results out;
  for (auto const& part : parts)
    if (part.names() != parts.front().names()) throw plugin_error("the datasets differ between steps");
  for (auto const& name : parts.front().names()) out.add(name, stack(name, steps, parts));
  out.summarise(parts.back().summary());
  return out;
}

}  // namespace wayfarer::host
