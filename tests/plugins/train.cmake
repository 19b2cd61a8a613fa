# Learning: gradients, the optimiser, and gpt2_trained and language_model_trained as plugins.
wayfarer_test(train_backward_test SOURCES plugins/train_backward_test.cpp LIBRARIES gpt2_trained_internal TBB::tbb)
wayfarer_test(train_test SOURCES plugins/train_test.cpp LIBRARIES gpt2_trained_internal TBB::tbb)
add_dependencies(train_test gpt2_trained gpt2 text tokens)
wayfarer_test(language_model_test SOURCES plugins/language_model_test.cpp LIBRARIES language_model_trained_internal TBB::tbb TIMEOUT 300)
add_dependencies(language_model_test language_model_trained gpt2_trained decoder text)
wayfarer_test(loss_by_position_test SOURCES plugins/loss_by_position_test.cpp)
add_dependencies(loss_by_position_test loss_by_position)
wayfarer_test(train_cli_test SOURCES plugins/train_cli_test.cpp TIMEOUT 300)
add_dependencies(train_cli_test wayfarer gpt2_trained gpt2 text language_loss activations)
# The first updates of the run that made the shipped checkpoint.
add_test(NAME run.train-tiny-shakespeare COMMAND wayfarer run ${PROJECT_SOURCE_DIR}/runs/train-tiny-shakespeare.yaml
  --set learner.train.updates=10 --set learner.train.held_out_windows=32
  --set learner.train.save=${PROJECT_BINARY_DIR}/tests/train-tiny-shakespeare --out ${PROJECT_BINARY_DIR}/tests/train-tiny-shakespeare.h5)
set_tests_properties(run.train-tiny-shakespeare PROPERTIES LABELS slow TIMEOUT 600)
