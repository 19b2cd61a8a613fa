set(libraries model_common)
