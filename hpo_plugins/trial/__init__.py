"""The objects that the user's code receives: a trial, its folds, and the phases of a training run."""

from hpo_plugins.coordination.phases import Phase
from hpo_plugins.trial.handle import TrainingHandle
from hpo_plugins.trial.plugin import TrainedTrial, TrainingPlugin
from hpo_plugins.trial.trial import Fold, Trial, visit_trial

__all__ = ["Fold", "Phase", "TrainedTrial", "TrainingHandle", "TrainingPlugin", "Trial", "visit_trial"]
