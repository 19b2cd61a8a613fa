// Which words of a document are hidden in masked language modelling: one rule for everybody who must hide the same ones.
//
// A pure function of the stream: a model that trains on a document and a probe that computes its lowest possible loss draw
// equal masks from equal streams. Any thread, each stream owned by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <wayfarer/random.hpp>

namespace wayfarer {

/// Sets each masked[i] to 1 with the given probability, else to 0, and returns how many are 1. A draw that masks nothing is
/// repeated, at most 100 times in all.
inline std::size_t draw_mask(random_stream& draw, double probability, std::span<std::uint8_t> masked) noexcept {
  std::size_t count = 0;
  for (int attempt = 0; attempt < 100 && count == 0; ++attempt)
    for (std::uint8_t& m : masked) count += m = draw.uniform() < probability;
  return count;
}

}  // namespace wayfarer
