#include "engine/remainder.hpp"

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <variant>

#include <wayfarer/error.hpp>

#include "pipeline/values.hpp"

namespace wayfarer::host {
namespace {

template <class T>
constexpr bool is_list = !std::is_arithmetic_v<T> && !std::is_same_v<T, std::string>;

/// Elements of a list; 1 for other values.
std::size_t elements_of(param_value const& v) {
  return std::visit(
      [](auto const& x) -> std::size_t {
        if constexpr (is_list<std::remove_cvref_t<decltype(x)>>)
          return x.size();
        else
          return 1;
      },
      v.get());
}

/// Nothing if no element would be left.
std::optional<param_value> without(param_value const& v, std::size_t i) {
  return std::visit(
      [&](auto x) -> std::optional<param_value> {
        if constexpr (is_list<std::remove_cvref_t<decltype(x)>>) {
          if (x.size() < 2) return {};
          x.erase(x.begin() + static_cast<std::ptrdiff_t>(i));
          return param_value(std::move(x));
        } else {
          return {};
        }
      },
      v.get());
}

}  // namespace

remaining_values::remaining_values(plan_node const& node, std::size_t combination)
    : what_(node.what), values_(node.parameters_of(combination)) {
  for (auto const& d : what_->params()) {
    bool const swept =
        std::any_of(node.sweep.begin(), node.sweep.end(), [&](swept_parameter const& s) { return s.name == d.name; });
    if (!values_.has(d.name))
      put_default(d);
    else if (swept || node.origins.contains(d.name)) {
      auto& left = left_[d.name];
      left.resize(elements_of(values_[d.name]));
      std::iota(left.begin(), left.end(), std::size_t{0});
    }
  }
}

void remaining_values::put_default(param_descriptor const& d) {
  left_.erase(d.name);
  try {
    if (d.required)
      complete_ = false;
    else
      values_.set(d.name, default_of(d));
  } catch (error const&) {
    complete_ = false;  // said where the file was read
  }
}

bool remaining_values::leave_out(std::vector<wrong_value> const& all) {
  bool any = false;
  for (auto const& one : all) {
    auto const left = left_.find(one.parameter);
    if (left == left_.end()) continue;
    auto const at = std::find(left->second.begin(), left->second.end(), one.element);
    if (at == left->second.end()) continue;
    any = true;
    if (auto rest = without(values_[one.parameter], static_cast<std::size_t>(at - left->second.begin()))) {
      values_.set(one.parameter, std::move(*rest));
      left->second.erase(at);
    } else {
      put_default(*what_->find_param(one.parameter));
    }
  }
  return any;
}

std::optional<std::size_t> remaining_values::element_in_file(std::string_view parameter, std::size_t i) const {
  auto const left = left_.find(parameter);
  if (left == left_.end() || left->second.empty()) return {};
  return left->second[std::min(i, left->second.size() - 1)];
}

}  // namespace wayfarer::host
