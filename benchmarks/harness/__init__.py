"""How it is measured: the interfaces, the simulated clock, the runs and their tables."""
