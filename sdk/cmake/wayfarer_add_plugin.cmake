# wayfarer_add_plugin(ID [KIND source|model|probe|metric] SOURCES file... [LIBRARIES target...] [TESTS file...] [PIPELINES file...])
#
# Builds the plugin ID as wayfarer_ID.so: a module with hidden visibility that exports its descriptor alone and is never unloaded.
# Tests may link ID_internal, the same objects as a static library.
#
# In a project of your own, further:
# - the library is put into ${PROJECT_BINARY_DIR}/plugins, which is what --plugin-path wants, and is checked once it is linked: the
#   program must be able to read its descriptor, and find the KIND there;
# - TESTS are GoogleTest sources, built as ID_test and known to ctest; WAYFARER_PLUGIN_PATH is set when they run;
# - each of PIPELINES is a test that runs the pipeline with --strict: every expectation in it must be met;
# - `cmake --install` puts the plugin where the SDK's own plugins are, below your prefix.
function(wayfarer_add_plugin id)
  cmake_parse_arguments(arg "" "KIND" "SOURCES;LIBRARIES;TESTS;PIPELINES" ${ARGN})
  if(NOT id MATCHES "^[a-z][a-z0-9_]*$")
    message(FATAL_ERROR "wayfarer_add_plugin: '${id}' is no plugin id; use lower-case letters, digits and '_'")
  endif()
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "wayfarer_add_plugin(${id}): what is '${arg_UNPARSED_ARGUMENTS}'? It takes KIND, SOURCES, LIBRARIES, TESTS and PIPELINES")
  endif()
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "wayfarer_add_plugin(${id}): SOURCES are missing")
  endif()
  if(DEFINED arg_KIND AND NOT arg_KIND MATCHES "^(source|model|probe|metric)$")
    message(FATAL_ERROR "wayfarer_add_plugin(${id}): KIND is source, model, probe or metric, not '${arg_KIND}'")
  endif()
  get_target_property(installed wayfarer::sdk IMPORTED)
  # The bundled plugins share one object with the build's id. A project may set WAYFARER_BUILD_ID.
  if(installed)
    set(build_id ${WAYFARER_BUILD_ID})
    if(NOT build_id)
      set(build_id unversioned)
    endif()
    set(build_id_source ${CMAKE_CURRENT_BINARY_DIR}/${id}_build_id.cpp)
    file(CONFIGURE OUTPUT ${build_id_source} CONTENT
      "extern char const wayfarer_build_id[];\nchar const wayfarer_build_id[] = \"@build_id@\";\n" @ONLY)
  else()
    set(build_id_source $<TARGET_OBJECTS:plugin_base>)
  endif()
  add_library(${id}_internal STATIC ${arg_SOURCES} ${build_id_source})
  target_link_libraries(${id}_internal PUBLIC wayfarer::sdk ${arg_LIBRARIES})
  target_include_directories(${id}_internal PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_definitions(${id}_internal PRIVATE WAYFARER_SEPARATE_BUILD_ID)
  set_target_properties(${id}_internal PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

  add_library(${id} MODULE $<TARGET_OBJECTS:${id}_internal>)
  target_link_libraries(${id} PRIVATE ${id}_internal)
  # libasan and libtsan leave symbols to be resolved in the program, which -z defs would refuse.
  if(NOT WAYFARER_SANITIZE AND NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
    target_link_options(${id} PRIVATE -Wl,-z,defs)
  endif()
  target_link_options(${id} PRIVATE -Wl,-z,nodelete,-z,relro,-z,now,--version-script=${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map)
  set_target_properties(${id} PROPERTIES LINK_DEPENDS ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map)
  set_target_properties(${id} PROPERTIES PREFIX "wayfarer_" LINKER_LANGUAGE CXX)
  if(NOT installed)
    wayfarer_precompile(${id}_internal REUSE_FROM plugin_base)
    set_target_properties(${id} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/wayfarer/plugins)
    install(TARGETS ${id} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/wayfarer/plugins COMPONENT runtime)
    wayfarer_search_path(${id} ${CMAKE_INSTALL_LIBDIR}/wayfarer/plugins "$ORIGIN/../..")
    set_property(GLOBAL APPEND PROPERTY WAYFARER_PLUGINS ${id})
    return()
  endif()

  include(GNUInstallDirs)
  set(folder ${PROJECT_BINARY_DIR}/plugins)
  # As the SDK itself is built: a multiply and an add round as written, so that results don't depend on inlining.
  target_compile_options(${id}_internal PRIVATE -ffp-contract=off)
  # One search path, built or installed: CMake would end the build tree's with an empty entry, which means the current folder.
  set_target_properties(${id} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${folder} INSTALL_RPATH_USE_LINK_PATH ON BUILD_WITH_INSTALL_RPATH ON)
  install(TARGETS ${id} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/wayfarer/plugins)
  add_custom_command(TARGET ${id} POST_BUILD VERBATIM
    COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:wayfarer::wayfarer> -DID=${id} -DKIND=${arg_KIND} -DFOLDER=${folder}
      -P ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/wayfarer_check_plugin.cmake)

  # Both lists: a project may call this function before it asks for tests, or without.
  if(arg_TESTS)
    find_package(GTest REQUIRED)
    include(GoogleTest)
    add_executable(${id}_test ${arg_TESTS})
    target_link_libraries(${id}_test PRIVATE ${id}_internal GTest::gmock GTest::gtest_main)
    target_compile_definitions(${id}_test PRIVATE WAYFARER_PLUGIN_DIR="${folder}" WAYFARER_BINARY="$<TARGET_FILE:wayfarer::wayfarer>")
    add_dependencies(${id}_test ${id})
    gtest_discover_tests(${id}_test DISCOVERY_MODE PRE_TEST PROPERTIES ENVIRONMENT WAYFARER_PLUGIN_PATH=${folder})
  endif()
  foreach(pipeline ${arg_PIPELINES})
    cmake_path(GET pipeline STEM name)
    cmake_path(ABSOLUTE_PATH pipeline BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    add_test(NAME ${id}.run.${name} COMMAND wayfarer::wayfarer run ${pipeline} --plugin-path ${folder} --strict --quiet
      --out ${PROJECT_BINARY_DIR}/${name}.h5)
  endforeach()
endfunction()
