wayfarer_benchmark(lda_fit LIBRARIES lda_fit_internal TBB::tbb)
