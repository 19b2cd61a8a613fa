set(libraries composition)
