// Checks one plugin against the rules of docs/conformance.md. Called by the command line; the plugin runs in child processes.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "conformance/steps.hpp"

namespace wayfarer::host::conformance {

struct check_request {
  std::filesystem::path library;               ///< of the plugin
  std::vector<std::filesystem::path> folders;  ///< of --plugin-path, for models that probes are fed by
  std::vector<std::string> settings;           ///< "param=value"
  std::uint64_t seed = 0;
  std::chrono::seconds limit{20};  ///< for one call of the plugin
};

struct check_report {
  std::string id, kind, version, input;
  std::uint64_t seed = 0;
  std::vector<finding> findings;  ///< broken first, then noted, then not checked
  std::vector<std::string> held;  ///< rules that were checked and not broken, in the order of docs/conformance.md
  std::size_t broken = 0, noted = 0;
  bool checked = false;  ///< false: no input suits the plugin
};

check_report check_plugin(check_request const&);

}  // namespace wayfarer::host::conformance
