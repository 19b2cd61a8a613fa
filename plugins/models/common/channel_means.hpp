// The mixer of RWKV-4, and with no decay and no bonus that of AFT-simple: in each channel the mean of all values so far, weighted
// by e^key less what time took. Peng et al. 2023; Zhai et al. 2021.
//
// Goes through the positions with the SDK's scan, taps the state, the weights between positions and the result. Float or double
// as the rows are. Free functions; any thread, not for the same objects.
#pragma once

#include <cstddef>
#include <vector>

#include <wayfarer/rows.hpp>
#include <wayfarer/scan.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// k, v: [pos, width]. `log_decay` and `bonus`: [width], float64; `decays`: of each position, if an edit changed them, else
/// undefined. The state is [3, width]: sums of values and of ones, both over e^scale, and the scale. Taps hook_state,
/// hook_pattern and hook_wkv.
rows mix_channels(rows const& k, rows const& v, tensor const& log_decay, tensor const& bonus, rows const& decays, carried& state,
                  tap_scope const& at);
/// The state before anything was read.
std::vector<double> empty_channels(std::size_t width);

}  // namespace wayfarer
