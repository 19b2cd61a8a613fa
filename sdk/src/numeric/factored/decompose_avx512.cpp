// The decompositions for avx512; see decompose.inc. The build compiles this file with the flags of that instruction set.
#define WAYFARER_EIGEN_NAMESPACE eigen_avx512
#define WAYFARER_KERNELS kernels_avx512
#include "decompose.inc"
