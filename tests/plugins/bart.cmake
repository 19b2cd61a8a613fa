# BART against a plain PyTorch BART (golden of tests/data), against what Hugging Face's gave, and against what must hold of any weights.
wayfarer_test(bart_test SOURCES plugins/bart_test.cpp LIBRARIES TBB::tbb)
add_dependencies(bart_test bart)
