# The walk through embedding space gives the same bytes on any number of threads.
foreach(name walks similarity-maps t5-attention-kernels topic-pretrained)
  add_test(NAME threads.${name} COMMAND ${CMAKE_CURRENT_LIST_DIR}/runs_on_threads.sh $<TARGET_FILE:wayfarer>
    ${PROJECT_SOURCE_DIR}/runs/${name}.yaml ${PROJECT_BINARY_DIR}/tests/threads-${name})
  set_tests_properties(threads.${name} PROPERTIES LABELS slow TIMEOUT 600)
endforeach()
