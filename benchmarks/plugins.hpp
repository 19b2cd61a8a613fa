// Plugins for benchmarks, loaded as the host loads them, and the median of what was measured. One thread.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <pipeline/values.hpp>
#include <registry/registry.hpp>
#include <wayfarer/config.hpp>

namespace wayfarer {

/// A plugin with these parameters as texts, the others as they are by default.
template <class Interface>
std::unique_ptr<Interface> make_plugin(std::string const& id, std::map<std::string, std::string> const& texts = {}) {
  static std::map<std::string, host::plugin> loaded;
  auto at = loaded.find(id);
  if (at == loaded.end())
    at = loaded.emplace(id, host::load_plugin(std::string(WAYFARER_PLUGIN_DIR) + "/wayfarer_" + id + ".so")).first;
  config c;
  for (auto const& p : at->second.params()) {
    auto const given = texts.find(p.name);
    c.set(p.name, given != texts.end() ? param_value(given->second) : param_value(host::default_of(p)));
  }
  return at->second.create<Interface>(c);
}

inline double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

}  // namespace wayfarer
