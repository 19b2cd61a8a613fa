// What one Mamba is, as numbers: what its configuration comes down to, and the hooks and weights that follow from it.
// Gu and Dao 2023 (Mamba), 2024 (Mamba 2); Zuo et al. 2024 (Falcon-Mamba).
//
// The plugin's constructor makes it once. Plain values and free functions.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/hf_config.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/weights.hpp>

namespace wayfarer::mamba {

enum class kind { one, two, falcon };

struct shape {
  kind of = kind::one;
  std::size_t layers = 0, d_model = 0, channels = 0, state = 0, vocabulary = 0;
  std::size_t kernel = 4;                         ///< of the convolution
  std::size_t rank = 0;                           ///< of the step widths; Mamba 2 has none
  std::size_t heads = 0, d_head = 0, groups = 1;  ///< of Mamba 2: of channels, and of B and C
  double epsilon = 1e-5, mixer_epsilon = 1e-6;
  double least_step = 0, most_step = std::numeric_limits<double>::infinity();
  bool bias = false, conv_bias = true, tied = true;

  bool two() const noexcept { return of == kind::two; }
  /// Columns that the convolution passes over: Mamba 2's B and C with them.
  std::size_t convolved() const noexcept { return two() ? channels + 2 * groups * state : channels; }
  std::size_t projected() const noexcept { return channels + convolved() + (two() ? heads : 0); }
  std::size_t steps() const noexcept { return two() ? heads : channels; }
};

std::vector<std::string_view> model_types();
/// Throws data_error for a key out of range, or one that changes numbers and is not followed.
shape describe(hf_config const&);

/// The hooks in the order in which a forward pass reaches them.
std::vector<hook_info> list_hooks(shape const&);
/// Where every weight of the common names lies.
weight_table list_weights(shape const&);

}  // namespace wayfarer::mamba
