wayfarer_test(lda_fit_test SOURCES plugins/lda_fit_test.cpp LIBRARIES lda_fit_internal)
wayfarer_test(lda_fit_gensim_test SOURCES plugins/lda_fit_gensim_test.cpp LIBRARIES lda_fit_internal document_files LABEL slow TIMEOUT 600)
