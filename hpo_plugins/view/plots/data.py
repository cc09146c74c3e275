"""The data of a study's figures as plain columns, which ``static`` and ``interactive`` draw.

To add a figure: add a class here, which ``KINDS`` finds, and a method named like its ``kind`` in ``Plots`` and in
``InteractivePlots``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np

from hpo_plugins import modeling
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history.metric_view import metric_view
from hpo_plugins.history.pareto import non_dominated
from hpo_plugins.objective import Goals, Minimize
from hpo_plugins.records import TrialRecord
from hpo_plugins.space import Listed, Parameter
from hpo_plugins.view.insights import rank_agreement
from hpo_plugins.view.plots.style import use_log_scale
from hpo_plugins.view.study_view import StudyView
from hpo_plugins.view.words import number

MAX_CURVES = 1000
"""More cannot be told apart; the best 50 and an even choice of the others are drawn."""
MAX_LINES = 1000
"""Configurations of parallel coordinates (docs/decisions/0024)."""
MAX_BARS = 2000
"""Trials of a timeline, the last ones."""
MAX_PARAMETERS = 12
"""Parameters side by side; the most important ones are shown."""
GRID = 60
MAX_POINTS = 40
"""Points of a trial's way to the Pareto front."""


class Figure:
    """The data of a figure.

    Attributes:
        kind: The name of the methods that draw it.
        title: What it shows.
        nothing: What to show instead while there is nothing to draw.
        in_report: Whether a report contains it.
        is_wide: Whether it needs a report's whole width.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    nothing: ClassVar[str]
    in_report: ClassVar[bool] = True
    is_wide: ClassVar[bool] = False

    @property
    def note(self) -> str:
        """What to know about it, empty if nothing."""
        return ""


@dataclass(frozen=True)
class History(Figure):
    """Each trial's value, and the best so far.

    Attributes:
        trials: The trials that have a value; ``numbers`` and ``values`` are of them.
        best_numbers: The trials that have improved the best value, and the last trial.
        best_values: The best value from each of them on.
        is_log: Whether the axis of values is logarithmic.
    """

    kind = "history"
    title = "Every trial's value, and the best so far"
    nothing = "No trial has a value yet."
    trials: list[TrialRecord]
    numbers: list[int]
    values: list[float]
    best_numbers: list[int]
    best_values: list[float]
    is_log: bool

    @classmethod
    def of(cls, view: StudyView) -> Self | None:
        """Return the data of a study, None if no trial has a value."""
        if not view.valued:
            return None
        values = _values(view.valued)
        steps = view.incumbents()
        steps += [(len(view.trials) - 1, best) for _, best in steps[-1:]]
        return cls(
            list(view.valued), [t.number for t in view.valued], values, [n for n, _ in steps], [v for _, v in steps],
            use_log_scale(values),
        )  # fmt: skip


class Curve(NamedTuple):
    """A learning curve."""

    trial: TrialRecord
    epochs: list[int]
    values: list[float]


@dataclass(frozen=True)
class Curves(Figure):
    """The learning curves of trials.

    Attributes:
        curves: The curves, that of the best trial first.
        milestones: The epochs at which training runs are compared.
        ticks: The epochs to label on a logarithmic axis of epochs; empty if that axis is linear.
        is_log: Whether the axis of values is logarithmic.
        n_all: How many curves there are.
        max_points: How many points of each curve are kept at most, None for all.
    """

    kind = "curves"
    title = "Learning curves"
    nothing = "No trial has reported an epoch yet."
    curves: list[Curve]
    milestones: list[int]
    ticks: list[int]
    is_log: bool
    n_all: int
    max_points: int | None

    @classmethod
    def of(cls, view: StudyView, max_points: int | None = None) -> Self | None:
        """Return the data of a study, None if no trial has reported an epoch.

        Args:
            view: The study.
            max_points: How many points of each curve to keep, None for all.
        """
        ranked = [trial for trial in view.ranked if trial.curve]
        ranked += [trial for trial in view.trials if trial.value is None and trial.curve]
        if not ranked:
            return None
        chosen = ranked[:50] + ranked[50 :: max(1, math.ceil(len(ranked) / MAX_CURVES))]
        kept = [(trial, thinned(list(trial.curve), max_points)) for trial in chosen]
        curves = [Curve(trial, epochs, [trial.curve[epoch] for epoch in epochs]) for trial, epochs in kept]
        longest = max(curve.epochs[-1] for curve in curves)
        ticks = [*view.milestones, longest] if view.milestones and longest > 30 else []
        is_log = use_log_scale([value for curve in curves for value in curve.values])
        return cls(curves, list(view.milestones), list(dict.fromkeys(ticks)), is_log, len(ranked), max_points)

    @property
    def note(self) -> str:
        """How many curves and points are left out."""
        fewer = f"{len(self.curves):,} of {self.n_all:,} curves. " if len(self.curves) < self.n_all else ""
        return fewer + (f"Of each curve, at most {self.max_points} points are drawn." if self.max_points else "")


@dataclass(frozen=True)
class Parallel(Figure):
    """All configurations, one axis per parameter.

    Attributes:
        names: The parameters.
        ends: The values of each parameter at 0 and at 1.
        trials: The trials, the best first.
        heights: Where in the unit interval each trial has set the parameters, None for those that it does not have.
        n_all: How many trials there are.
    """

    kind = "parallel"
    title = "All configurations"
    nothing = "No trial has a value yet."
    is_wide = True
    names: list[str]
    ends: list[tuple[str, str]]
    trials: list[TrialRecord]
    heights: list[list[float | None]]
    n_all: int

    @classmethod
    def of(cls, view: StudyView) -> Self | None:
        """Return the data of a study, None if no trial has a value."""
        names = view.most_important(MAX_PARAMETERS)
        ranked = [trial for trial in view.ranked if not trial.params.keys().isdisjoint(names)]
        if not ranked:
            return None
        chosen = ranked[:: math.ceil(len(ranked) / MAX_LINES)]
        ends = [(number(view.space[name].from_unit(0.0)), number(view.space[name].from_unit(1.0))) for name in names]
        return cls(names, ends, chosen, [view.heights(names, trial) for trial in chosen], len(ranked))

    @property
    def note(self) -> str:
        """How to read it."""
        fewer = f" {len(self.trials):,} of {self.n_all:,} are drawn." if len(self.trials) < self.n_all else ""
        return f"One line per trial, from parameter to parameter. Click a name in the legend to hide its lines.{fewer}"


@dataclass(frozen=True)
class ImportanceBars(Figure):
    """How much each parameter matters, the most important one first."""

    kind = "importance"
    title = "What matters"
    nothing = "Too few trials have a value to tell which parameters matter."
    names: list[str]
    totals: list[float]
    deviations: list[float]
    label: ClassVar[str] = "share of the variance of a full training's result (total effect)"

    @classmethod
    def of(cls, view: StudyView) -> Self | None:
        """Return the data of a study, None if too little is known."""
        found = view.importances
        return cls([i.name for i in found], [i.total for i in found], [i.deviation for i in found]) if found else None

    @property
    def end(self) -> float:
        """Where the axis of the bars ends."""
        return max(1.0, *(total + deviation for total, deviation in zip(self.totals, self.deviations, strict=True)))

    @property
    def note(self) -> str:
        """How to read it."""
        return "The whiskers are the spread over refits of the surrogate."


class Axis(NamedTuple):
    """An axis of a parameter in the unit interval: places, and the parameter's values there."""

    places: list[float]
    labels: list[str]

    @classmethod
    def of(cls, parameter: Parameter) -> Axis:
        """Return the axis of a parameter."""
        if isinstance(parameter, Listed):
            values = parameter.values[:: max(1, len(parameter.values) // 6)]
            places = [parameter.to_unit(value) for value in values]
        else:
            places = [0.0, 0.25, 0.5, 0.75, 1.0]
            values = tuple(parameter.from_unit(place) for place in places)
        return cls(places, [number(value) for value in values])


class Panel(NamedTuple):
    """Each trial's value against one parameter."""

    name: str
    axis: Axis
    trials: list[TrialRecord]
    places: list[float]
    values: list[float]


@dataclass(frozen=True)
class Slice(Figure):
    """Each trial's value against each parameter.

    Attributes:
        panels: A panel for each parameter, in the order of the space.
        side_by_side: The parameters to show if all panels are seen at once: the most important ones.
        is_log: Whether the axes of values are logarithmic.
    """

    kind = "slice"
    title = "Every trial's value against each parameter"
    nothing = "No trial has a value yet."
    in_report = False
    panels: list[Panel]
    side_by_side: list[str]
    is_log: bool

    @classmethod
    def of(cls, view: StudyView) -> Self | None:
        """Return the data of a study, None if no trial has a value."""
        if not view.valued:
            return None
        panels = []
        for name, parameter in view.space.items():
            own = [trial for trial in view.valued if name in trial.params]
            panels.append(Panel(name, Axis.of(parameter), own, view.places(name, own), _values(own)))
        return cls(panels, view.most_important(MAX_PARAMETERS), use_log_scale(_values(view.valued)))


class BeliefPanel(NamedTuple):
    """What is believed about one parameter, and where the trials were.

    ``ticks`` are places in the unit interval, ``density`` is p there; ``good`` is the best quarter of the trials.
    """

    panel: Panel
    ticks: list[float]
    density: list[float]
    good: list[bool]


@dataclass(frozen=True)
class Beliefs(Figure):
    """The believed density of each parameter that has a belief, and each trial's value against it.

    Attributes:
        panels: A panel for each of them, in the order of the space.
        is_log: Whether the axes of values are logarithmic.
    """

    kind = "beliefs"
    title = "What was believed, and what was found"
    nothing = "No parameter has a belief (prior=)."
    panels: list[BeliefPanel]
    is_log: bool

    @classmethod
    def of(cls, view: StudyView) -> Self | None:
        """Return the data of a study, None if nothing is believed."""
        good = {trial.number for trial in view.ranked[: math.ceil(len(view.ranked) / 4)]}
        ticks, panels = np.linspace(0.0, 1.0, 4 * GRID + 1), []
        for name, parameter in view.space.items():
            if parameter.belief is not None:
                own = [trial for trial in view.valued if name in trial.params]
                panel = Panel(name, Axis.of(parameter), own, view.places(name, own), _values(own))
                density = parameter.belief.density(ticks).tolist()
                panels.append(BeliefPanel(panel, ticks.tolist(), density, [trial.number in good for trial in own]))
        return cls(panels[:MAX_PARAMETERS], use_log_scale(_values(view.valued))) if panels else None

    @property
    def note(self) -> str:
        """How to read it."""
        return "The area is what was believed; the best quarter of the trials is highlighted."


@dataclass(frozen=True)
class Contour(Figure):
    """The surrogate's prediction over two parameters; the others are the best trial's.

    Attributes:
        first: The parameter of the horizontal axis.
        second: The parameter of the vertical axis.
        axes: Their axes.
        ticks: ``GRID`` places in the unit interval.
        expected: The expected value at each; rows are places of the second parameter.
        trials: The trials that have a value.
        x: Where they have set the first parameter.
        y: Where they have set the second one.
        best: The place of the best of them.
    """

    kind = "contour"
    title = "What the surrogate expects over two parameters"
    nothing = "Two parameters and two trials with a value are needed."
    in_report = False
    first: str
    second: str
    axes: tuple[Axis, Axis]
    ticks: list[float]
    expected: list[list[float]]
    trials: list[TrialRecord]
    x: list[float]
    y: list[float]
    best: tuple[float, float]

    @classmethod
    def of(cls, view: StudyView, first: str | None = None, second: str | None = None) -> Self | None:
        """Return the data of a study, None if too little is known.

        Args:
            view: The study.
            first: One parameter; None for the most important one.
            second: The other; None for the most important one that is left.

        Raises:
            InvalidArgument: There is no such parameter.
        """
        for name in (first, second):
            if name is not None and name not in view.space:
                raise InvalidArgument(f"a parameter must be one of {', '.join(view.space)}, but got {name!r}.")
        model = modeling.model.fit_model(view.history.up_to_fold(0), view.max_resource)
        if len(view.space) < 2 or model is None or not view.ranked:
            return None
        ranked = [i.name for i in view.importances] or list(view.space)
        rest = [name for name in ranked if name not in (first, second)]
        first = first or rest.pop(0)
        second = second or rest.pop(0)
        places = [list(view.space).index(name) for name in (first, second)]
        ticks, best = np.linspace(0, 1, GRID), view.space.encode(view.ranked[0].params)
        points = np.tile(best, (GRID * GRID, 1))
        points[:, places[0]], points[:, places[1]] = np.tile(ticks, GRID), np.repeat(ticks, GRID)
        snapped = model.encoder.snap(points)
        means = model.posterior.predict(model.inputs(snapped, model.last or 1)).mean
        losses = np.array([model.scale.inverse(float(mean)) for mean in means])
        own = np.array([view.space.encode(trial.params)[places] for trial in view.valued])
        return cls(
            first, second, (Axis.of(view.space[first]), Axis.of(view.space[second])), ticks.tolist(),
            (view.objective.sign * losses.reshape(GRID, GRID)).tolist(), list(view.valued), own[:, 0].tolist(),
            own[:, 1].tolist(), (float(best[places[0]]), float(best[places[1]])),
        )  # fmt: skip


@dataclass(frozen=True)
class Timeline(Figure):
    """Which worker trained which trial, and when; a resumed trial is on the row of its last worker.

    Attributes:
        workers: The label of each row.
        trials: The trials.
        rows: The row of each trial.
        starts: Seconds from the first trial's start to each trial's.
        lengths: Seconds from each trial's start to its end.
        n_all: How many trials there are.
    """

    kind = "timeline"
    title = "Who trained what, and when"
    nothing = "No trial was started yet."
    workers: list[str]
    trials: list[TrialRecord]
    rows: list[int]
    starts: list[float]
    lengths: list[float]
    n_all: int
    label: ClassVar[str] = "seconds since the first trial was started"

    @classmethod
    def of(cls, view: StudyView) -> Self | None:
        """Return the data of a study, None if it has no trial."""
        if not view.trials:
            return None
        began = min(trial.started_at for trial in view.trials)
        rows = {worker: row for row, worker in enumerate(dict.fromkeys(view.workers))}
        trials = list(view.trials[-MAX_BARS:])
        ends = [view.now if trial.ended_at is None else trial.ended_at for trial in trials]
        return cls(
            workers=[f"worker {row}" for row in rows.values()],
            trials=trials,
            rows=[rows[view.workers[trial.number]] for trial in trials],
            starts=[trial.started_at - began for trial in trials],
            lengths=[max(end - trial.started_at, 1e-3) for end, trial in zip(ends, trials, strict=True)],
            n_all=len(view.trials),
        )

    @property
    def note(self) -> str:
        """How many trials are left out."""
        return f"The last {len(self.trials):,} of {self.n_all:,} trials." if len(self.trials) < self.n_all else ""


@dataclass(frozen=True)
class Rungs(Figure):
    """Number of trials at each epoch of comparison and the last epoch, and how well the ranks predict the end.

    Attributes:
        epochs: The epochs.
        counts: How many trials have reached each.
        agreements: The rank correlation of the losses there with those at the end, None where it is not known.
    """

    kind = "rungs"
    title = "How many trials reach each epoch of comparison"
    nothing = "The strategy compares no trainings while they run."
    epochs: list[int]
    counts: list[int]
    agreements: list[float | None]

    @classmethod
    def of(cls, view: StudyView) -> Self | None:
        """Return the data of a study, None if its strategy compares no training runs."""
        if not view.milestones:
            return None
        last = [] if view.max_resource is None else [view.max_resource]
        epochs = list(dict.fromkeys([*view.milestones, *last]))
        found = rank_agreement(view)
        return cls(epochs, [view.n_reached(epoch) for epoch in epochs], [found.get(epoch) for epoch in epochs])

    @property
    def note(self) -> str:
        """How to read it."""
        return "r is the rank correlation of the values at that epoch with those at the end."


class Path(NamedTuple):
    """How the point of one trial moved while it trained."""

    trial: TrialRecord
    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Pareto(Figure):
    """All trials by two goals, the Pareto front of these two, the limits, and how points moved during training.

    Attributes:
        names: The two metrics.
        paths: The points of trials by epoch; the last point is at the epoch that counts.
        front: The trials that no other one dominates in the two metrics, in the order of the first one.
        spreads: The deviations of the front's values, as the surrogates of the two metrics estimate them.
        limits: The limits on the two metrics: place (0 or 1), value, and whether larger values are excluded.
        signs: 1 for a metric that is to be small, -1 for one to be large.
    """

    kind = "pareto"
    title = "The Pareto front, and how trials moved towards it"
    nothing = "The study has one objective and no limit, or no trial has a value of both."
    names: tuple[str, str]
    paths: list[Path]
    front: list[TrialRecord]
    spreads: list[tuple[float, float]]
    limits: list[tuple[int, float, bool]]
    signs: tuple[int, int]

    @classmethod
    def of(cls, view: StudyView, first: str | None = None, second: str | None = None) -> Self | None:
        """Return the data of a study, None if it has one goal, or no trial has a value of both.

        Args:
            view: The study.
            first: The metric of the horizontal axis: of an objective or a limit; by default the second objective, or
                else the first limit.
            second: That of the vertical axis; by default the first objective.

        Raises:
            InvalidArgument: It is not the metric of a goal.
        """
        if view.goals is None:
            return None
        for name in (first, second):
            if name is not None and name not in view.goals.metrics:
                raise InvalidArgument(f"a metric must be one of {', '.join(view.goals.metrics)}, but got {name!r}.")
        second = second or next(name for name in view.goals.metrics if name != first)
        first = first or next((name for name in view.goals.metrics if name != second), second)
        names = (first, second)
        paths = [path for trial in view.valued if (path := _path(view, trial, names)) is not None]
        if not paths:
            return None
        signs = (_sign(view.goals, first), _sign(view.goals, second))
        counted = [path for path in paths if path.trial.feasible is not False]
        best = non_dominated(np.array([[signs[0] * p.x[-1], signs[1] * p.y[-1]] for p in counted]).reshape(-1, 2))
        chosen = sorted((path for path, is_best in zip(counted, best, strict=True) if is_best), key=lambda p: p.x[-1])
        front = [path.trial for path in chosen]
        limits = [
            (place, limit.value, limit.sign > 0)
            for place, name in enumerate(names)
            for limit in view.goals.constraints
            if limit.metric == name
        ]
        spreads = list(zip(*(_spreads(view, name, front) for name in names), strict=True))
        return cls(names, paths, front, spreads, limits, signs)

    @property
    def note(self) -> str:
        """How to read it."""
        return "Thin lines are trials while they trained; bars are a standard deviation of a new training run."


def _sign(goals: Goals, metric: str) -> int:
    """Return 1 if a goal wants a metric to be small, -1 if large."""
    wanted = [(each.metric, each.sign) for each in goals.objectives]
    wanted += [(limit.metric, limit.sign) for limit in goals.constraints]
    return next(sign for name, sign in wanted if name == metric)


def _path(view: StudyView, trial: TrialRecord, names: tuple[str, str]) -> Path | None:
    """Return how a trial's point moved, up to the epoch that counts; None if it has no value of both metrics."""
    goals, outcome = view.goals, view.history.outcome(trial.number)
    if goals is None or outcome.row is None:
        return None
    epochs = slice(0, outcome.row + 1)
    columns = {each.metric: each.sign * outcome.losses[epochs, n] for n, each in enumerate(goals.objectives)}
    limited = {limit.metric: outcome.limited[epochs, n] for n, limit in enumerate(goals.constraints)}
    x, y = ((limited | columns)[name] for name in names)
    kept = thinned(np.flatnonzero(np.isfinite(x) & np.isfinite(y)).tolist(), MAX_POINTS)
    return Path(trial, x[kept].tolist(), y[kept].tolist()) if kept and kept[-1] == outcome.row else None


def _spreads(view: StudyView, metric: str, trials: list[TrialRecord]) -> list[float]:
    """Return the deviations of a metric in new training runs of trials, as its surrogate estimates them."""
    objectives = [] if view.goals is None else [each for each in view.goals.objectives if each.metric == metric]
    objective = objectives[0] if objectives else Minimize(metric, at="last")
    model = modeling.model.fit_model(metric_view(view.history.up_to_fold(0), objective), view.max_resource)
    if model is None or not trials:
        return [0.0] * len(trials)
    points = model.points[[trial.number for trial in trials]]
    epochs = np.array([min(trial.best_epoch or 1, model.last or 1) for trial in trials])
    found = model.posterior.predict(model.inputs(points, epochs))
    total = np.sqrt(found.deviation**2 + model.posterior.hyperparameters.noise)
    inverse = model.scale.inverse
    return [(inverse(float(m + s)) - inverse(float(m - s))) / 2 for m, s in zip(found.mean, total, strict=True)]


KINDS = tuple(each.kind for each in Figure.__subclasses__())


def thinned(epochs: list[int], count: int | None) -> list[int]:
    """Return at most ``count`` epochs: the first and the last, and denser at the start, where curves bend."""
    if count is None or len(epochs) <= count:
        return epochs
    last = len(epochs) - 1
    places = {round(last ** (n / (count - 2))) for n in range(count - 1)} | {0}
    return [epochs[place] for place in sorted(places)]


def _values(trials: Iterable[TrialRecord]) -> list[float]:
    return [trial.value for trial in trials if trial.value is not None]
