"""The search as an iterable of trials, its results and its callbacks."""

from hpo_plugins.tuner.callbacks import TunerCallback
from hpo_plugins.tuner.results import StudyResults
from hpo_plugins.tuner.tuner import DEFAULT_NAME, Tuner

__all__ = ["DEFAULT_NAME", "StudyResults", "Tuner", "TunerCallback"]
