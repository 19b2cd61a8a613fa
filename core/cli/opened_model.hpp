// Shared by the verbs that read one model: `wayfarer VERB PLUGIN --path DIR`. Main thread.
#pragma once

#include <memory>
#include <string>

#include <wayfarer/model.hpp>

#include "cli/options.hpp"
#include "registry/registry.hpp"

namespace wayfarer::host {

/// Adds PLUGIN, --path and --plugin-path.
void add_model_options(verb_options&);
/// The model plugin that was asked for, constructed on the folder with all else at its defaults. Weights are not loaded. It must
/// not outlive the registry.
std::unique_ptr<model> open_model(verb_options const&, registry&);

/// The text on standard input. Drops a byte order mark with a warning. data_error if it is not UTF-8.
std::string text_of_input();

}  // namespace wayfarer::host
