# Sources and probes of language models, against GPT-2 written out in plain loops on the tiny checkpoint that the runs use.
wayfarer_test(language_sources_test SOURCES plugins/language_sources_test.cpp LIBRARIES text_internal tokens_internal ZLIB::ZLIB)
add_dependencies(language_sources_test tokens text)
wayfarer_test(corpus_test SOURCES plugins/corpus_test.cpp LIBRARIES document_files ZLIB::ZLIB PkgConfig::zstd)
add_dependencies(corpus_test corpus)
wayfarer_test(language_probes_test SOURCES plugins/language_probes_test.cpp LIBRARIES language_loss_internal)
add_dependencies(language_probes_test gpt2 tokens text activations language_loss logit_lens logit_attribution patching)
wayfarer_test(language_cli_test SOURCES pipelines/language_cli_test.cpp TIMEOUT 300)
add_dependencies(language_cli_test wayfarer gpt2 tokens text activations language_loss logit_lens logit_attribution patching)
