"""The results of a study: its trials, the best one, tables, figures and a report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hpo_plugins._text import printable
from hpo_plugins._validation import path_like
from hpo_plugins.errors import InvalidArgument, NothingReported
from hpo_plugins.execution.base import Loop
from hpo_plugins.history import History
from hpo_plugins.objective import Goals
from hpo_plugins.records import TrialRecord
from hpo_plugins.study import front
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.study.confirmation import Confirmed, with_expectation
from hpo_plugins.study.summary import summarize
from hpo_plugins.view import StudyView, insights, notebook, tables
from hpo_plugins.view.confirmed import best_of, confirmation_of, confirmed_view

if TYPE_CHECKING:
    import pandas as pd

    from hpo_plugins.view.plots import Plots


class StudyResults:
    """The results of a study, as of the moment in which they are read; other processes may be writing.

    Attributes:
        name: The study's name.
        space: The search space.
        objective: The objective, the first one of several.
        objectives: All objectives.
        constraints: The limits on outcomes.
        strategy: The strategy.
        seed: The seed.
    """

    name: str
    _loop: Loop

    def _bind(self, loop: Loop) -> None:
        self._loop = loop
        config = self.study
        self.space, self.objective, self.strategy, self.seed = (
            config.space,
            config.objective,
            config.strategy,
            config.seed,
        )
        self.objectives, self.constraints = config.objectives, config.constraints

    @property
    def study(self) -> StudyConfig:
        """The study's definition, as it is stored."""
        return self._loop.session.config

    @property
    def history(self) -> History:
        """The trials as strategies see them, as of now."""
        return self._loop.history()

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials by number, as of now."""
        history = self.history
        return tuple(history.record(number) for number in range(len(history)))

    @property
    def best_trial(self) -> TrialRecord:
        """The trial with the best value, the earliest of equals; failed trials do not count.

        With limits (``Tuner(constraints=)``), it is the best trial that meets them all, by its epochs that do.

        It may come from an identical parent (``WarmStart``): then its ``parent`` is not None.

        After ``confirm`` it is the confirmed one, unless the search has found something better since.

        Its ``expected`` and ``expected_std`` say what to expect if its configuration is trained again. They are
        computed when this is read, and again only after further trials have ended.

        Raises:
            NothingReported: No trial has a value yet, or none meets all limits; then it names the nearest one.
            InvalidArgument: The study has several objectives: use ``best_trials`` or ``best``.
        """
        history, goals = self.history, self.study.goals
        if goals is not None and self.study.further_objectives:
            raise front.several(goals, self.name)
        best, confirmation = self._confirmed(self.study.best(history), history)
        if best is None:
            nearest = "" if goals is None else front.nothing_feasible(history, goals)
            metric = self.study.objective.metric
            raise NothingReported(nearest or f"No trial of study {self.name!r} has a value of {metric!r} yet.")
        self._loop.session.checkpoints.fetch(best.number, (best.checkpoint, best.best_checkpoint))
        return with_expectation(best, confirmation, history)

    @property
    def best_trials(self) -> tuple[TrialRecord, ...]:
        """The Pareto front: the trials that meet all limits and that no other one dominates, by the first objective.

        A trial dominates another one if it is as good in all objectives, and better in one. Each counts with one epoch
        (``TrialRecord.best_epoch``), whose metrics are its ``values``. With one objective, it is the best trial, if
        there is one.
        """
        history = self.history
        if self.study.goals is not None and self.study.further_objectives:
            return front.front_of(history)
        best = self.study.best(history)
        return () if best is None else (best,)

    def best(self, weights: Mapping[str, float] | None = None) -> TrialRecord:
        """Return the trial of the Pareto front that weights prefer, or the one at its knee.

        Weights count on the scale of the front, from its best to its worst value of each objective:
        ``best({"val_loss": 1, "latency_ms": 0.2})`` gives five times as much for the whole range of the loss as for
        that of the latency. At the knee, a little more of any objective costs much of another one: it is the trial with
        the smallest sum of scaled losses.

        Args:
            weights: How much each objective counts, by metric; None for the knee.

        Raises:
            InvalidArgument: The weights are not of the objectives.
            NothingReported: No trial counts yet.
        """
        goals = self.study.goals or Goals((self.objective,))
        if not self.study.further_objectives:
            if weights is not None:
                front.checked_weights(weights, goals)
            return self.best_trial
        return front.best_by(self.history, goals, weights)

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> float:
        """Return the volume of the values that the Pareto front dominates, up to a reference point; 0 without a front.

        It is computed exactly, in the units of the metrics.

        Args:
            reference: Metric to a value that is worse than those that count; to compare studies, give both the same. By
                default it lies a tenth of the front beyond its worst values.

        Raises:
            InvalidArgument: The study has one objective, or the reference is not a number for each objective.
        """
        goals = self.study.goals
        if goals is None or not self.study.further_objectives:
            raise InvalidArgument(
                "hypervolume() needs several objectives: Tuner(space, [Minimize(...), Minimize(...)])."
            )
        return front.volume_of(self.history, goals, reference)

    @property
    def confirmation(self) -> tuple[Confirmed, ...]:
        """What the repeats of the finalists have shown, the probably best first; empty before ``confirm``.

        Each entry has ``number``, ``mean``, ``std``, ``repeats`` and ``probability``.
        """
        return confirmation_of(self.name, self._loop.session)[0]

    @property
    def stop_reason(self) -> str | None:
        """Why no new trial will be started, in words; None while there will be one."""
        self._loop.history()
        return self._loop.session.completion_reason()

    @property
    def done(self) -> bool:
        """Whether the search is over: no process will get another trial."""
        return self._loop.session.is_done()

    def stop(self) -> None:
        """Start no more trials in this process; running training runs continue to their own end."""
        self._loop.stop()

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` was called in this process."""
        return self._loop.session.is_stopping

    def summary(self) -> str:
        """Return a summary in a few lines: the best trial and its certainty, the cost, and suggested changes."""
        view = self._view()
        reason = view.completion_reason if view.is_done else None
        best = view.expected_best
        text = summarize(self.study, view.history, name=self.name, best=best, completion_reason=reason)
        notes = [
            insights.confirmed(view),
            insights.lead(view),
            insights.belief(view),
            *insights.advice(view, importance=False),
        ]
        return printable("\n".join([text, *(f"- {note}" for note in notes if note)]), lines=True)

    @property
    def plot(self) -> Plots:
        """The study as figures: ``tuner.plot.history()``, ``.curves()``, ``.importance()`` and others.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        from hpo_plugins.view.plots import Plots

        return Plots(self._view())

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write a report of the study: one file that needs no network.

        Args:
            path: Where to write it.

        Raises:
            ModuleNotFoundError: plotly is not installed.
            StorageError: The file cannot be written.
        """
        from hpo_plugins.view.report import write_report

        write_report(self._view(), path_like("path", path))

    def curves_dataframe(self) -> pd.DataFrame:
        """Return one row per trial, fold and epoch, with all metrics; pandas must be installed."""
        return tables.curves_dataframe(self._view())

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per trial, with a column ``params_<name>`` each; pandas must be installed."""
        return tables.trials_dataframe(self._view())

    def _repr_html_(self) -> str:
        return notebook.as_table(self._view())

    def _view(self) -> StudyView:
        return confirmed_view(self._loop.session, self.name)

    def _confirmed(
        self, best: TrialRecord | None, history: History
    ) -> tuple[TrialRecord | None, tuple[Confirmed, ...]]:
        """Return the best trial of the search after its confirmation, if that is over, and the finalists."""
        confirmation, is_over = confirmation_of(self.name, self._loop.session)
        return best_of(best, confirmation if is_over else (), history), confirmation
