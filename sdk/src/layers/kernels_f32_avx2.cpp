// The float kernels for avx2; see kernels.inc. The build compiles this file with the flags of that instruction set.
#define WAYFARER_LANES 8
#define WAYFARER_ROWS 6
#define WAYFARER_COLUMNS 2
#include "kernels.inc"

namespace wayfarer::layer_kernels {
kernel_table<float> const kernels_avx2_f32 = make_table<float>("avx2");
}  // namespace wayfarer::layer_kernels
