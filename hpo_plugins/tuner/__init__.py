"""The search as an iterable of trials, and its results."""

from hpo_plugins.tuner.tuner import DEFAULT_NAME, Tuner

__all__ = ["DEFAULT_NAME", "Tuner"]
