wayfarer_test(cli_test SOURCES pipelines/cli_test.cpp TIMEOUT 300)
# The program and the plugins that the test's pipelines name, which the test runs but does not link.
add_dependencies(cli_test wayfarer lda topic_transformer topic_blocks topic_attention attention_examples bayes_floor group_contrast)
