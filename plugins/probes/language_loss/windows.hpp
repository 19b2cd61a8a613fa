// How a text longer than the model's context is read: windows that overlap, each scoring the tokens that no earlier one has.
//
// Plain values, any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace wayfarer::language {

/// Tokens [first, last) are read; tokens [scored, last) are predicted, each from all before it in the window.
struct window {
  std::size_t first = 0, last = 0, scored = 0;
  friend bool operator==(window const&, window const&) = default;
};

/// Windows of `size` tokens, one every `stride`, 1 <= stride < size, until the end of `length` tokens. The first token has
/// nothing before it and is never scored; fewer than two tokens need no window.
inline std::vector<window> windows_over(std::size_t length, std::size_t size, std::size_t stride) {
  std::vector<window> all;
  std::size_t scored = 1;
  for (std::size_t first = 0; scored < length; first += stride) {
    std::size_t const last = std::min(first + size, length);
    all.push_back({first, last, scored});
    scored = last;
  }
  return all;
}

}  // namespace wayfarer::language
