"""The compared methods: this library's strategies, the oracles and the other libraries."""
