# wayfarer_add_plugin(ID SOURCES file... [LIBRARIES target...])
#
# Builds the plugin ID as wayfarer_ID.so: a module with hidden visibility that exports its descriptor alone and is never unloaded.
# Tests may link ID_internal, the same objects as a static library.
function(wayfarer_add_plugin id)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES" ${ARGN})
  if(NOT id MATCHES "^[a-z][a-z0-9_]*$")
    message(FATAL_ERROR "wayfarer_add_plugin: '${id}' is no plugin id; use lower-case letters, digits and '_'")
  endif()
  add_library(${id}_internal STATIC ${arg_SOURCES})
  target_link_libraries(${id}_internal PUBLIC wayfarer::sdk ${arg_LIBRARIES})
  target_include_directories(${id}_internal PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_definitions(${id}_internal PRIVATE WAYFARER_BUILD_ID="${WAYFARER_BUILD_ID}")
  set_target_properties(${id}_internal PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

  add_library(${id} MODULE $<TARGET_OBJECTS:${id}_internal>)
  target_link_libraries(${id} PRIVATE ${id}_internal)
  # libasan and libtsan leave symbols to be resolved in the program, which -z defs would refuse.
  if(NOT WAYFARER_SANITIZE)
    target_link_options(${id} PRIVATE -Wl,-z,defs)
  endif()
  target_link_options(${id} PRIVATE -Wl,-z,nodelete,-z,relro,-z,now,--version-script=${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map)
  set_target_properties(${id} PROPERTIES LINK_DEPENDS ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map)
  set_target_properties(${id} PROPERTIES PREFIX "wayfarer_" LINKER_LANGUAGE CXX)
  if(PROJECT_NAME STREQUAL "wayfarer")
    set_target_properties(${id} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/wayfarer/plugins
      INSTALL_RPATH "$ORIGIN/../..")
    install(TARGETS ${id} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/wayfarer/plugins)
  endif()
endfunction()
