// The decompositions for avx2; see decompose.inc. The build compiles this file with the flags of that instruction set.
#define WAYFARER_EIGEN_NAMESPACE eigen_avx2
#define WAYFARER_KERNELS kernels_avx2
#include "decompose.inc"
