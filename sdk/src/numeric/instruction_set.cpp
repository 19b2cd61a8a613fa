#include <wayfarer/instruction_set.hpp>

#include <cstdlib>
#include <string>

#include <wayfarer/error.hpp>

namespace wayfarer {
namespace {

constexpr instruction_set all_sets[] = {instruction_set::baseline, instruction_set::avx2, instruction_set::avx512};

instruction_set limit() {
  char const* const set = std::getenv("WAYFARER_ISA");
  if (!set || !*set) return instruction_set::avx512;
  for (auto const s : all_sets)
    if (to_string(s) == set) return s;
  throw usage_error("WAYFARER_ISA is '" + std::string(set) + "'; set it to baseline, avx2 or avx512, or unset it");
}

instruction_set of_processor() noexcept {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return instruction_set::baseline;
  bool const avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return avx512 ? instruction_set::avx512 : instruction_set::avx2;
#else
  return instruction_set::baseline;
#endif
}

}  // namespace

instruction_set best_instruction_set() {
  static instruction_set const chosen = [] {
    instruction_set const most = limit(), has = of_processor();
    return has < most ? has : most;
  }();
  return chosen;
}

bool has_bfloat16_products() {
#if defined(__x86_64__)
  return best_instruction_set() == instruction_set::avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

std::string_view to_string(instruction_set s) noexcept {
  switch (s) {
    case instruction_set::avx2:
      return "avx2";
    case instruction_set::avx512:
      return "avx512";
    case instruction_set::baseline:
      break;
  }
  return "baseline";
}

}  // namespace wayfarer
