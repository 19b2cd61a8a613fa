set(libraries model_common language_training)
