wayfarer_test(gpt2_test SOURCES plugins/gpt2_test.cpp plugins/prefix_states_test.cpp LIBRARIES gpt2_internal TBB::tbb)
