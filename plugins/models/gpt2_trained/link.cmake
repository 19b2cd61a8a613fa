set(libraries gpt2_model)
