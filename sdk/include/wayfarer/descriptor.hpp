// What a plugin library says of itself, as plain data that the host can check before it calls anything C++.
//
// Written by the WAYFARER_* macros of plugin.hpp; plugin authors never fill one in by hand. Everything is constant-initialised:
// no constructor runs, and all pointers point into the library itself. The layout is frozen within a major version: fields are
// only ever added at the end (before `tail`), with `size` telling which are there. docs/plugin-abi.md has the table and the
// rules.
#pragma once

#include <cstddef>
#include <cstdint>

#include <wayfarer/layout.hpp>

namespace wayfarer {

class config;
struct plugin_base;

enum class plugin_kind : std::uint32_t { source = 1, model = 2, probe = 3, metric = 4 };
enum class param_type : std::uint32_t { boolean = 1, integer, real, text, path, text_list, integer_list, real_list };
enum class port_kind : std::uint32_t { source = 1, model = 2, results = 3 };

struct param_descriptor {
  char const* name;          ///< dotted for a nested group: "train.epochs"
  char const* doc;           ///< one line
  char const* unit;          ///< "" if it has none
  char const* default_text;  ///< text and lists; texts are separated by the byte 0x1f, numbers by spaces
  char const* choices;       ///< '|'-separated words, "" if any value may be given
  double default_number;     ///< boolean, integer, real
  double minimum, maximum;   ///< -inf and +inf where there is no bound; for lists, of each element
  param_type type;
  std::uint32_t required;  ///< 1: there is no default
};

struct port_descriptor {
  char const* name;  ///< dotted for a nested group: "train.source"
  char const* doc;
  port_kind kind;
  std::uint32_t optional;
};

inline constexpr char descriptor_magic[16] = "wayfarer-plugin";
/// The last eight bytes: "wf-tail\0" read as a little-endian number.
inline constexpr std::uint64_t descriptor_tail = 0x006c6961742d6677;

struct plugin_descriptor {
  char magic[16];
  std::uint32_t size;  ///< sizeof(plugin_descriptor) in the plugin's SDK
  std::uint32_t sdk_major, sdk_minor;
  plugin_kind kind;
  char const* abi_tag;
  char const* build_id;
  char const* id;
  char const* version;
  char const* summary;
  param_descriptor const* params;
  port_descriptor const* ports;
  std::uint32_t param_count, port_count;
  plugin_base* (*create)(config const&);  ///< may throw; the host owns the result
  char const* const* facts;               ///< for each parameter the fact that it is bound to, "" for none
  type_layout const* const* layouts;      ///< of all types that the plugin was compiled with, as its headers list them
  type_layout const* const* layouts_end;
  std::uint64_t tail;  ///< at size - 8: the descriptor is all there
};
static_assert(sizeof(param_descriptor) == 72 && sizeof(port_descriptor) == 24 && sizeof(plugin_descriptor) == 136 &&
                  offsetof(plugin_descriptor, params) == 72 && offsetof(plugin_descriptor, create) == 96,
              "the layout is frozen within a major version");

/// Name of the one symbol that a plugin library exports: extern "C" plugin_descriptor const* wayfarer_plugin().
inline constexpr char descriptor_symbol[] = "wayfarer_plugin";

}  // namespace wayfarer
