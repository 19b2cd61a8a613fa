# Learning: gradients, the optimiser, and gpt2_trained as a plugin.
wayfarer_test(train_backward_test SOURCES plugins/train_backward_test.cpp LIBRARIES gpt2_trained_internal TBB::tbb)
wayfarer_test(train_test SOURCES plugins/train_test.cpp LIBRARIES gpt2_trained_internal TBB::tbb)
add_dependencies(train_test gpt2_trained gpt2 text tokens)
