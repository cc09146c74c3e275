"""KerasTuner: Hyperband, whose oracle is driven as its tuner drives it.

In KerasTuner, a promoted trial is a new trial that continues from its parent's last epoch.
"""

from __future__ import annotations

import itertools
import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "torch")  # nothing is trained, but KerasTuner loads Keras

import keras_tuner as kt
from keras_tuner.oracles import HyperbandOracle

from benchmarks.harness.interfaces import Ask, Clock, Method, Problem, Searcher
from benchmarks.methods.peers import translate

METRIC = "value"


def hyperparameters(problem: Problem) -> kt.HyperParameters:
    """Return the problem's space in KerasTuner's words."""
    made = kt.HyperParameters()
    sampling = {True: "log", False: "linear"}
    translate(
        problem.space,
        lambda name, low, high, log: made.Float(name, low, high, sampling=sampling[log]),
        lambda name, low, high, log: made.Int(name, low, high, sampling=sampling[log]),
        made.Choice,
    )
    return made


class Trial:
    """A trial of KerasTuner: it ends after the epochs that it was given, and its score is the best of them."""

    def __init__(self, oracle: HyperbandOracle, trial: kt.engine.trial.Trial, problem: Problem) -> None:
        """Wrap it."""
        self._oracle, self._trial = oracle, trial
        values = trial.hyperparameters.values
        self.params = {name: values[name] for name in problem.space}
        self.start_epoch = values["tuner/initial_epoch"]
        self._last = values["tuner/epochs"]
        self._seen: list[float] = []

    def report(self, epoch: int, value: float) -> bool:
        """Return whether its epochs are over."""
        self._seen.append(value)
        return epoch >= self._last

    def end(self) -> None:
        """Score it."""
        best = max(self._seen)
        self._oracle.update_trial(self._trial.trial_id, {METRIC: best}, step=self._seen.index(best))
        self._trial.status = "COMPLETED"
        self._oracle.end_trial(self._trial)


def hyperband(problem: Problem, seed: int, clock: Clock) -> Ask:  # noqa: ARG001
    """Return Hyperband's trials; it repeats its brackets as long as it is asked."""
    oracle = HyperbandOracle(
        objective=kt.Objective(METRIC, "max"),
        max_epochs=problem.epochs,
        hyperband_iterations=1000,
        seed=seed,
        hyperparameters=hyperparameters(problem),
    )
    oracle.verbose = 0
    folder = tempfile.TemporaryDirectory()
    oracle._set_project_dir(folder.name, "project")  # noqa: SLF001 - what KerasTuner's tuner does, and no other way
    numbers = itertools.count()

    def ask() -> Trial | None:
        assert folder  # it lasts as long as the search
        trial = oracle.create_trial(f"tuner{next(numbers)}")
        return Trial(oracle, trial, problem) if trial.status == "RUNNING" else None

    return ask


MULTI_FIDELITY: dict[str, Searcher] = {"keras-tuner hyperband": hyperband}
BLACK_BOX: dict[str, Method] = {}
