"""One simulated search: the real coordination, strategy and storage, on a clock that jumps from epoch to epoch."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

from hpo_plugins.coordination.acquisition import Acquisition
from hpo_plugins.coordination.opening import open_study
from hpo_plugins.coordination.session import LeaseTerms
from hpo_plugins.records import TrialState
from hpo_plugins.simulation.task import Task, Training
from hpo_plugins.storage.memory import MemoryStorage
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.trial import Trial


class Run(NamedTuple):
    """The course of one simulated search.

    Attributes:
        times: When the best value changed, in seconds from the start; one that diverges later loses its own.
        values: That value, at each of these times.
        trials: Number of started trials.
        epochs: Number of trained epochs.
        seconds: When the last training run ended, or the budget was spent.
        busy: The seconds that all workers together trained.
    """

    times: tuple[float, ...]
    values: tuple[float, ...]
    trials: int
    epochs: int
    seconds: float
    busy: float

    def best_at(self, seconds: float) -> float | None:
        """Return the best value after a time, None before the first."""
        known = [value for time, value in zip(self.times, self.values, strict=True) if time <= seconds]
        return known[-1] if known else None


@dataclass
class _Running:
    trial: Trial
    training: Training
    epoch: int


class Search:
    """A search of several workers on a task.

    Args:
        config: The study to search with.
        task: What its training runs give; one ends after its last loss.
        workers: Number of workers.
        budget: Seconds after which the search ends, None for no limit.
    """

    def __init__(self, config: StudyConfig, task: Task, workers: int, budget: float | None) -> None:
        """Start nothing yet."""
        self._now = 0.0
        session = open_study(
            config,
            "simulation",
            MemoryStorage(lambda: self._now),
            keeps_seed=False,
            checkpoint_dir=None,
            policy="pauses",
            terms=LeaseTerms(),
            clock=lambda: self._now,
        )
        self._session = session
        self._acquisition = Acquisition(session)
        self._objective = config.objective
        self._task = task
        self._budget = budget
        self._idle = list(range(workers))
        self._next: list[tuple[float, int]] = []  # when each worker's training run has its next epoch
        self._running: dict[int, _Running] = {}
        self._paused: dict[int, Training] = {}  # by trial: each continues its own
        self._steps: list[tuple[float, float]] = []
        self._trained = 0
        self._busy = 0.0

    def run(self) -> Run:
        """Search until no worker has anything to do, or the budget is spent."""
        self._hand_out()
        while self._next and (self._budget is None or self._next[0][0] <= self._budget):
            self._now, worker = heapq.heappop(self._next)
            self._train_epoch(worker)
        if self._next and self._budget is not None:  # epochs that the budget cuts off
            self._now = self._budget
            self._busy += sum(self._running[worker].training.seconds - (end - self._now) for end, worker in self._next)
        times, values = zip(*self._steps, strict=True) if self._steps else ((), ())
        return Run(times, values, len(self._session.history), self._trained, self._now, self._busy)

    def _hand_out(self) -> None:
        """Give every idle worker a trial, as long as there are any."""
        while self._idle and (lease := self._acquisition.acquire()) is not None:
            trial, worker = Trial(lease), self._idle.pop(0)
            training = self._paused.pop(trial.number, None) or self._task(trial.params)
            self._running[worker] = _Running(trial, training, trial.start_epoch)
            heapq.heappush(self._next, (self._now + training.seconds, worker))

    def _train_epoch(self, worker: int) -> None:
        running = self._running[worker]
        trial, training, running.epoch = running.trial, running.training, running.epoch + 1
        self._trained += 1
        self._busy += training.seconds
        value = self._objective.loss(float(training.losses[running.epoch - 1]))  # its own inverse
        stops = trial.report(running.epoch, {self._objective.metric: value})
        self._note_best()
        if not stops and running.epoch < len(training.losses):
            heapq.heappush(self._next, (self._now + training.seconds, worker))
            return
        if trial.save_is_due:
            trial.save(lambda path: path.touch())
        trial.end()
        if self._session.history[trial.number].state is TrialState.PAUSED:
            self._paused[trial.number] = training
        del self._running[worker]
        self._idle.append(worker)
        self._hand_out()

    def _note_best(self) -> None:
        history = self._session.history
        number = history.incumbent()
        loss = None if number is None else history.loss(number)
        if loss is not None and (not self._steps or self._objective.loss(loss) != self._steps[-1][1]):
            self._steps.append((self._now, self._objective.loss(loss)))
