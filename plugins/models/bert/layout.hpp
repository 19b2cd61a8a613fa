// Hooks and weights of an encoder: what its spec makes of the common names.
//
// Called once by the plugin's constructor; nothing is read.
#pragma once

#include <vector>

#include <wayfarer/hooks.hpp>
#include <wayfarer/weights.hpp>

#include "families.hpp"

namespace wayfarer::encoder {

/// Where every weight of the common names lies. torch's Linear matrices are [out, in].
weight_table list_weights(encoder_spec const&);

/// The hooks in the order in which a forward pass reaches them. Norms stand behind what they normalise (post-norm): the state
/// that enters a block is the former block's ln2.hook_out.
std::vector<hook_info> list_hooks(encoder_spec const&);

/// A tensor that only the discriminator of an ELECTRA pair has, which has no vocabulary head.
inline constexpr std::string_view discriminators_own = "discriminator_predictions.dense_prediction.weight";

}  // namespace wayfarer::encoder
