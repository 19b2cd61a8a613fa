# BERT and its kin against an independent PyTorch reference (goldens of tests/data) and what must hold of any weights; published
# configurations of theirs and of BART's; probes of their weights.
wayfarer_test(bert_test SOURCES plugins/bert_test.cpp plugins/encoder_published_test.cpp plugins/encoder_probes_test.cpp LIBRARIES TBB::tbb)
add_dependencies(bert_test bert bart head_spectra norm_geometry logit_lens encoding_walk)
