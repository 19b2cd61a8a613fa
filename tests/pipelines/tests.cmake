wayfarer_test(cli_test SOURCES pipelines/cli_test.cpp TIMEOUT 300)
# The program and the plugins that the test's pipelines name, which the test runs but does not link.
add_dependencies(cli_test wayfarer lda topic_transformer topic_blocks topic_attention attention_examples bayes_floor group_contrast)

# Every experiment as the README runs it: each expectation must be met.
file(GLOB runs CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/runs/*.yaml)
list(FILTER runs EXCLUDE REGEX "/train-")  # minutes of training: plugins/train.cmake runs its beginning
list(FILTER runs EXCLUDE REGEX "gpt2-attention-geometry|hellaswag-baseline-gpt2|traveling-words[.]yaml")  # need GPT-2's own weights: published_weights.sh
foreach(run ${runs})
  cmake_path(GET run STEM name)
  add_test(NAME run.${name} COMMAND wayfarer run ${run} --strict --out ${PROJECT_BINARY_DIR}/tests/${name}.h5)
  set_tests_properties(run.${name} PROPERTIES LABELS slow TIMEOUT 600)
endforeach()
# The same on the published documents, where they are at hand.
add_test(NAME run.published_documents COMMAND ${CMAKE_CURRENT_LIST_DIR}/published_documents.sh $<TARGET_FILE:wayfarer> ${PROJECT_SOURCE_DIR}/runs)
set_tests_properties(run.published_documents PROPERTIES LABELS slow TIMEOUT 600 SKIP_RETURN_CODE 77)
# GPT-2's true attention weights, where they are at hand.
add_test(NAME run.published_weights COMMAND ${CMAKE_CURRENT_LIST_DIR}/published_weights.sh $<TARGET_FILE:wayfarer> ${PROJECT_SOURCE_DIR}/runs)
set_tests_properties(run.published_weights PROPERTIES LABELS slow TIMEOUT 600 SKIP_RETURN_CODE 77)
