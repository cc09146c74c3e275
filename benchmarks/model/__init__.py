"""Benchmarks of the surrogate and of the rules of stopping, without whole searches."""
