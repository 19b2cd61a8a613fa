// Results that stand in for those of other nodes, and the ways to wire a plugin's results ports to them. Called where metrics and
// probes are checked or measured, in one thread. Wires point into the list of candidates, which must outlive them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/metric.hpp>
#include <wayfarer/results.hpp>

#include "registry/registry.hpp"

namespace wayfarer::host::conformance {

/// Results that a port may be wired to.
struct candidate {
  std::string node;
  std::shared_ptr<results const> all;
  bool over_steps = false;  ///< has the dimension "step"
};

/// One port's wire.
struct wired {
  std::string port;
  candidate const* from = nullptr;
  std::string dataset;  ///< "" for the whole node
};
using wiring = std::vector<wired>;

/// Numbers of every shape that results come in; a short training with what the bundled probes find in it; topics of the words
/// that made texts hold, as lda_fit reports them. `without`: set to the reason if there is no training.
std::vector<candidate> made_results(registry&, std::uint64_t seed, std::string& without);

/// The plugin's results ports, by name.
std::vector<std::string> results_ports(plugin const&, bool optional);

metric_input wire_up(wiring const&);
/// "port = node/dataset, ...", for people.
std::string describe(wiring const&);

/// Calls `works` with one wiring of all ports after another until it returns true. The first two ports are tried with everything,
/// further ones like the second. False if none works.
bool try_wirings(std::vector<std::string> const& ports, std::vector<candidate> const&, bool over_steps,
                 std::function<bool(wiring const&)> const& works);

}  // namespace wayfarer::host::conformance
