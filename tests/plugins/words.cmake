# Vectors of words, and what is measured on them.
wayfarer_test(words_test SOURCES plugins/words_test.cpp LIBRARIES TBB::tbb)
add_dependencies(words_test word_vectors word_similarity analogy gpt2 bert)
wayfarer_test(cooccurrence_test SOURCES plugins/cooccurrence_test.cpp LIBRARIES cooccurrence_internal TBB::tbb)
