// The kernels for avx512; see kernels.inc. The build compiles this file with the flags of that instruction set.
#define WAYFARER_LANES 16
#define WAYFARER_REGISTERS 32
#include "kernels.inc"

namespace wayfarer::topic_transformer {
kernel_table<float> const kernels_avx512_f32 = make_table<float>("avx512");
}  // namespace wayfarer::topic_transformer
