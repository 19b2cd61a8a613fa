// A plugin's page for people, in Markdown, from what its descriptor says. Made when Wayfarer is built, so that it can't go stale.
#pragma once

#include <string>

#include "registry/registry.hpp"

namespace wayfarer::host {

std::string plugin_page(plugin const&);

}  // namespace wayfarer::host
