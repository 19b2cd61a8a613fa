wayfarer_kernels(${folder}/kernels baseline avx2 avx512)
