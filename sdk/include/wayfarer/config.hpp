// The parameters of one node, checked against the plugin's schema and completed with its defaults before the plugin sees them.
//
// A plugin reads them in its constructor: `explicit my_probe(wf::config const& c) : pairs_{c["pairs"]},
// hooks_{c["hooks"].texts()} {}`. Numbers convert to the type they are put into. A name that the schema lacks, or the wrong type,
// is a plugin_error, since the host has checked the user's part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

class WAYFARER_API param_value {
 public:
  using storage = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>, std::vector<std::int64_t>,
                               std::vector<double>>;

  param_value() = default;
  param_value(storage v) : value_(std::move(v)) {}

  storage const& get() const noexcept { return value_; }
  bool flag() const;
  std::int64_t integer() const;
  double real() const;  ///< integers convert
  std::string const& text() const;
  std::vector<std::string> const& texts() const;
  std::vector<std::int64_t> const& integers() const;
  std::vector<double> const& reals() const;  ///< of a real_list

  /// Numbers and flags only: for strings and vectors brace initialisation would pick the wrong constructor, so they have names.
  template <class T>
  requires std::is_arithmetic_v<T>
  operator T() const {
    if constexpr (std::is_same_v<T, bool>)
      return flag();
    else if constexpr (std::is_integral_v<T>)
      return static_cast<T>(integer());
    else
      return static_cast<T>(real());
  }

  friend bool operator==(param_value const&, param_value const&) = default;

 private:
  template <class>
  friend struct layout_of;
  storage value_;
};

/// What a source or a model says of itself by name, such as {"topics", 10}: see source_info::facts.
using fact_map = std::map<std::string, param_value, std::less<>>;

class WAYFARER_API config {
 public:
  config() = default;
  explicit config(std::map<std::string, param_value, std::less<>> values) : values_(std::move(values)) {}

  param_value const& operator[](std::string_view name) const;
  bool has(std::string_view name) const { return values_.find(name) != values_.end(); }
  void set(std::string name, param_value v) { values_.insert_or_assign(std::move(name), std::move(v)); }
  std::map<std::string, param_value, std::less<>> const& values() const noexcept { return values_; }

  /// Seed of this node: its own `seed` parameter where it has one, else the pipeline's.
  std::uint64_t seed() const noexcept { return seed_; }
  void set_seed(std::uint64_t s) noexcept { seed_ = s; }

 private:
  template <class>
  friend struct layout_of;
  std::map<std::string, param_value, std::less<>> values_;
  std::uint64_t seed_ = 0;
};

WAYFARER_LAYOUT(param_value, value_);
WAYFARER_LAYOUT(config, values_, seed_);

}  // namespace wayfarer
