"""One simulated search: the real coordination, strategy and storage, on a clock that jumps from epoch to epoch."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hpo_plugins.coordination.coordinator import Coordinator
from hpo_plugins.coordination.opening import open_study
from hpo_plugins.coordination.session import LeaseTerms
from hpo_plugins.space import FloatArray
from hpo_plugins.storage.memory import MemoryStorage
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.trial import Trial

if TYPE_CHECKING:
    from hpo_plugins.modeling.sampled_task import SampledTask


class Run(NamedTuple):
    """What one simulated search did.

    Attributes:
        times: When the best value so far improved, in seconds from the start.
        values: That value, at each of these times.
        trials: How many trials were started.
        epochs: How many epochs were trained.
        seconds: When the last training ended, or the budget was spent.
    """

    times: tuple[float, ...]
    values: tuple[float, ...]
    trials: int
    epochs: int
    seconds: float

    def best_at(self, seconds: float) -> float | None:
        """Return the best value after a time, None before the first."""
        known = [value for time, value in zip(self.times, self.values, strict=True) if time <= seconds]
        return known[-1] if known else None


@dataclass
class _Training:
    trial: Trial
    losses: FloatArray
    seconds: float
    epoch: int


class Search:
    """A search of several workers on a task.

    Args:
        config: The study to search with.
        task: What its trainings give.
        workers: How many train at the same time.
        budget: After how many seconds the search is broken off, None if it is not.
    """

    def __init__(self, config: StudyConfig, task: SampledTask, workers: int, budget: float | None) -> None:
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
        self._coordinator = Coordinator(session)
        self._objective = config.objective
        self._epochs_of_full = min(config.strategy.max_resource or task.last, task.last)
        self._task = task
        self._budget = budget
        self._idle = list(range(workers))
        self._next: list[tuple[float, int]] = []  # when each worker's training has its next epoch
        self._running: dict[int, _Training] = {}
        self._curves: dict[int, FloatArray] = {}  # by trial: one that is resumed continues its own
        self._steps: list[tuple[float, float]] = []
        self._trained = 0

    def run(self) -> Run:
        """Search until no worker has anything to do, or the budget is spent."""
        self._hand_out()
        while self._next:
            now, worker = heapq.heappop(self._next)
            if self._budget is not None and now > self._budget:
                self._now = self._budget
                break
            self._now = now
            self._train_epoch(worker)
        times, values = zip(*self._steps, strict=True) if self._steps else ((), ())
        return Run(times, values, len(self._session.history), self._trained, self._now)

    def _hand_out(self) -> None:
        """Give every idle worker a trial, as long as there are any."""
        while self._idle and (lease := self._coordinator.acquire()) is not None:
            trial, worker = Trial(lease), self._idle.pop(0)
            seconds = self._task.seconds(trial.params)
            self._running[worker] = _Training(trial, self._losses(trial), seconds, trial.start_epoch)
            heapq.heappush(self._next, (self._now + seconds, worker))

    def _losses(self, trial: Trial) -> FloatArray:
        known = self._curves.get(trial.number)
        if known is None:
            known = self._curves[trial.number] = self._task.train(trial.params)
        return known

    def _train_epoch(self, worker: int) -> None:
        training = self._running[worker]
        trial, training.epoch = training.trial, training.epoch + 1
        self._trained += 1
        value = self._objective.loss(float(training.losses[training.epoch - 1]))  # its own inverse
        stops = trial.report(training.epoch, {self._objective.metric: value})
        self._note_best()
        if not stops and training.epoch < self._epochs_of_full:
            heapq.heappush(self._next, (self._now + training.seconds, worker))
            return
        if trial.save_is_due:
            trial.save(lambda path: path.touch())
        trial.end()
        del self._running[worker]
        self._idle.append(worker)
        self._hand_out()

    def _note_best(self) -> None:
        history = self._session.history
        number = history.incumbent()
        loss = None if number is None else history.loss(number)
        if loss is not None and (not self._steps or self._objective.loss(loss) != self._steps[-1][1]):
            self._steps.append((self._now, self._objective.loss(loss)))
