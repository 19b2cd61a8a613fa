// How attention-free transformers mix positions: in each channel a mean of values, weighted by e^(key + position bias).
// Zhai et al. 2021, section 3.
//
// Biases reach back over a window (of any length for AFT-full); what lies behind it counts by its key alone, and is carried as a
// state. The recent positions' keys and values are kept beside it. Float or double as the rows are. Free functions; any thread,
// not for the same objects.
#pragma once

#include <cstddef>
#include <vector>

#include <wayfarer/rows.hpp>
#include <wayfarer/scan.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::aft {

struct mixer {
  std::size_t heads = 1;   ///< of the biases: each has its run of channels
  std::size_t window = 0;  ///< a bias counts where query - key < window; 0: always
  tensor by_pair{};        ///< [query, key], or
  tensor left{}, right{};  ///< [query, rank] and [key, rank], whose products it is, or
  tensor by_distance{};    ///< [head, distance]
};

/// k, v: [pos, width]. `far`: the state of what lies behind the window, as `channel_means.hpp` has it; `kept`: each item's recent
/// keys and values. Taps hook_state (where there is a window), hook_position_bias, hook_pattern and hook_wkv.
rows mix(mixer const&, rows const& k, rows const& v, carried& far, std::vector<tensor>& kept, tap_scope const& at);

}  // namespace wayfarer::aft
