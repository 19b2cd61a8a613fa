# The two small language models that runs use when no other is given.
wayfarer_test(small_models_test SOURCES plugins/small_models_test.cpp)
target_include_directories(small_models_test PRIVATE pipelines)
add_dependencies(small_models_test wayfarer gpt2 decoder gpt2_trained text language_loss)
wayfarer_test(small_models_runs_test SOURCES plugins/small_models_runs_test.cpp LABEL slow TIMEOUT 900)
target_include_directories(small_models_runs_test PRIVATE pipelines)
add_dependencies(small_models_runs_test wayfarer gpt2 decoder gradient text hellaswag language_loss similarity_map attention_map head_spectra encoding_walk
  decoding_walk lda_fit topic_similarity topic_attention_text cross_encoding concept_similarity concept_generation accuracy normalized_accuracy activations
  logit_lens logit_attribution patching word_vectors word_similarity analogy cooccurrence)
