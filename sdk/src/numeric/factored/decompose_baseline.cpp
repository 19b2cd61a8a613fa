// The decompositions for baseline; see decompose.inc. The build compiles this file with the flags of that instruction set.
#define WAYFARER_EIGEN_NAMESPACE eigen_baseline
#define WAYFARER_KERNELS kernels_baseline
#include "decompose.inc"
