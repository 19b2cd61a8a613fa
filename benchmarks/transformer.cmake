wayfarer_benchmark(transformer LIBRARIES gpt2_internal TBB::tbb)
