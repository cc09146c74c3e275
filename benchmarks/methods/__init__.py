"""Who is compared: this library's strategies, the oracles and the other libraries."""
