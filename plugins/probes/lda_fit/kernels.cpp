#include "kernels.hpp"

#include <cstdlib>
#include <string_view>

#include "probes/common/digamma.hpp"

namespace wayfarer::lda {

double plain_digamma(double x) noexcept {
  return digamma(x);
}

template <>
kernel_table<double> const& kernels<double>() noexcept {
  return kernels_baseline_f64;
}

template <>
kernel_table<float> const& kernels<float>() noexcept {
  static kernel_table<float> const& chosen = []() -> kernel_table<float> const& {
#if defined(__x86_64__)
    char const* const wish = std::getenv("WAYFARER_ISA");
    std::string_view const most = wish ? wish : "avx512";
    if (most == "baseline") return kernels_baseline_f32;
    bool const avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (avx512 && most != "avx2") return kernels_avx512_f32;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kernels_avx2_f32;
#endif
    return kernels_baseline_f32;
  }();
  return chosen;
}

}  // namespace wayfarer::lda
