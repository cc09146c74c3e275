"""Our strategies as compared searches, with the coordination that a tuner has, on a simulated clock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Ask, Clock, Problem, Searcher
from benchmarks.problems.beliefs import believing, mirrored, portfolio
from hpo_plugins.coordination.acquisition import Acquisition
from hpo_plugins.coordination.opening import open_study
from hpo_plugins.coordination.session import LeaseTerms
from hpo_plugins.space import Space
from hpo_plugins.storage.memory import MemoryStorage
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.trial import Trial

logging.getLogger("hpo_plugins").setLevel(logging.ERROR)  # that training runs diverge is meant
OBJECTIVE = hpo.Maximize("value")


class OurTrial:
    """A trial of ``hpo_plugins``."""

    def __init__(self, trial: Trial) -> None:
        """Wrap it."""
        self._trial = trial
        self.params, self.start_epoch = trial.params, trial.start_epoch

    def report(self, epoch: int, value: float) -> bool:
        """Pass it on."""
        return self._trial.report(epoch, {OBJECTIVE.metric: value})

    def end(self) -> None:
        """End it, with a checkpoint if it is paused."""
        if self._trial.save_is_due:
            self._trial.save(Path.touch)
        self._trial.end()


Points = Callable[[Problem], Sequence[Mapping[str, Any]]]


def ours(strategy: Callable[[int], Any], points: Points = lambda _: ()) -> Searcher:
    """Return a study with the strategy that is made for the epochs of a full training run.

    Args:
        strategy: Makes it.
        points: Returns the configurations to evaluate first.
    """

    def start(problem: Problem, seed: int, clock: Clock) -> Ask:
        config = StudyConfig(
            Space(problem.space), OBJECTIVE, strategy(problem.epochs), None, seed, points_to_evaluate=points(problem)
        )
        session = open_study(
            config, "benchmark", MemoryStorage(clock), keeps_seed=False, checkpoint_dir=None, policy="pauses",
            terms=LeaseTerms(), clock=clock,
        )  # fmt: skip
        coordinator = Acquisition(session)

        def ask() -> OurTrial | None:
            lease = coordinator.acquire()
            return None if lease is None else OurTrial(Trial(lease))

        return ask

    return start


MULTI_FIDELITY: dict[str, Searcher] = {
    "bayesian, pause": ours(lambda epochs: hpo.Bayesian(max_resource=epochs, pause=True)),
    "bayesian, stop": ours(lambda epochs: hpo.Bayesian(max_resource=epochs)),
    "hyperband": ours(lambda epochs: hpo.Hyperband(max_resource=epochs)),
    "hyperband, pause": ours(lambda epochs: hpo.Hyperband(max_resource=epochs, pause=True)),
    "hyperband, random": ours(lambda epochs: hpo.Hyperband(max_resource=epochs, search="random")),
    "bayesian, full": ours(lambda _: hpo.Bayesian()),
    "random": ours(lambda _: hpo.Random()),
}
MULTI_FIDELITY |= {
    f"{name}, {kind}": believing(MULTI_FIDELITY[name], change)
    for name in ("hyperband", "bayesian, stop", "bayesian, full", "random")
    for kind, change in {"beliefs": dict, "mirrored": mirrored}.items()
}
"""Those that end in "beliefs" know what the shipped spaces believe, those that end in "mirrored" the opposite."""
MULTI_FIDELITY["hyperband, portfolio"] = believing(ours(lambda epochs: hpo.Hyperband(max_resource=epochs), portfolio))
