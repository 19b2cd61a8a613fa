# The plugins are loaded as the host loads them.
wayfarer_benchmark(geometry LIBRARIES wayfarer_host umap_internal TBB::tbb)
target_compile_definitions(bench_geometry PRIVATE WAYFARER_PLUGIN_DIR="${PROJECT_BINARY_DIR}/lib/wayfarer/plugins")
add_dependencies(bench_geometry gpt2 head_lookup head_spectra norm_geometry)
