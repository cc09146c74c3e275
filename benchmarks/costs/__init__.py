"""Benchmarks of what the library costs: time, memory, contention."""
