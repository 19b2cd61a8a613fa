// The float kernels for avx512; see kernels.inc. The build compiles this file with the flags of that instruction set.
#define WAYFARER_LANES 16
#define WAYFARER_ROWS 6
#define WAYFARER_COLUMNS 4
#include "kernels.inc"

namespace wayfarer::layer_kernels {
kernel_table<float> const kernels_avx512_f32 = make_table<float>("avx512");
}  // namespace wayfarer::layer_kernels
