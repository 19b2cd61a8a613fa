// A plugin's page in Markdown, generated from its descriptor in each build of Wayfarer, so that it is always up to date.
#pragma once

#include <string>

#include "registry/registry.hpp"

namespace wayfarer::host {

std::string plugin_page(plugin const&);

}  // namespace wayfarer::host
