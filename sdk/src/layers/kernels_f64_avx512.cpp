// The double kernels for avx512; see kernels.inc. The build compiles this file with the flags of that instruction set.
#define WAYFARER_LANES 16
#define WAYFARER_ROWS 6
#define WAYFARER_COLUMNS 4
#include "kernels.inc"

namespace wayfarer::layer_kernels {
kernel_table<double> const kernels_avx512_f64 = make_table<double>("avx512");
}  // namespace wayfarer::layer_kernels
