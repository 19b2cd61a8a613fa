// The float kernels for baseline; see kernels.inc. The build compiles this file with the flags of that instruction set.
#define WAYFARER_LANES 4
#define WAYFARER_ROWS 6
#define WAYFARER_COLUMNS 2
#include "kernels.inc"

namespace wayfarer::layer_kernels {
kernel_table<float> const kernels_baseline_f32 = make_table<float>("baseline");
}  // namespace wayfarer::layer_kernels
