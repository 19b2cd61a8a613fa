# HellaSwag's source and baseline, and the metrics on it.
wayfarer_test(hellaswag_test SOURCES plugins/hellaswag_test.cpp LIBRARIES hellaswag_internal ZLIB::ZLIB)
add_dependencies(hellaswag_test hellaswag)
wayfarer_test(cross_encoding_test SOURCES plugins/cross_encoding_test.cpp LIBRARIES TBB::tbb)
add_dependencies(cross_encoding_test gpt2 t5 bert text hellaswag cross_encoding accuracy normalized_accuracy)
wayfarer_test(hellaswag_cli_test SOURCES plugins/hellaswag_cli_test.cpp TIMEOUT 300)
target_include_directories(hellaswag_cli_test PRIVATE pipelines)
add_dependencies(hellaswag_cli_test wayfarer gpt2 hellaswag cross_encoding accuracy)
