add_test(NAME consumer.readme_probe COMMAND ${CMAKE_CURRENT_LIST_DIR}/readme_probe.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR} ${CMAKE_CXX_COMPILER})
set_tests_properties(consumer.readme_probe PROPERTIES LABELS slow TIMEOUT 300)
# docs/plugins.md lists the plugins as they describe themselves.
add_test(NAME consumer.plugin_list COMMAND ${CMAKE_COMMAND} -DINDEX=${PROJECT_BINARY_DIR}/share/doc/wayfarer/plugins/index.md
  -DPAGE=${PROJECT_SOURCE_DIR}/docs/plugins.md -DWRITE=OFF -P ${PROJECT_SOURCE_DIR}/packaging/plugin_list.cmake)
set_tests_properties(consumer.plugin_list PROPERTIES LABELS quick)
# Nothing that is built takes libraries from the current folder.
add_test(NAME consumer.search_paths COMMAND ${CMAKE_CURRENT_LIST_DIR}/search_paths.sh ${PROJECT_BINARY_DIR}/bin ${PROJECT_BINARY_DIR}/lib)
set_tests_properties(consumer.search_paths PROPERTIES LABELS quick)
