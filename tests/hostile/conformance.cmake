# Probes with one planted fault each, in lib/faults of the build tree, and what `wayfarer plugins check` says of them and of every
# bundled plugin.
file(GLOB faults CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/../fixtures/faults/*.cpp)
set(fault_plugins "")
foreach(fault ${faults})
  cmake_path(GET fault STEM id)
  add_library(planted_${id} MODULE ${fault})
  target_link_libraries(planted_${id} PRIVATE wayfarer::sdk)
  set_target_properties(planted_${id} PROPERTIES PREFIX "wayfarer_" OUTPUT_NAME ${id}
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/faults)
  list(APPEND fault_plugins planted_${id})
endforeach()
wayfarer_test(conformance_tests SOURCES ${CMAKE_CURRENT_LIST_DIR}/conformance_test.cpp TIMEOUT 300)
target_compile_definitions(conformance_tests PRIVATE WAYFARER_FAULTS_DIR="${PROJECT_BINARY_DIR}/lib/faults")
target_include_directories(conformance_tests PRIVATE ${CMAKE_CURRENT_LIST_DIR}/../pipelines)
add_dependencies(conformance_tests ${fault_plugins} wayfarer topic_transformer)

# Every bundled plugin keeps the rules.
file(GLOB bundled CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/plugins/*/*/*.cpp)
set(ids "")
foreach(file ${bundled})
  cmake_path(GET file PARENT_PATH folder)
  cmake_path(GET folder FILENAME id)
  list(APPEND ids ${id})
endforeach()
list(REMOVE_DUPLICATES ids)
# These can't be fed by a check alone: the first two read another node's results, `patching` wants pairs of equal length. Their own
# tests hold them.
list(REMOVE_ITEM ids topic_similarity topic_attention_text patching)
# What a plugin can't be made without.
set(conformance_text --set path=${PROJECT_SOURCE_DIR}/runs/data/walk-texts.txt)
set(conformance_tokens --set "ids=[\"1 2 3\", \"4 5\"]")
set(conformance_bert --set path=${PROJECT_SOURCE_DIR}/tests/data/bert-small)
foreach(id ${ids})
  if(TARGET ${id} AND NOT id STREQUAL "common")
    add_test(NAME conformance.${id} COMMAND wayfarer plugins check ${id} ${conformance_${id}})
    set_tests_properties(conformance.${id} PROPERTIES LABELS slow TIMEOUT 900)
  endif()
endforeach()
