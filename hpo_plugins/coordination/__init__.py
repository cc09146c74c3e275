"""Distribute trials among any number of processes: acquire a trial, hold a lease on it, end it."""
