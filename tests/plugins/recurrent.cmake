# Models without attention: every hook against goldens of a reference in PyTorch, and what must hold of any weights.
wayfarer_test(recurrent_test SOURCES plugins/recurrent_test.cpp plugins/rwkv_files_test.cpp plugins/aft_test.cpp plugins/recurrent_probes_test.cpp LIBRARIES TBB::tbb)
add_dependencies(recurrent_test rwkv mamba aft attention_map head_lookup head_spectra language_loss logit_lens)
