// The kernels for avx2; see kernels.inc. The build compiles this file with the flags of that instruction set.
#define WAYFARER_LANES 8
#define WAYFARER_REGISTERS 16
#include "kernels.inc"

namespace wayfarer::topic_transformer {
kernel_table<float> const kernels_avx2_f32 = make_table<float>("avx2");
}  // namespace wayfarer::topic_transformer
