# Models without attention: every hook against goldens of a reference in PyTorch, and what must hold of any weights.
wayfarer_test(recurrent_test SOURCES plugins/recurrent_test.cpp plugins/rwkv_files_test.cpp LIBRARIES TBB::tbb)
add_dependencies(recurrent_test rwkv)
