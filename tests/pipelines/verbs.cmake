# Models and help for plugin authors at the command line.
wayfarer_test(verbs_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/verbs_test.cpp TIMEOUT 300)
add_dependencies(verbs_test wayfarer lda gpt2 t5)
