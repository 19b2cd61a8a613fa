# Learning: gradients, the optimiser, and gpt2_trained as a plugin.
wayfarer_test(train_backward_test SOURCES plugins/train_backward_test.cpp LIBRARIES gpt2_trained_internal TBB::tbb)
