// Sources and probes of the build tree, made and run through their libraries' interfaces, without a pipeline file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <pipeline/values.hpp>
#include <registry/registry.hpp>
#include <wayfarer/accumulator.hpp>
#include <wayfarer/config.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/source.hpp>

namespace wayfarer::test {

using values = std::map<std::string, param_value::storage>;

/// The plugin with the given parameters and defaults for the rest. A parameter that it does not have is an error of the test.
template <class Interface>
std::unique_ptr<Interface> make(std::string const& id, values given = {}) {
  static std::map<std::string, host::plugin> loaded;
  auto found = loaded.find(id);
  if (found == loaded.end())
    found = loaded.emplace(id, host::load_plugin(std::string(WAYFARER_PLUGIN_DIR) + "/wayfarer_" + id + ".so")).first;
  config c;
  for (param_descriptor const& p : found->second.params()) {
    auto const value = given.extract(p.name);
    if (!value.empty())
      c.set(p.name, param_value(value.mapped()));
    else if (!p.required)
      c.set(p.name, host::default_of(p));
  }
  if (!given.empty()) throw std::logic_error(id + " has no parameter " + given.begin()->first);
  if (c.has("seed")) c.set_seed(static_cast<std::uint64_t>(c["seed"].integer()));
  return found->second.create<Interface>(c);
}

inline std::unique_ptr<source> make_source(std::string const& id, values given = {}) {
  return make<source>(id, std::move(given));
}
inline std::unique_ptr<probe> make_probe(std::string const& id, values given = {}) {
  return make<probe>(id, std::move(given));
}

/// The results of a probe that needs no model, observed in blocks of `block` items that are merged in order.
inline results observe_all(probe const& p, source const& s, std::size_t block = 256) {
  probe_context const context(nullptr, &s, {0, s.info().items}, 0);
  batch const no_tokens;
  activations const nothing;
  std::unique_ptr<accumulator> whole;
  for (std::size_t first = 0; first < s.info().items; first += block) {
    item_block const items = s.read({first, std::min(first + block, s.info().items)});
    auto part = std::make_unique<accumulator>(items.count);
    p.shape(*part, context);
    p.observe(*part, sample(items, no_tokens, nothing, 0), context);
    if (whole)
      p.merge(*whole, *part);
    else
      whole = std::move(part);
  }
  results out;
  p.finish(*whole, out, context);
  return out;
}

}  // namespace wayfarer::test
