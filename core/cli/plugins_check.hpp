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

/// `name` is an id, or a path if it has a '/' or ends with ".so". Prints the report. The exit code is 0 if the rules are kept, 4
/// if one is broken (with `strict` also for noted findings), 2 if no input suits the plugin.
int check_plugin_verb(std::string const& name, check_options const&);

}  // namespace wayfarer::host
