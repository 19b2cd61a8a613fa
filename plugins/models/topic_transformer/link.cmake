set(libraries Eigen3::Eigen)
wayfarer_kernels(${folder}/kernels baseline avx2 avx512)
