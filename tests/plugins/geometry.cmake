# The geometry of Traveling Words, on toy models whose weights the tests know, against the formulas written out.
wayfarer_test(norm_geometry_test SOURCES plugins/norm_geometry_test.cpp LIBRARIES norm_geometry_internal Eigen3::Eigen TBB::tbb)
add_dependencies(norm_geometry_test norm_geometry gpt2 t5 bert)
wayfarer_test(trajectory_test SOURCES plugins/trajectory_test.cpp LIBRARIES trajectory_internal TBB::tbb)
add_dependencies(trajectory_test trajectory gpt2 t5 bert)
wayfarer_test(head_lookup_test SOURCES plugins/head_lookup_test.cpp LIBRARIES head_lookup_internal TBB::tbb)
add_dependencies(head_lookup_test head_lookup gpt2 t5)
wayfarer_test(next_token_ratio_test SOURCES plugins/next_token_ratio_test.cpp LIBRARIES TBB::tbb)
add_dependencies(next_token_ratio_test next_token_ratio layer_norm_figure gpt2 t5)
