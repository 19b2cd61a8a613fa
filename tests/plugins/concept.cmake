# The concept-space tests against their definitions written out, on the tiny checkpoints that the runs use, and through the program.
wayfarer_test(concept_test SOURCES plugins/concept_test.cpp LIBRARIES composition)
add_dependencies(concept_test gpt2 t5 bert text concept_similarity concept_generation cross_encoding)
wayfarer_test(concept_cli_test SOURCES pipelines/concept_cli_test.cpp TIMEOUT 300)
add_dependencies(concept_cli_test wayfarer gpt2 t5 hellaswag concept_similarity concept_generation cross_encoding accuracy normalized_accuracy)
