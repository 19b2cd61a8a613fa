// The kernels for baseline; see kernels.inc. The build compiles this file with the flags of that instruction set.
#define WAYFARER_LANES 4
#define WAYFARER_REGISTERS 16
#include "kernels.inc"

namespace wayfarer::topic_transformer {
kernel_table<float> const kernels_baseline_f32 = make_table<float>("baseline");
kernel_table<double> const kernels_baseline_f64 = make_table<double>("baseline");
}  // namespace wayfarer::topic_transformer
