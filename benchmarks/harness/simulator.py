"""Searches on a clock that jumps from epoch to epoch: whatever the budget counts, the strategies see it pass."""

from __future__ import annotations

import contextlib
import heapq
import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.interfaces import Curve, Problem, Searcher, Trial

N_MARKS = 1000


class Trace(NamedTuple):
    """The course of a search.

    Attributes:
        best: The best score at 0.1 %, 0.2 %, ... of the budget, shape ``(N_MARKS,)``.
        asked: How many trials it handed out.
        seconds: CPU seconds of the search itself.
        utilisation: Which part of the workers' time was spent on training runs.
    """

    best: NDArray[np.float64]
    asked: int
    seconds: float
    utilisation: float


class _Training(NamedTuple):
    trial: Trial
    curve: Curve
    epoch: int
    since: float


class Simulation:
    """Workers that train what a search hands out.

    Args:
        problem: The problem that the workers train.
        searcher: The search.
        seed: Its seed.
        budget: The time after which it is broken off.
        workers: Number of simultaneous training runs.
        in_seconds: Whether an epoch lasts as long as the problem says, otherwise 1. One that is resumed does not pay
            again.
    """

    def __init__(
        self, problem: Problem, searcher: Searcher, seed: int, budget: float, *, workers: int, in_seconds: bool
    ) -> None:
        """Start nothing yet."""
        self._problem = problem
        self._budget = budget
        self._in_seconds = in_seconds
        self._now = self._cpu = self._busy = 0.0
        self._asked = 0
        self._workers = workers
        self._idle = list(range(workers))
        self._next: list[tuple[float, int]] = []
        self._running: dict[int, _Training] = {}
        self._steps = [(0.0, -math.inf)]
        with self._watched():
            self._ask = searcher(problem, seed, lambda: self._now)

    def run(self) -> Trace:
        """Search until the budget is spent.

        Raises:
            SystemExit: The search ended before.
        """
        self._hand_out()
        while self._next and self._next[0][0] <= self._budget * (1 + 1e-9):
            self._now, worker = heapq.heappop(self._next)
            self._train_epoch(worker)
        if not self._next:
            raise SystemExit("The search ended before its budget.")
        self._busy += sum(self._budget - training.since for training in self._running.values())
        return Trace(self._best_by_mark(), self._asked, self._cpu, self._busy / (self._workers * self._budget))

    def _best_by_mark(self) -> NDArray[np.float64]:
        times, values = np.array(self._steps).T
        marks = np.linspace(0, self._budget, N_MARKS + 1)[1:] * (1 + 1e-9)
        best: NDArray[np.float64] = values[np.searchsorted(times, marks, side="right") - 1]
        return best

    def _hand_out(self) -> None:
        while self._idle:
            with self._watched():
                trial = self._ask()
            if trial is None:
                return
            self._asked += 1
            worker, curve = self._idle.pop(0), self._problem.train(trial.params)
            self._running[worker] = _Training(trial, curve, trial.start_epoch, self._now)
            self._schedule(worker)

    def _schedule(self, worker: int) -> None:
        _, curve, epoch, _ = self._running[worker]
        before = curve.seconds[epoch - 1] if epoch else 0.0
        lasts = curve.seconds[epoch] - before if self._in_seconds else 1.0
        heapq.heappush(self._next, (self._now + lasts, worker))

    def _train_epoch(self, worker: int) -> None:
        trial, curve, before, since = self._running[worker]
        epoch, score, value = before + 1, float(curve.score[before]), float(curve.reported[before])
        if score > self._steps[-1][1]:
            self._steps.append((self._now, score))
        with self._watched():
            ends = trial.report(epoch, value) or epoch == self._problem.epochs or math.isnan(value)
        if not ends:
            self._running[worker] = _Training(trial, curve, epoch, since)
            self._schedule(worker)
            return
        with self._watched():
            trial.end()
        self._busy += self._now - since
        del self._running[worker]
        self._idle.append(worker)
        self._hand_out()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        start = time.process_time()
        yield
        self._cpu += time.process_time() - start
