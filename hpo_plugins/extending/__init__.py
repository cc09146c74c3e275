"""The stable names for strategies, rules, storages and callbacks of other packages; see docs/extending.md.

The names listed here, and the methods that their docstrings name, change in major versions only.
"""

from hpo_plugins.errors import MissingDependency
from hpo_plugins.extending.arguments import best_checkpoint_of, handle_of
from hpo_plugins.history import Curve, History, TrialHistory
from hpo_plugins.history.untried import untried_draw
from hpo_plugins.records import (
    ActionRow,
    Assignment,
    Changes,
    Decision,
    PointRow,
    Progress,
    ReportRow,
    TrialRow,
    TrialState,
    Written,
)
from hpo_plugins.space import Params, Space
from hpo_plugins.storage.protocol import MAX_COUNTED_GAP, ManagedStorage, Storage, StudyStore
from hpo_plugins.strategies import Resume, Start, StoppingRule, Strategy
from hpo_plugins.trial import Phase, TrainingHandle, TrainingPlugin
from hpo_plugins.tuner import StudyResults, TunerCallback

__all__ = [
    "MAX_COUNTED_GAP",
    "ActionRow",
    "Assignment",
    "Changes",
    "Curve",
    "Decision",
    "History",
    "ManagedStorage",
    "MissingDependency",
    "Params",
    "Phase",
    "PointRow",
    "Progress",
    "ReportRow",
    "Resume",
    "Space",
    "Start",
    "StoppingRule",
    "Storage",
    "Strategy",
    "StudyResults",
    "StudyStore",
    "TrainingHandle",
    "TrainingPlugin",
    "TrialHistory",
    "TrialRow",
    "TrialState",
    "TunerCallback",
    "Written",
    "best_checkpoint_of",
    "handle_of",
    "untried_draw",
]
