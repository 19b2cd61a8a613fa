# One result from many processes: launchers, kills, leases, damage.
wayfarer_test(workers_cli_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/workers_cli_test.cpp TIMEOUT 600)
wayfarer_test(workers_grid_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/workers_grid_test.cpp LABEL slow TIMEOUT 3600)
set(tests workers_cli_test workers_grid_test)
# A sanitizer wants to be the first library of a process, before the one that wraps the calls.
if(NOT WAYFARER_SANITIZE)
  add_library(unreliable_files MODULE fixtures/unreliable_files/unreliable_files.cpp)
  target_link_libraries(unreliable_files PRIVATE ${CMAKE_DL_LIBS})
  set_target_properties(unreliable_files PROPERTIES CXX_VISIBILITY_PRESET default)
  wayfarer_test(workers_faults_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/workers_faults_test.cpp LABEL slow TIMEOUT 1800)
  target_compile_definitions(workers_faults_test PRIVATE UNRELIABLE_FILES="$<TARGET_FILE:unreliable_files>")
  add_dependencies(workers_faults_test unreliable_files)
  list(APPEND tests workers_faults_test)
endif()
foreach(test ${tests})
  add_dependencies(${test} wayfarer gpt2 gpt2_trained text activations language_loss lda topic_transformer topic_blocks group_contrast
    document_statistics corpus encoding_walk decoding_walk hellaswag concept_similarity concept_generation cross_encoding normalized_accuracy)
endforeach()
wayfarer_test(work_folder_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/work_folder_test.cpp)
