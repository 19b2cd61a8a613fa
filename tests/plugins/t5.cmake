# T5 against a plain PyTorch T5 (goldens of tests/data) and against what must hold of any weights.
wayfarer_test(t5_test SOURCES plugins/t5_test.cpp LIBRARIES t5_internal TBB::tbb)
add_dependencies(t5_test t5)
