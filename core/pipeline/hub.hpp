// Models by the name that Hugging Face gives them, in the cache that its tools keep: "gpt2", "google/flan-t5-small".
//
// Asked by the reader of pipelines and by the verbs that open one model, wherever a model's path is no file or folder. Reads the
// cache and never the network. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace wayfarer::host {

/// Whether this could be the name of a model on the hub, and no path: one name, or two with a slash between them.
bool is_hub_name(std::string_view text) noexcept;

/// The cache's folder: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub.
std::string hub_cache();

/// The folder of the model's snapshot that refs/main names. Throws data_error that says where it looked, what is there instead
/// and near names; `path` is the folder that is not there, for the message.
std::string find_in_hub_cache(std::string_view name, std::string const& path);

/// `path` if it is there or `given` is no model's name, else the snapshot of that name.
std::string model_folder(std::string const& given, std::string const& path);

}  // namespace wayfarer::host
