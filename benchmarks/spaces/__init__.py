"""What the shipped spaces believe: learned from public results, and judged on data sets kept apart."""
