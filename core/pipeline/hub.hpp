// Finds models by their Hugging Face names in the cache of its tools: "gpt2", "google/flan-t5-small".
//
// Used by the reader of pipelines and by the verbs that open one model, if a model's path is not a file or folder. Reads the
// cache and never the network. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace wayfarer::host {

/// Whether this could be the name of a model on the hub, and not a path: one name, or two with a slash between them.
bool is_hub_name(std::string_view text) noexcept;

/// The cache's folder: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub.
std::string hub_cache();

/// The folder of the model's snapshot that refs/main names. Throws data_error that says where it looked, what is there instead
/// and near names; `path` is the missing folder, for the message.
std::string find_in_hub_cache(std::string_view name, std::string const& path);

/// `path` if it exists or `given` is not a model's name, else the snapshot of that name.
std::string model_folder(std::string const& given, std::string const& path);

}  // namespace wayfarer::host
