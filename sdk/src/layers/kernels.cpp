#include "kernels.hpp"

#include <wayfarer/instruction_set.hpp>

namespace wayfarer::layer_kernels {

#if defined(__x86_64__)
extern bf16_kernels const kernels_avx512_bf16;
#endif

template <>
kernel_table<float> const& kernels<float>() {
#if defined(__x86_64__)
  return for_best_set(kernels_avx512_f32, kernels_avx2_f32, kernels_baseline_f32);
#else
  return kernels_baseline_f32;
#endif
}

template <>
kernel_table<double> const& kernels<double>() {
#if defined(__x86_64__)
  return for_best_set(kernels_avx512_f64, kernels_avx2_f64, kernels_baseline_f64);
#else
  return kernels_baseline_f64;
#endif
}

bf16_kernels const* bf16() {
#if defined(__x86_64__)
  if (has_bfloat16_products()) return &kernels_avx512_bf16;
#endif
  return nullptr;
}

}  // namespace wayfarer::layer_kernels
