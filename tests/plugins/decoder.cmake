# Every family against a decoder written out in plain loops, and, where the data is, against what Hugging Face's models gave.
wayfarer_test(decoder_test SOURCES plugins/decoder_test.cpp plugins/decoder_config_test.cpp plugins/decoder_gradient_test.cpp plugins/gradient_probe_test.cpp plugins/decoder_probes_test.cpp plugins/decoder_published_test.cpp LIBRARIES TBB::tbb)
add_dependencies(decoder_test decoder gpt2 rwkv gradient head_spectra head_lookup norm_geometry logit_attribution position_kernel next_token_ratio)
