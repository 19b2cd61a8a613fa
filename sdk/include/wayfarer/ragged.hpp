// Lists of different lengths, such as the token ids of a batch of texts.
//
// A plain value, copied with its contents; views live until it changes. Any thread, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/layout.hpp>

namespace wayfarer {

/// Lists of different lengths, packed end to end: list i is values[offsets[i] .. offsets[i+1]).
template <class T>
struct ragged {
  std::vector<T> values;
  std::vector<std::size_t> offsets{0};

  std::size_t size() const noexcept { return offsets.size() - 1; }
  bool empty() const noexcept { return offsets.size() == 1; }
  std::span<T const> operator[](std::size_t i) const noexcept {
    return {values.data() + offsets[i], offsets[i + 1] - offsets[i]};
  }
  std::span<T> operator[](std::size_t i) noexcept { return {values.data() + offsets[i], offsets[i + 1] - offsets[i]}; }
  void push_back(std::span<T const> list) {
    values.insert(values.end(), list.begin(), list.end());
    offsets.push_back(values.size());
  }
};

WAYFARER_LAYOUT(ragged<std::int32_t>, values, offsets);
WAYFARER_LAYOUT(ragged<std::string>, values, offsets);

}  // namespace wayfarer
