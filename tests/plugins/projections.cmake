wayfarer_test(projections_test SOURCES plugins/projections_test.cpp LIBRARIES umap_internal dense_oracles TBB::tbb)
add_dependencies(projections_test pca umap)
