wayfarer_benchmark(products LIBRARIES TBB::tbb)
