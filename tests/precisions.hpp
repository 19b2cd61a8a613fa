// The precisions in which a forward pass computes on this machine: bfloat16 products need a processor that has them.
#pragma once

#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/layers.hpp>

namespace wayfarer::test {

inline bool has_bfloat16_products() {
  try {
    check_precision(dtype::bf16);
    return true;
  } catch (usage_error const&) {
    return false;
  }
}

inline std::vector<dtype> precisions() {
  std::vector<dtype> out{dtype::f32, dtype::f64};
  if (has_bfloat16_products()) out.push_back(dtype::bf16);
  return out;
}

}  // namespace wayfarer::test
