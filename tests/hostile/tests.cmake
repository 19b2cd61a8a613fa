# Libraries that must be refused, and what they are refused with. Each file in fixtures/ is one library in lib/hostile_plugins of the
# build tree; hostile_test.cpp holds the table of messages.
file(GLOB fixtures CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/fixtures/*.cpp)
set(hostile_plugins "")
foreach(fixture ${fixtures})
  cmake_path(GET fixture STEM id)
  wayfarer_test_plugin(hostile_${id} ${id} hostile_plugins ${fixture})
  list(APPEND hostile_plugins hostile_${id})
endforeach()
# Has the symbol only through a library that it links to.
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/borrowed_symbol.cpp CONTENT "extern \"C\" int borrowed() { return 1; }\n")
add_library(hostile_lender SHARED ${CMAKE_CURRENT_LIST_DIR}/fixtures/wrong_id.cpp)
target_link_libraries(hostile_lender PRIVATE wayfarer::sdk)
add_library(hostile_borrowed_symbol MODULE ${CMAKE_CURRENT_BINARY_DIR}/borrowed_symbol.cpp)
target_link_options(hostile_borrowed_symbol PRIVATE -Wl,--no-as-needed)
target_link_libraries(hostile_borrowed_symbol PRIVATE hostile_lender)
set_target_properties(hostile_borrowed_symbol PROPERTIES PREFIX "wayfarer_" OUTPUT_NAME borrowed_symbol
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/hostile_plugins)

wayfarer_test(hostile_tests SOURCES ${CMAKE_CURRENT_LIST_DIR}/hostile_test.cpp)
target_compile_definitions(hostile_tests PRIVATE WAYFARER_HOSTILE_DIR="${PROJECT_BINARY_DIR}/lib/hostile_plugins")
add_dependencies(hostile_tests ${hostile_plugins} hostile_borrowed_symbol wayfarer)
