"""All trials of a study as one process knows them, kept up to date by applying the storage's changes.

A history consists of its trials, data derived from them (``derived.py``), and views of the first folds.
"""

from __future__ import annotations

import functools
import hashlib
from bisect import insort
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history.configurations import Configurations
from hpo_plugins.history.derived import D, DerivedData
from hpo_plugins.history.incumbent import Incumbent
from hpo_plugins.history.outcomes import Outcome, Outcomes
from hpo_plugins.history.parents import ParentTrial, ParentTrials
from hpo_plugins.history.pareto import non_dominated
from hpo_plugins.history.ranking import Ranking
from hpo_plugins.history.trial_history import TrialHistory
from hpo_plugins.history.trial_record import record_of, with_goals
from hpo_plugins.objective import Goals, Limit, Objective
from hpo_plugins.records import Changes, ReportRow, TrialRecord, TrialRow, TrialState
from hpo_plugins.space import FloatArray, Params, Space, Value


class History(Sequence[TrialHistory]):
    """All trials of a study by number.

    Args:
        space: Encodes configurations as points of the unit cube.
        objective: Converts values to losses.
        max_trials: The maximum number of trials, None for no limit.
        checkpoint_root: The folder that stored checkpoint paths are relative to.
        parents: The trials of earlier studies (``warm_start``).
        enqueued: The configurations to try first (``points_to_evaluate``).
        last_fold: Makes it a view of the first folds only, up to this one; see ``up_to_fold``.
        goals: All objectives and limits; None for one objective without limits. With several objectives, losses and
            curves here are those of the first one; strategies see ``weighted.seen_by``.

    Attributes:
        revision: The storage's revision up to which changes were applied.
        acquisitions: Number of acquisitions by workers.
        now: The storage's clock when the storage was last read, in seconds since 1970.
        runtime: The study's runtime in seconds, up to ``now``.
        enqueued: The user's own configurations, complete or partial: those to be tried first, then enqueued ones.
        evaluated: Numbers of these that a trial has.
        unfinished: Numbers of the trials that are running or paused.
        with_checkpoint: Numbers of the trials that have a checkpoint.
        last_fold: The last fold that counts, None for all.
        n_folds: Number of folds of each trial, None without folds.
    """

    trial_type: ClassVar[type[TrialHistory]] = TrialHistory
    limits: Sequence[Limit] = ()
    hopeless: frozenset[int] = frozenset()

    def __init__(
        self,
        space: Space,
        objective: Objective,
        max_trials: int | None = None,
        checkpoint_root: Path | None = None,
        parents: tuple[ParentTrials, ...] = (),
        enqueued: Sequence[Params] = (),
        *,
        last_fold: int | None = None,
        goals: Goals | None = None,
    ) -> None:
        """Create an empty history, at revision 0."""
        self.space = space
        self.objective = objective
        self.max_trials = max_trials
        self.checkpoint_root = Path() if checkpoint_root is None else checkpoint_root
        self.parents = parents
        self.revision = 0
        self.acquisitions = 0
        self.now = 0.0
        self.runtime = 0.0
        self.enqueued: list[Params] = list(enqueued)
        self._n_first = len(enqueued)
        self.evaluated: set[int] = set()
        self.unfinished: set[int] = set()
        self.with_checkpoint: set[int] = set()
        self.n_folds: int | None = None
        self.last_fold = last_fold
        self.goals = goals
        self._trials: list[TrialHistory] = []
        self._ended: list[tuple[float, int]] = []  # (ended_at, number), ascending
        self._derived = DerivedData()

    def __getitem__(self, number: int) -> TrialHistory:  # type: ignore[override]  # no slices: numbers only
        """Return one trial by its number."""
        return self._trials[number]

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self._trials)

    def __iter__(self) -> Iterator[TrialHistory]:
        """Iterate over the trials by number."""
        return iter(self._trials)

    @functools.cached_property
    def parents_digest(self) -> str:
        """A string that differs whenever the parents' trials differ."""
        digest = hashlib.sha256()
        for parent in self.parents:
            digest.update(f"{parent.name!r} {parent.identical}".encode())
            for trial in parent.trials:
                digest.update(trial.state.encode() + trial.point.tobytes())
                digest.update(trial.curve.epochs.tobytes() + trial.curve.losses.tobytes())
        return digest.hexdigest()

    @property
    def identical_trials(self) -> Iterator[ParentTrial]:
        """The trials of identical parents (``warm_start``), which count as results of this study."""
        return (trial for parent in self.parents if parent.identical for trial in parent.trials)

    @property
    def paused(self) -> list[int]:
        """Numbers of the trials that are paused, ascending."""
        return self._unfinished_in(TrialState.PAUSED)

    @property
    def running(self) -> list[int]:
        """Numbers of the trials that are running, ascending."""
        return self._unfinished_in(TrialState.RUNNING)

    def _unfinished_in(self, state: TrialState) -> list[int]:
        return [number for number in sorted(self.unfinished) if self[number].state is state]

    @property
    def may_start(self) -> bool:
        """Whether ``max_trials`` allows another trial."""
        return self.max_trials is None or len(self) < self.max_trials

    # Changes.

    def apply(self, changes: Changes) -> None:
        """Apply the storage's changes; applying a change twice has no further effect.

        Raises:
            InvalidArgument: The stored data contradict themselves or the space.
        """
        for row in sorted(changes.trials, key=lambda row: row.number):
            self._check_trial(row)
            self.put_trial(row)
        for given in changes.points:
            if given.number >= len(self.enqueued) - self._n_first:
                self.enqueued.append(self.space.checked_part(given.params))
        self.put_reports(changes.reports)
        self.revision = max(self.revision, changes.revision)
        self.acquisitions = max(self.acquisitions, changes.acquisitions)
        self.now = changes.now
        self.runtime = changes.runtime

    def _check_trial(self, row: TrialRow) -> None:
        """Raise InvalidArgument if a stored trial has no place in this history."""
        if row.number > len(self):
            raise InvalidArgument(f"trial {row.number} is there, but trial {len(self)} is not")
        if row.number < len(self):
            return
        try:
            self.space.checked(row.params)
        except InvalidArgument as error:
            raise InvalidArgument(f"the configuration of trial {row.number} is not of this space: {error}") from error

    def follow(self, trial: TrialHistory) -> None:
        """Take the row of another history's trial, and share its reports."""
        self.put_trial(trial.row)
        self._trials[trial.row.number].share_reports(trial)

    def put_trial(self, row: TrialRow) -> None:
        """Add or update a trial."""
        number = row.number
        is_new = number == len(self._trials)
        if is_new:
            self._trials.append(self.trial_type(row, self.space.encode(row.params), self.last_fold))
        trial = self._trials[number]
        had_ended = not is_new and trial.row.state.is_final
        if had_ended and not row.state.is_final:  # a failed trial that is retried
            self._ended = [ended for ended in self._ended if ended[1] != number]
        elif row.state.is_final and not had_ended:
            insort(self._ended, (row.ended_at or 0.0, number))
        trial.row = row
        if row.point is not None:
            self.evaluated.add(row.point)
        self.n_folds = row.folds if self.n_folds is None else self.n_folds
        self._derived.mark_changed(number)
        (self.unfinished.discard if row.state.is_final else self.unfinished.add)(number)
        (self.with_checkpoint.discard if row.progress.checkpoint is None else self.with_checkpoint.add)(number)

    def put_report(self, report: ReportRow) -> None:
        """Add an epoch to a trial, or merge the report into the epoch if it is there."""
        value = report.value
        self._trials[report.number].put(report, None if value is None else self.objective.sign * value)
        self._derived.mark_changed(report.number)

    def put_reports(self, reports: Iterable[ReportRow]) -> None:
        """Add epochs to trials, or merge reports into epochs that are there.

        Raises:
            InvalidArgument: A report is of a trial that does not exist.
        """
        trials, sign, changed = self._trials, self.objective.sign, set[int]()
        for report in reports:  # a large study has half a million
            number, value = report.number, report.value
            if number >= len(trials):
                raise InvalidArgument(f"a report is of trial {number}, which does not exist")
            trials[number].put(report, None if value is None else sign * value)
            changed.add(number)
        for number in changed:
            self._derived.mark_changed(number)

    # Questions.

    def loss(self, number: int) -> float | None:
        """Return the loss of a trial according to the objective, None without reports and for failed trials.

        With several goals it is that of the first objective at the epoch that counts (``outcomes``).
        """
        if self.goals is None:
            return self.own_loss(number)
        outcome = self.outcome(number)
        return None if outcome.row is None else float(outcome.loss[0])

    def own_loss(self, number: int) -> float | None:
        """Return the loss of a trial's curve."""
        trial = self._trials[number]
        return None if trial.row.state is TrialState.FAILED else trial.curve.loss(at=self.objective.at)

    def outcome(self, number: int) -> Outcome:
        """Return what a trial has reached of all goals; there must be several."""
        if (goals := self.goals) is None:
            raise ValueError("A study with one objective has no outcomes.")
        return self.derived("outcomes", lambda: Outcomes(goals, self._trials)).of(number)

    def counts(self, number: int) -> bool:
        """Return whether a trial has a result that meets all limits."""
        return self.loss(number) is not None if self.goals is None else self.outcome(number).counts

    def front(self, *, final: bool = False) -> list[int]:
        """Return the numbers of the trials that no other one dominates, by number, all of them with all folds.

        Args:
            final: Whether to count only trials that have ended.
        """
        numbers = [n for n in range(len(self)) if self.counts(n) and (self[n].state.is_final or not final)]
        fewest = min((self[number].missing_folds for number in numbers), default=0)
        numbers = [number for number in numbers if self[number].missing_folds == fewest]
        losses = np.array([self.outcome(number).loss for number in numbers])
        return [number for number, best in zip(numbers, non_dominated(losses), strict=True) if best] if numbers else []

    def best_numbers(self, *, final: bool = False) -> set[int]:
        """Return the numbers of the best trials: the incumbent or, with several objectives, the front.

        Args:
            final: Whether to count only trials that have ended.
        """
        if self.goals is not None and len(self.goals.objectives) > 1:
            return set(self.front(final=final))
        number = self.incumbent(final=final)
        return set() if number is None else {number}

    def epoch_that_counts(self, number: int) -> int | None:
        """Return the epoch that gives a trial its value, None if there is none."""
        if self.goals is None:
            return self._trials[number].curve.epoch_that_counts(at=self.objective.at)
        outcome = self.outcome(number)
        return None if outcome.row is None else int(outcome.epochs[outcome.row])

    def earlier_loss(self, trial: ParentTrial) -> float | None:
        """Return the loss of a parent's trial, None if it has none; with limits, if it is not known to meet them."""
        if self.goals is None:
            return trial.curve.loss(at=self.objective.at)
        return float(trial.outcome.loss[0]) if trial.outcome is not None and trial.outcome.counts else None

    @property
    def modelled(self) -> History:
        """This study for surrogates."""
        return self

    def _rank(self, number: int) -> tuple[int, float] | None:
        """Return the incumbent's sort key; a mean over fewer folds ranks below a mean over all."""
        loss = self.loss(number) if self.counts(number) else None
        missing = self._trials[number].missing_folds if self.last_fold is None else 0
        return None if loss is None else (missing, loss)

    def _final_rank(self, number: int) -> tuple[int, float] | None:
        return self._rank(number) if self._trials[number].row.state.is_final else None

    def incumbent(self, *, final: bool = False) -> int | None:
        """Return the number of the trial with the smallest loss, the earliest of equals, None if there is none.

        Among trials with folds, it is one of those with the most completed folds.

        Args:
            final: Whether to count only trials that have ended.
        """
        rank = self._final_rank if final else self._rank
        return self.derived(("incumbent", final), lambda: Incumbent(rank)).get()

    def ranking(
        self, key: Hashable, number_of: Callable[[int], float | None], others: Callable[[], Iterable[float]] = tuple
    ) -> Ranking:
        """Return all trials in the order of a number, which is computed for trials that have changed only.

        Args:
            key: Identifies the quantity.
            number_of: Returns the number of a trial, None if the trial does not count. It must depend on nothing but
                the trial's row and reports.
            others: Returns further numbers to rank with the trials; called once.
        """
        return self.derived(("ranking", key), lambda: Ranking(number_of, others()))

    def derived(self, key: Hashable, make: Callable[[], D]) -> D:
        """Return the derived data of a key, up to date.

        Args:
            key: Identifies what it is.
            make: Makes it without trials; called once.
        """
        return self._derived.get(key, make)

    def final_losses(self) -> Iterator[float]:
        """Yield the losses of the trials that have ended, with all their folds, in the order in which they ended."""
        for _, number in self._ended:
            loss = self.loss(number)
            if loss is not None and self.counts(number) and not self._trials[number].missing_folds:
                yield loss

    def has_configuration(self, params: Mapping[str, Value]) -> bool:
        """Return whether a trial has this configuration."""
        return self._configurations().contains(params)

    def points(self) -> FloatArray:
        """Return all configurations in the unit cube, shape ``(n_trials, d)``."""
        return self._configurations().points()

    def _configurations(self) -> Configurations:
        return self.derived("configurations", lambda: Configurations(self.space, self._trials))

    def record(self, number: int) -> TrialRecord:
        """Return the frozen record of a trial."""
        return self.derived("records", lambda: _Records(self)).get(number)

    def up_to_fold(self, fold: int) -> History:
        """Return this history as strategies judge a training run in a fold: each trial by the mean of its first folds.

        It compares the same folds of every trial; trials that have not reached ``fold`` have no results. Parents'
        trials have other folds or none, so they only guide the search. Without folds, the method returns the history
        itself.

        Args:
            fold: The last fold that counts.
        """
        return self if self.n_folds is None else self.derived(("fold", fold), lambda: _FoldView(self, fold)).history


class _Records:
    """The frozen records of a history's trials, made when they are first asked for."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._known: dict[int, TrialRecord] = {}

    def update(self, changed: Iterable[int]) -> None:
        """Forget the records of trials that have changed."""
        for number in changed:
            self._known.pop(number, None)

    def get(self, number: int) -> TrialRecord:
        """Return the record of a trial."""
        if number not in self._known:
            history = self._history
            loss, root = history.loss(number), history.checkpoint_root
            goals = history.goals
            outcome = None if goals is None else history.outcome(number)
            record = record_of(history[number], loss, history.space, history.objective, root, outcome)
            self._known[number] = record if outcome is None or goals is None else with_goals(record, outcome, goals)
        return self._known[number]


class _FoldView:
    """A history of the first folds of another one's trials."""

    def __init__(self, whole: History, fold: int) -> None:
        self._whole = whole
        parents = tuple(replace(parent, identical=False) for parent in whole.parents)
        self.history = History(
            whole.space,
            whole.objective,
            whole.max_trials,
            whole.checkpoint_root,
            parents,
            last_fold=fold,
            goals=whole.goals,
        )

    def update(self, changed: Iterable[int]) -> None:
        """Follow the trials that have changed."""
        for number in sorted(changed):
            self.history.follow(self._whole[number])
