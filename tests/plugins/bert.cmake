# BERT and RoBERTa against an independent PyTorch reference (goldens of tests/data) and what must hold of any weights.
wayfarer_test(bert_test SOURCES plugins/bert_test.cpp LIBRARIES TBB::tbb)
add_dependencies(bert_test bert)
