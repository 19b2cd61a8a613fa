# What the host does to nodes of every kind: edits, precision, swept parameters, rows that don't fit memory, files that are cut.
wayfarer_test(host_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/host_test.cpp TIMEOUT 300)
target_compile_definitions(host_test PRIVATE WAYFARER_TEST_PLUGIN_DIR="${PROJECT_BINARY_DIR}/lib/test_plugins")
add_dependencies(host_test wayfarer lda tokens topic_transformer gpt2 ${test_plugins})

# Facts of sources and models on their way through a pipeline, and values that are not finite.
wayfarer_test(facts_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/facts_test.cpp TIMEOUT 300)
target_compile_definitions(facts_test PRIVATE WAYFARER_TEST_PLUGIN_DIR="${PROJECT_BINARY_DIR}/lib/test_plugins")
add_dependencies(facts_test wayfarer lda documents topic_transformer topic_blocks topic_attention closed_form bayes_floor
  document_statistics group_contrast ${test_plugins})
# Keys of nodes, and models of the same bytes.
wayfarer_test(keys_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/keys_test.cpp TIMEOUT 300)
target_compile_definitions(keys_test PRIVATE WAYFARER_TINY_GPT2="${PROJECT_SOURCE_DIR}/runs/data/tiny-gpt2")
add_dependencies(keys_test wayfarer gpt2 text language_loss)
