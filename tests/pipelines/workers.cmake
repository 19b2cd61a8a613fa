# One result from many processes: launchers, kills, leases, damage.
wayfarer_test(workers_cli_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/workers_cli_test.cpp TIMEOUT 600)
wayfarer_test(workers_grid_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/workers_grid_test.cpp LABEL slow TIMEOUT 3600)
foreach(test workers_cli_test workers_grid_test)
  add_dependencies(${test} wayfarer gpt2 gpt2_trained text activations language_loss lda topic_transformer topic_blocks group_contrast
    encoding_walk decoding_walk hellaswag concept_similarity concept_generation cross_encoding normalized_accuracy)
endforeach()
wayfarer_test(work_folder_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/work_folder_test.cpp)
