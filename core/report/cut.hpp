// Which part of a large dataset goes into a page. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <vector>

#include <wayfarer/tensor.hpp>

namespace wayfarer::host {

/// How many indices of each axis to keep, from the first on, so that at most `most` values are left. The longest axes are cut
/// first, so that texts are cut before layers and heads. At least one index of each axis is kept.
std::vector<std::size_t> part_that_fits(dims const& shape, std::size_t most);

}  // namespace wayfarer::host
