# The plugins are loaded as the host loads them.
wayfarer_benchmark(hellaswag LIBRARIES wayfarer_host TBB::tbb)
target_compile_definitions(bench_hellaswag PRIVATE WAYFARER_PLUGIN_DIR="${PROJECT_BINARY_DIR}/lib/wayfarer/plugins"
  WAYFARER_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
add_dependencies(bench_hellaswag gpt2 hellaswag cross_encoding)
