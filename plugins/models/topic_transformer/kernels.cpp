#include "kernels.hpp"

#include <wayfarer/instruction_set.hpp>

namespace wayfarer::topic_transformer {

template <>
kernel_table<float> const& kernels<float>() {
#if defined(__x86_64__)
  return for_best_set(kernels_avx512_f32, kernels_avx2_f32, kernels_baseline_f32);
#else
  return kernels_baseline_f32;
#endif
}

}  // namespace wayfarer::topic_transformer
