// The table of decoder families: the description that config.json of each model_type gives.
//
// The plugin's constructor asks once. To add a family, write an entry in families.cpp: its model_type, its names of the tensors,
// what differs from Llama, and, where the configuration decides more, a function.
#pragma once

#include <span>
#include <string_view>

#include <wayfarer/hf_config.hpp>

#include "models/common/decoder_family.hpp"

namespace wayfarer::decoder {

/// Every model_type that is read, old names included.
std::span<std::string_view const> model_types();

/// The model that this configuration describes. Throws data_error for a key out of range, and for one that changes numbers and
/// is not followed.
decoder_spec describe(hf_config const&);

}  // namespace wayfarer::decoder
