// The hooks and the weight table that follow from a decoder's description. Free functions; any thread.
#pragma once

#include <cstddef>
#include <vector>

#include <wayfarer/hooks.hpp>
#include <wayfarer/tensor.hpp>
#include <wayfarer/weights.hpp>

#include "decoder_spec.hpp"

namespace wayfarer {

/// In the order in which a forward pass reaches them.
std::vector<hook_info> decoder_hooks(decoder_spec const&);

/// Where every weight of the common names lies.
weight_table decoder_weights(decoder_spec const&);

/// Of a fused projection: the first row of head h of the queries ('q'), or of the keys ('k') or values ('v').
std::size_t fused_row(decoder_spec const&, char part, std::size_t head);

/// ALiBi's numbers, added to the scores: [head, position of the key]. Press et al. 2022.
tensor alibi_bias(decoder_spec const&, std::size_t positions);

}  // namespace wayfarer
