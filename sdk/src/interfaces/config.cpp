#include <wayfarer/config.hpp>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>

namespace wayfarer {
namespace {

template <class T>
T const& get_as(param_value::storage const& v, char const* wanted) {
  if (auto const* p = std::get_if<T>(&v)) return *p;
  throw plugin_error(std::string("a plugin reads a parameter as ") + wanted + ", which its schema declares as another type");
}

}  // namespace

bool param_value::flag() const {
  return get_as<bool>(value_, "a flag");
}
std::int64_t param_value::integer() const {
  return get_as<std::int64_t>(value_, "an integer");
}
double param_value::real() const {
  if (auto const* i = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*i);
  return get_as<double>(value_, "a number");
}
std::string const& param_value::text() const {
  return get_as<std::string>(value_, "text");
}
std::vector<std::string> const& param_value::texts() const {
  return get_as<std::vector<std::string>>(value_, "a list of texts");
}
std::vector<std::int64_t> const& param_value::integers() const {
  return get_as<std::vector<std::int64_t>>(value_, "a list of integers");
}
std::vector<double> const& param_value::reals() const {
  return get_as<std::vector<double>>(value_, "a list of numbers");
}

param_value const& config::operator[](std::string_view name) const {
  auto const found = values_.find(name);
  if (found != values_.end()) return found->second;
  std::vector<std::string> known;
  for (auto const& [k, v] : values_) known.push_back(k);
  throw plugin_error("a plugin reads the parameter '" + std::string(name) + "', which its schema lacks" +
                     did_you_mean(name, known));
}

}  // namespace wayfarer
