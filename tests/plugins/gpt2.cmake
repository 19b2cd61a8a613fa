wayfarer_test(gpt2_test SOURCES plugins/gpt2_test.cpp LIBRARIES gpt2_internal TBB::tbb)
