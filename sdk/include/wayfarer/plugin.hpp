// How a class becomes a plugin: one macro at the end of the file.
//
//     WAYFARER_PROBE(anisotropy, "1.0.0", "Mean cosine between tokens of different items, per layer",
//         wf::port::model("model"), wf::port::source("source"),
//         wf::param("hooks", wf::strings("blocks.*.hook_resid_post"), "hooks to read, in layer order"),
//         wf::param("pairs", 1000, "random pairs a block").at_least(1));
//
// At global scope, once a library; a plugin without parameters and ports ends after its summary. The class name is the plugin's
// id. The macro writes the constant descriptor (descriptor.hpp) and the library's one exported symbol.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

#include <wayfarer/config.hpp>
#include <wayfarer/descriptor.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/version.hpp>

namespace wayfarer {

/// Root of the four plugin interfaces.
struct WAYFARER_API plugin_base {
  plugin_base() = default;
  plugin_base(plugin_base const&) = delete;
  plugin_base& operator=(plugin_base const&) = delete;
  virtual ~plugin_base();
};

/// Default of a list of texts, at most 512 characters in all.
struct strings {
  char text[512] = {};
  constexpr strings() = default;
  template <std::convertible_to<std::string_view>... More>
  consteval explicit strings(std::string_view first, More const&... more) {
    std::size_t n = 0;
    auto put = [&](std::string_view s) {
      for (char c : s) text[n++] = c;
    };
    put(first);
    ((text[n++] = '\x1f', put(more)), ...);
    text[n] = 0;  // a list that is too long does not compile
  }
};
/// Default of a list of numbers, written as text: wf::integers("0 1 1001"), wf::reals("0.5 1").
struct integers {
  char const* text;
  constexpr explicit integers(char const* t) : text(t) {}
};
struct reals {
  char const* text;
  constexpr explicit reals(char const* t) : text(t) {}
};

/// Declares one parameter. The type of the default is the type of the parameter.
struct param {
  param_descriptor d;
  strings list;
  char const* bound = "";  // the fact's name

  constexpr param(char const* name, bool value, char const* doc) : param(name, doc, param_type::boolean) {
    d.default_number = value ? 1 : 0;
  }
  template <std::integral Integer>
  requires(!std::same_as<Integer, bool>) constexpr param(char const* name, Integer value, char const* doc)
      : param(name, doc, param_type::integer) {
    d.default_number = static_cast<double>(value);
  }
  constexpr param(char const* name, double value, char const* doc) : param(name, doc, param_type::real) {
    d.default_number = value;
  }
  constexpr param(char const* name, char const* value, char const* doc) : param(name, doc, param_type::text) {
    d.default_text = value;
  }
  constexpr param(char const* name, strings value, char const* doc) : param(name, doc, param_type::text_list) { list = value; }
  constexpr param(char const* name, integers value, char const* doc) : param(name, doc, param_type::integer_list) {
    d.default_text = value.text;
  }
  constexpr param(char const* name, reals value, char const* doc) : param(name, doc, param_type::real_list) {
    d.default_text = value.text;
  }

  /// A file or folder that is read; its digest goes into the result. "" means none. Relative to the pipeline file.
  static constexpr param file(char const* name, char const* value, char const* doc) {
    param p(name, doc, param_type::path);
    p.d.default_text = value;
    return p;
  }

  constexpr param at_least(double v) const {
    param p = *this;
    p.d.minimum = v;
    return p;
  }
  constexpr param at_most(double v) const {
    param p = *this;
    p.d.maximum = v;
    return p;
  }
  constexpr param between(double low, double high) const { return at_least(low).at_most(high); }
  /// "adam|sgd"
  constexpr param one_of(char const* words) const {
    param p = *this;
    p.d.choices = words;
    return p;
  }
  constexpr param in(char const* unit) const {
    param p = *this;
    p.d.unit = unit;
    return p;
  }
  /// There is no default: the user must give it.
  constexpr param required() const {
    param p = *this;
    p.d.required = 1;
    return p;
  }
  /// If a source or a model upstream has a fact of this name (`source_info::facts`), the fact is the value if the user gives
  /// none, and the only value that the user may give. Without such a source the default holds. The value is then a fact for all
  /// nodes that read this one. Not for a path.
  constexpr param fact(char const* name) const {
    param p = *this;
    p.bound = name;
    return p;
  }

 private:
  constexpr param(char const* name, char const* doc, param_type type)
      : d{name, doc, "", "", "", 0, -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity(), type, 0} {}
};

/// Declares one port: another node's name is its value.
struct port {
  port_descriptor d;

  static constexpr port source(char const* name, char const* doc = "items to read") {
    return {{name, doc, port_kind::source, 0}};
  }
  static constexpr port model(char const* name, char const* doc = "model to look into") {
    return {{name, doc, port_kind::model, 0}};
  }
  static constexpr port results(char const* name, char const* doc = "node, or node/dataset, to measure") {
    return {{name, doc, port_kind::results, 0}};
  }
  constexpr port optional() const {
    port p = *this;
    p.d.optional = 1;
    return p;
  }
};

WAYFARER_INTERFACE_LAYOUT(plugin_base);

namespace detail {

template <std::size_t Params, std::size_t Ports>
struct plugin_table {
  // Lists keep their own text beside the descriptors that point to it, so this object must have static storage.
  std::array<strings, Params == 0 ? 1 : Params> lists{};
  std::array<param_descriptor, Params == 0 ? 1 : Params> params{};
  std::array<char const*, Params == 0 ? 1 : Params> facts{};
  std::array<port_descriptor, Ports == 0 ? 1 : Ports> ports{};
  static constexpr std::size_t param_count = Params, port_count = Ports;
};

template <class T>
inline constexpr std::size_t is_param = std::is_same_v<T, param> ? 1 : 0;

template <class... Part>
consteval auto make_table(Part... parts) {
  static_assert(((std::is_same_v<Part, param> || std::is_same_v<Part, port>)&&...),
                "a plugin declares wf::param and wf::port only");
  constexpr std::size_t params = (is_param<Part> + ... + 0);
  plugin_table<params, sizeof...(Part) - params> t;
  std::size_t i = 0, j = 0;
  [[maybe_unused]] auto put = [&](auto const& part) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(part)>, param>) {
      t.params[i] = part.d;
      t.facts[i] = part.bound;
      t.lists[i++] = part.list;
    } else {
      t.ports[j++] = part.d;
    }
  };
  (put(parts), ...);
  return t;
}

/// The table with the list defaults pointing at the text beside them; `Table` has static storage.
template <auto const& Table>
consteval auto point_lists() {
  auto params = Table.params;
  for (std::size_t i = 0; i < params.size(); ++i)
    if (params[i].type == param_type::text_list) params[i].default_text = Table.lists[i].text;
  return params;
}

}  // namespace detail
}  // namespace wayfarer

#ifdef WAYFARER_SEPARATE_BUILD_ID  // in a source of its own, so that a new id compiles nothing else
extern char const wayfarer_build_id[];
#define WAYFARER_BUILD_ID wayfarer_build_id
#elif !defined(WAYFARER_BUILD_ID)
#define WAYFARER_BUILD_ID "unversioned"
#endif

#define WAYFARER_PLUGIN(kind_, interface_, type_, version_, summary_, ...)                                   \
  namespace {                                                                                                \
  constexpr auto wayfarer_table_ = ::wayfarer::detail::make_table(__VA_ARGS__);                              \
  constexpr auto wayfarer_params_ = ::wayfarer::detail::point_lists<wayfarer_table_>();                      \
  ::wayfarer::plugin_base* wayfarer_create_(::wayfarer::config const& c) {                                   \
    return static_cast<::wayfarer::interface_*>(new type_(c));                                               \
  }                                                                                                          \
  constexpr ::wayfarer::plugin_descriptor wayfarer_descriptor_ = {"wayfarer-plugin",                         \
                                                                  sizeof(::wayfarer::plugin_descriptor),     \
                                                                  WAYFARER_SDK_MAJOR,                        \
                                                                  WAYFARER_SDK_MINOR,                        \
                                                                  ::wayfarer::plugin_kind::kind_,            \
                                                                  WAYFARER_ABI_TAG,                          \
                                                                  WAYFARER_BUILD_ID,                         \
                                                                  #type_,                                    \
                                                                  version_,                                  \
                                                                  summary_,                                  \
                                                                  wayfarer_params_.data(),                   \
                                                                  wayfarer_table_.ports.data(),              \
                                                                  wayfarer_table_.param_count,               \
                                                                  wayfarer_table_.port_count,                \
                                                                  &wayfarer_create_,                         \
                                                                  wayfarer_table_.facts.data(),              \
                                                                  ::wayfarer::layouts::first_layout,         \
                                                                  ::wayfarer::layouts::last_layout,          \
                                                                  ::wayfarer::descriptor_tail};              \
  }                                                                                                          \
  extern "C" __attribute__((visibility("default"))) ::wayfarer::plugin_descriptor const* wayfarer_plugin() { \
    return &wayfarer_descriptor_;                                                                            \
  }                                                                                                          \
  static_assert(true, "")

#define WAYFARER_SOURCE(type_, version_, summary_, ...) WAYFARER_PLUGIN(source, source, type_, version_, summary_, __VA_ARGS__)
#define WAYFARER_MODEL(type_, version_, summary_, ...) WAYFARER_PLUGIN(model, model, type_, version_, summary_, __VA_ARGS__)
#define WAYFARER_PROBE(type_, version_, summary_, ...) WAYFARER_PLUGIN(probe, probe, type_, version_, summary_, __VA_ARGS__)
#define WAYFARER_METRIC(type_, version_, summary_, ...) WAYFARER_PLUGIN(metric, metric, type_, version_, summary_, __VA_ARGS__)
