// `wayfarer plugins check`, called by the verb `plugins` once it has read the command line. Main thread; no other thread may run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wayfarer::host {

struct check_options {
  std::vector<std::string> folders, settings;  ///< --plugin-path, --set
  std::uint64_t seed = 0;
  bool json = false, strict = false;
};

/// `name` is an id, or a path if it holds a '/' or ends with ".so". Prints the report; the exit code: 0 keeps the rules, 4 breaks
/// one (with `strict` also where something was noted), 2 could not be fed.
int check_plugin_verb(std::string const& name, check_options const&);

}  // namespace wayfarer::host
