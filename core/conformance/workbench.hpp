// What the checks of all four kinds share: the plugin, its inputs, and steps that are the same for every kind. Lives in the child
// process that checks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/results.hpp>

#include "conformance/differences.hpp"
#include "conformance/inputs.hpp"
#include "conformance/steps.hpp"
#include "registry/registry.hpp"

namespace wayfarer::host::conformance {

class workbench {
 public:
  workbench(plugin const& of, registry& others, given_values values, std::uint64_t with_seed, std::filesystem::path in)
      : subject(of), plugins(others), given(std::move(values)), seed(with_seed), folder(in), files(in / "inputs", with_seed) {}

  plugin const& subject;
  registry& plugins;
  given_values given;
  std::uint64_t seed;
  std::filesystem::path folder;
  generated_files files;
  config base;  ///< complete: set by find_config

  /// Completes the configuration, trying generated files for paths that must be given until `works` returns. Throws unmet_need
  /// with the reasons if it never does.
  void find_config(std::function<void(config const&)> const& works);

  template <class Interface>
  std::unique_ptr<Interface> make(config const& c) const {
    return subject.create<Interface>(c);
  }
  template <class Interface>
  std::unique_ptr<Interface> make() const {
    return make<Interface>(base);
  }
};

/// A step that calls `work` and lets it refuse: usage_error, data_error and resource_error are fine, plugin_error is not.
/// Returns what it refused with, "" if it did not.
std::string refusal_of(std::function<void()> const& work);

/// Steps that try every parameter at its ends and in between. `digest` carries out the plugin's work under a configuration.
void add_parameter_steps(std::vector<step>&, workbench&, std::function<std::string(config const&)> const& digest);
/// What the parent makes of the digests that those steps left: parameters that change nothing.
std::vector<finding> unused_parameters(plugin const&, std::map<std::string, std::string> const& digests);

/// Datasets against what they declare, and into a result file. `items`: what a dimension "item" must have, 0: unknown.
void check_results(workbench const&, results const&, std::size_t items, reporter&);

/// Runs `work(thread)` on this many threads, released together. The first exception is rethrown.
void on_threads(std::size_t threads, std::function<void(std::size_t)> const& work);

/// The steps of each kind, with their preparation.
std::vector<step> source_steps(std::shared_ptr<workbench>, reporter&);
std::vector<step> model_steps(std::shared_ptr<workbench>, reporter&);
std::vector<step> probe_steps(std::shared_ptr<workbench>, reporter&);
std::vector<step> metric_steps(std::shared_ptr<workbench>, reporter&);

/// A bundled model with random weights, by id: loaded. Null if there is no such plugin or it can't be made.
/// `folder`: the checkpoint of a model that reads one; empty: the one that is made for `id`.
std::shared_ptr<model> make_model(workbench&, std::string const& id, std::uint64_t seed, std::string* why = nullptr,
                                  std::filesystem::path const& folder = {});

}  // namespace wayfarer::host::conformance
