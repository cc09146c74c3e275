"""The surrogate model: Gaussian processes and acquisition functions, as pure functions of arrays."""
