# What the host does to nodes of every kind: edits, precision, swept parameters, rows that don't fit memory, files that are cut.
wayfarer_test(host_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/host_test.cpp TIMEOUT 300)
target_compile_definitions(host_test PRIVATE WAYFARER_TEST_PLUGIN_DIR="${PROJECT_BINARY_DIR}/lib/test_plugins")
add_dependencies(host_test wayfarer lda tokens topic_transformer gpt2 ${test_plugins})
