wayfarer_benchmark(train LIBRARIES gpt2_trained_internal language_model_trained_internal wayfarer_host TBB::tbb)  # the host: for what the processor can do
