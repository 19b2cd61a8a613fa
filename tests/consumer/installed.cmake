# What a stranger does with an installed Wayfarer: plugins built out of tree against one installed prefix, which all these tests share.
# A sanitized or instrumented SDK would want its runtime in every program of the stranger's.
if(NOT WAYFARER_SANITIZE AND NOT WAYFARER_COVERAGE)
  set(prefix ${PROJECT_BINARY_DIR}/tests/prefix)
  set(work ${PROJECT_BINARY_DIR}/tests/consumer)
  add_test(NAME consumer.install COMMAND sh -c "rm -rf '${prefix}' && '${CMAKE_COMMAND}' --install '${PROJECT_BINARY_DIR}' --prefix '${prefix}' && '${prefix}/bin/wayfarer' plugins list")
  set_tests_properties(consumer.install PROPERTIES FIXTURES_SETUP installed_prefix LABELS slow TIMEOUT 300)

  function(consumer_test name)
    add_test(NAME consumer.${name} COMMAND ${ARGN})
    set_tests_properties(consumer.${name} PROPERTIES FIXTURES_REQUIRED installed_prefix LABELS slow TIMEOUT 900 SKIP_RETURN_CODE 77)
  endfunction()
  set(here ${CMAKE_CURRENT_LIST_DIR})
  consumer_test(installed_search_paths ${here}/search_paths.sh ${prefix})
  consumer_test(templates ${here}/templates.sh ${prefix} ${work}/templates ${CMAKE_CXX_COMPILER} probe metric source model)
  find_program(WAYFARER_CLANG NAMES clang++-14 clang++)
  if(WAYFARER_CLANG)
    consumer_test(templates_clang ${here}/templates.sh ${prefix} ${work}/templates_clang ${WAYFARER_CLANG} probe metric source model)
  endif()
  consumer_test(probes ${here}/probes.sh ${prefix} ${work}/probes ${PROJECT_SOURCE_DIR} ${CMAKE_CXX_COMPILER})
  consumer_test(own_decoder ${here}/own_decoder.sh ${prefix} ${work}/own_decoder ${PROJECT_SOURCE_DIR} ${CMAKE_CXX_COMPILER})
  # Plugins of other versions of the headers. The program of the build tree runs them.
  add_test(NAME consumer.versions COMMAND /usr/bin/python3 -B ${here}/versions_test.py $<TARGET_FILE:wayfarer> ${PROJECT_SOURCE_DIR}/sdk/include
    $<TARGET_FILE_DIR:wayfarer_sdk> ${work}/versions ${CMAKE_CXX_COMPILER})
  set_tests_properties(consumer.versions PROPERTIES LABELS slow TIMEOUT 1800)
endif()
