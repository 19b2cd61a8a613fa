# What the README and the docs tell people to paste: checked, and run.
wayfarer_test(docs_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/docs_test.cpp TIMEOUT 300)
wayfarer_test(docs_run_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/docs_run_test.cpp LABEL slow TIMEOUT 600)
foreach(name docs_test docs_run_test)
  add_dependencies(${name} wayfarer lda tokens text hellaswag topic_transformer gpt2 t5 bert gpt2_trained language_model_trained activations language_loss
    logit_lens topic_blocks concept_similarity group_contrast accuracy closed_form logit_attribution patching trajectory pca head_spectra
    similarity_map cross_encoding lda_fit word_vectors word_similarity analogy)
endforeach()

# What the program says while people find their way.
wayfarer_test(says_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/says_test.cpp)
add_dependencies(says_test wayfarer tokens text lda topic_transformer gpt2 t5 activations logit_lens logit_attribution patching
  attention_examples topic_blocks gpt2_trained next_token_ratio encoding_walk language_loss trajectory head_spectra decoding_walk
  bert group_contrast word_vectors)
