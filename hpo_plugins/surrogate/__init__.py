"""The model behind Bayesian search: pure functions of arrays, on numpy and scipy."""
