"""What searches are compared on: surrogates, tables and real training runs, with the best values known."""
