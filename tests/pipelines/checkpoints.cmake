# Other people's checkpoints at the command line: what is found, what is told, what is refused before anything runs.
wayfarer_test(checkpoints_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/checkpoints_test.cpp)
add_dependencies(checkpoints_test wayfarer gpt2 t5 bert activations tokens text)
