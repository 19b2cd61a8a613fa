add_test(NAME consumer.readme_probe COMMAND ${CMAKE_CURRENT_LIST_DIR}/readme_probe.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR} ${CMAKE_CXX_COMPILER})
set_tests_properties(consumer.readme_probe PROPERTIES LABELS slow TIMEOUT 300)
