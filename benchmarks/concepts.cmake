# The plugins are loaded and fed as the host does it.
wayfarer_benchmark(concepts LIBRARIES wayfarer_host TBB::tbb)
target_compile_definitions(bench_concepts PRIVATE WAYFARER_PLUGIN_DIR="${PROJECT_BINARY_DIR}/lib/wayfarer/plugins"
  WAYFARER_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
add_dependencies(bench_concepts gpt2 hellaswag concept_similarity)
