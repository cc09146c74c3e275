"""Benchmarks of what searches find."""
