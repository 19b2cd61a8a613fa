# Signals, limits, and runs that share a place.
wayfarer_test(stop_cli_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/stop_cli_test.cpp TIMEOUT 300)
add_dependencies(stop_cli_test wayfarer gpt2_trained gpt2 text activations)
