"""What a study is, apart from its trials: its definition, when it ends, what it starts from, and its summary."""
