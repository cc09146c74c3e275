"""The read model of a study: the input of strategies."""

from hpo_plugins.history.curve import Curve
from hpo_plugins.history.history import History
from hpo_plugins.history.parents import ParentTrial, ParentTrials
from hpo_plugins.history.ranking import Ranking
from hpo_plugins.history.trial_history import TrialHistory

__all__ = ["Curve", "History", "ParentTrial", "ParentTrials", "Ranking", "TrialHistory"]
