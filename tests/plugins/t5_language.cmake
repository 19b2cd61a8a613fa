# Generation and the probes of language models on T5, whose logits come from a decoder that reads an encoder.
wayfarer_test(t5_language_test SOURCES plugins/t5_language_test.cpp)
target_include_directories(t5_language_test PRIVATE pipelines)
add_dependencies(t5_language_test wayfarer t5 bert tokens text activations language_loss logit_lens logit_attribution patching)
