// What one attention-free transformer is, as numbers: what its configuration comes down to, and the hooks and weights that
// follow. Zhai et al. 2021.
//
// No released checkpoint has this layout: it is Wayfarer's own, as docs/recurrent.md describes it. The plugin's constructor makes
// it once. Plain values and free functions.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <wayfarer/hf_config.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/weights.hpp>

namespace wayfarer::aft {

enum class variant {
  full,    ///< a bias for each pair of positions
  simple,  ///< no bias
  local,   ///< as full where query and key are near; farther tokens are seen without a bias
  conv,    ///< a bias by distance, of each head, where they are near
};

struct shape {
  variant of = variant::full;
  std::size_t layers = 0, d_model = 0, d_mlp = 0, vocabulary = 0;
  std::size_t positions = 0;  ///< of the tables
  std::size_t heads = 1;      ///< of AFT-conv's biases
  std::size_t window = 0;     ///< of local and conv
  std::size_t rank = 0;       ///< of the biases as a product; 0: a whole table
  double epsilon = 1e-5;
  bool tied = false, position_table = true;
  activation act = activation::gelu_tanh;
  std::string act_name;

  bool by_pair() const noexcept { return of == variant::full || of == variant::local; }
  /// Most positions of a text; 0: no limit.
  std::size_t longest() const noexcept { return by_pair() || position_table ? positions : 0; }
};

/// Throws data_error for a key out of range, or one that changes numbers and is not followed.
shape describe(hf_config const&);
/// The hooks in the order in which a forward pass reaches them.
std::vector<hook_info> list_hooks(shape const&);
/// Where every weight of the common names lies.
weight_table list_weights(shape const&);

}  // namespace wayfarer::aft
