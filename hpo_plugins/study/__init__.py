"""A study apart from its trials: its definition, termination criteria, initial configurations and summary."""
