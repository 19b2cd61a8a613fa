// Which vector instructions kernels may use.
//
// Everything that has kernels for several sets asks here, so that one setting holds for all of them and results of one set have
// the same bytes on any processor that has it. Kernel files themselves use simd.hpp. Pure after the first call; any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

/// avx2 includes FMA; avx512 is F, DQ, BW and VL, and includes avx2.
enum class instruction_set : std::uint32_t { baseline, avx2, avx512 };

/// The best set that this processor has, up to the environment's WAYFARER_ISA (baseline, avx2 or avx512). Throws usage_error if
/// that is something else.
WAYFARER_API instruction_set best_instruction_set();
/// Whether AVX512_BF16 may be used as well.
WAYFARER_API bool has_bfloat16_products();

/// The one of three tables of kernels that is for this set.
template <class Table>
Table const& for_best_set(Table const& avx512, Table const& avx2, Table const& baseline) {
  instruction_set const best = best_instruction_set();
  return best == instruction_set::avx512 ? avx512 : best == instruction_set::avx2 ? avx2 : baseline;
}

/// "avx2"; lives for ever.
WAYFARER_API std::string_view to_string(instruction_set) noexcept;

WAYFARER_ENUM_LAYOUT(instruction_set, baseline, avx2, avx512);

}  // namespace wayfarer
