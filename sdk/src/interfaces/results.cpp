#include <wayfarer/results.hpp>

#include <algorithm>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>

#include "view.hpp"

namespace wayfarer {

dataset::dataset(std::vector<std::string> texts, wayfarer::dims shape)
    : texts_(std::move(texts)), shape_(std::move(shape)), is_text_(true) {
  if (element_count(shape_) != texts_.size())
    throw plugin_error(std::to_string(texts_.size()) + " texts do not fill " + describe(shape_));
}

dataset& dataset::rename(std::vector<std::string> names) {
  if (!is_text_) {
    values_ = values_.named(std::move(names));
    return *this;
  }
  if (names.size() != shape_.size())
    throw plugin_error("the texts have " + std::to_string(shape_.size()) + " dimensions, not " + std::to_string(names.size()));
  for (std::size_t i = 0; i < names.size(); ++i) shape_[i].name = std::move(names[i]);
  return *this;
}

namespace {

void check_dimension(dims const& shape, std::string_view dimension, std::size_t count) {
  auto const at = std::find_if(shape.begin(), shape.end(), [&](dim const& d) { return d.name == dimension; });
  if (at == shape.end()) throw plugin_error("no dimension '" + std::string(dimension) + "' in " + describe(shape));
  if (at->size != count)
    throw plugin_error(std::to_string(count) + " coordinates for dimension '" + at->name + "' of size " +
                       std::to_string(at->size));
}

}  // namespace

dataset& dataset::labels(std::string_view dimension, std::vector<std::string> names) {
  check_dimension(shape(), dimension, names.size());
  labels_.insert_or_assign(std::string(dimension), std::move(names));
  return *this;
}

dataset& dataset::coordinate(std::string_view dimension, tensor numbers) {
  check_dimension(shape(), dimension, numbers.count());
  coordinates_.insert_or_assign(std::string(dimension), std::move(numbers));
  return *this;
}

dataset& dataset::view(std::string how) {
  view_ = how.empty() ? std::string() : checked_view(how, shape());
  return *this;
}

std::vector<std::string> const* dataset::find_labels(std::string_view dimension) const {
  auto const at = labels_.find(dimension);
  return at == labels_.end() ? nullptr : &at->second;
}

double dataset::scalar() const {
  if (is_text_ || values_.count() != 1) throw plugin_error("a number was expected, not " + describe(shape()));
  return values_.to(dtype::f64).reshaped({})();
}

namespace {

bool well_formed(std::string_view name) {
  if (name.empty() || name.size() > 255 || name.front() == '/' || name.back() == '/' || name.find("//") != name.npos)
    return false;
  if (name.front() == '.' || name.find("/.") != name.npos) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '/' ||
           c == '-';
  });
}

}  // namespace

dataset& results::add(std::string name, tensor values) {
  return add(std::move(name), dataset(std::move(values)));
}
dataset& results::add(std::string name, std::vector<std::string> texts) {
  return add(std::move(name), dataset(std::move(texts)));
}
dataset& results::add(std::string name, std::vector<std::string> texts, dims shape) {
  return add(std::move(name), dataset(std::move(texts), std::move(shape)));
}

dataset& results::add(std::string name, dataset whole) {
  if (!well_formed(name))
    throw plugin_error("'" + name +
                       "' is not a name for a dataset: letters, digits, '_', '.', '-' inside them, and '/' between them");
  if (all_.contains(name)) throw plugin_error("the dataset '" + name + "' is there already");
  order_.push_back(name);
  auto& slot = all_[std::move(name)];
  slot = std::make_unique<dataset>(std::move(whole));
  return *slot;
}

dataset const* results::find(std::string_view name) const {
  auto const at = all_.find(name);
  return at == all_.end() ? nullptr : at->second.get();
}

dataset const& results::at(std::string_view name) const {
  if (auto const* d = find(name)) return *d;
  throw plugin_error("no dataset '" + std::string(name) + "'" + did_you_mean(name, order_));
}

}  // namespace wayfarer
