wayfarer_benchmark(transformer LIBRARIES gpt2_internal wayfarer_host TBB::tbb)  # the host: for what the processor can do
