// What mixing by position and its way back share: the table of distances, and the check that it fits.
#pragma once

#include <cstddef>

#include <wayfarer/mixing.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// Throws plugin_error for values of `width` numbers, or a table, that do not fit up to `keys` keys.
void check_mixing(mixing_options const&, std::size_t width, std::size_t keys);

/// A table [head, distance] turned round, in type `type`: [head, key], so that a query's keys lie in their order, its own last.
tensor in_order_of_keys(tensor const& by_distance, dtype type);

}  // namespace wayfarer
