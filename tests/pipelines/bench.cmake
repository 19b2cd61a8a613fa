wayfarer_test(bench_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench_test.cpp TIMEOUT 300)
target_include_directories(bench_test PRIVATE ${CMAKE_CURRENT_LIST_DIR})
add_dependencies(bench_test wayfarer lda topic_transformer topic_attention topic_blocks pca two_stage t5)
