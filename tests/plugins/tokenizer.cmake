# The inside of the tokenizers is hidden in the SDK's library, so the tests that look at it compile these sources again.
file(GLOB tokenizer_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/sdk/src/checkpoint/tokenizer/*.cpp)
add_library(tokenizer_internal STATIC EXCLUDE_FROM_ALL ${tokenizer_sources})
target_include_directories(tokenizer_internal PUBLIC ${PROJECT_SOURCE_DIR}/sdk/src/checkpoint/tokenizer)
target_link_libraries(tokenizer_internal PUBLIC wayfarer::sdk ${icu_LINK_LIBRARIES} ${pcre2_LINK_LIBRARIES})
wayfarer_test(tokenizer_vectors_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_vectors_test.cpp
  LIBRARIES tokenizer_internal TIMEOUT 300)
wayfarer_test(tokenizer_random_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_random_test.cpp
  LIBRARIES tokenizer_internal LABEL slow TIMEOUT 900)
wayfarer_test(origins_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/origins_test.cpp LIBRARIES tokenizer_internal)
wayfarer_test(tokenizer_parts_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_parts_test.cpp)
wayfarer_test(tokenizer_cli_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_cli_test.cpp)
add_dependencies(tokenizer_cli_test wayfarer gpt2 t5 bert)

include(${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz.cmake)
