#include "kernels.hpp"

#include <cstdlib>
#include <string_view>

namespace wayfarer::layer_kernels {

#if defined(__x86_64__)
extern bf16_kernels const kernels_avx512_bf16;
#endif

namespace {

enum class isa { baseline, avx2, avx512 };

isa best() noexcept {
  static isa const chosen = [] {
#if defined(__x86_64__)
    char const* const wish = std::getenv("WAYFARER_ISA");
    std::string_view const most = wish ? wish : "avx512";
    if (most == "baseline") return isa::baseline;
    bool const avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (avx512 && most != "avx2") return isa::avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return isa::avx2;
#endif
    return isa::baseline;
  }();
  return chosen;
}

}  // namespace

template <>
kernel_table<float> const& kernels<float>() noexcept {
#if defined(__x86_64__)
  if (best() == isa::avx512) return kernels_avx512_f32;
  if (best() == isa::avx2) return kernels_avx2_f32;
#endif
  return kernels_baseline_f32;
}

template <>
kernel_table<double> const& kernels<double>() noexcept {
#if defined(__x86_64__)
  if (best() == isa::avx512) return kernels_avx512_f64;
  if (best() == isa::avx2) return kernels_avx2_f64;
#endif
  return kernels_baseline_f64;
}

bf16_kernels const* bf16() noexcept {
#if defined(__x86_64__)
  if (best() == isa::avx512 && __builtin_cpu_supports("avx512bf16")) return &kernels_avx512_bf16;
#endif
  return nullptr;
}

}  // namespace wayfarer::layer_kernels
