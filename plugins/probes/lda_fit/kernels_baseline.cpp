// The kernels for any processor, and in float64; see kernels.inc.
#define WAYFARER_LANES 4
#define WAYFARER_REGISTERS 16
#include "kernels.inc"

namespace wayfarer::lda {
kernel_table<float> const kernels_baseline_f32 = make_table<float>("baseline");
kernel_table<double> const kernels_baseline_f64 = make_table<double>("baseline");
}  // namespace wayfarer::lda
