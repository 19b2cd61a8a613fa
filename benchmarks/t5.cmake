# The plugin is loaded as the host loads it.
wayfarer_benchmark(t5 LIBRARIES wayfarer_host TBB::tbb)
target_compile_definitions(bench_t5 PRIVATE WAYFARER_PLUGIN_DIR="${PROJECT_BINARY_DIR}/lib/wayfarer/plugins")
add_dependencies(bench_t5 t5)
