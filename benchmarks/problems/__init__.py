"""The problems on which searches are compared: surrogates, tables and real training runs, with known best values."""
