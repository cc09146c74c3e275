"""Hyperparameter tuning that moves into the training loop people already have."""

import logging

from hpo_plugins._text import PrintableRecords
from hpo_plugins.errors import (
    CheckpointError,
    HpoError,
    InvalidArgument,
    InvalidReport,
    MetricNotFound,
    MissingDependency,
    NothingReported,
    StorageError,
    StudyMismatch,
    StudyNotFound,
    WorkerError,
)
from hpo_plugins.objective import AtLeast, AtMost, Maximize, Minimize
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.simulation import simulate
from hpo_plugins.space import Categorical, Continuous, Integer, Ordinal
from hpo_plugins.storage import Storage
from hpo_plugins.strategies import Bayesian, Grid, Hyperband, MedianRule, Random, StoppingRule, Strategy
from hpo_plugins.study.termination import Converged, NotImproving, TargetReached
from hpo_plugins.study.warm_start import WarmStart
from hpo_plugins.trial import Trial
from hpo_plugins.tuner import Tuner, TunerCallback
from hpo_plugins.tuner.studies import studies

from hpo_plugins import sagemaker, spaces  # isort: skip - they are made of the above

logging.getLogger("hpo_plugins").addFilter(PrintableRecords())  # all messages of the package pass through it

__version__ = "0.3.0"

__all__ = [
    "AtLeast",
    "AtMost",
    "Bayesian",
    "Categorical",
    "CheckpointError",
    "Continuous",
    "Converged",
    "Grid",
    "HpoError",
    "Hyperband",
    "Integer",
    "InvalidArgument",
    "InvalidReport",
    "Maximize",
    "MedianRule",
    "MetricNotFound",
    "Minimize",
    "MissingDependency",
    "NotImproving",
    "NothingReported",
    "Ordinal",
    "Random",
    "StoppingRule",
    "Storage",
    "StorageError",
    "Strategy",
    "StudyMismatch",
    "StudyNotFound",
    "TargetReached",
    "Trial",
    "TrialRecord",
    "TrialState",
    "Tuner",
    "TunerCallback",
    "WarmStart",
    "WorkerError",
    "sagemaker",
    "simulate",
    "spaces",
    "studies",
]
