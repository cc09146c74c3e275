"""The results of simulated searches: a table and a figure."""

from __future__ import annotations

import inspect
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo_plugins.objective import Objective
from hpo_plugins.simulation.search import Run
from hpo_plugins.space import FloatArray
from hpo_plugins.strategies import Strategy, argument_names
from hpo_plugins.view import words
from hpo_plugins.view.tables import pandas

if TYPE_CHECKING:
    import pandas as pd

FRACTIONS = (0.25, 0.5, 1.0)
"""Parts of the time at which the table shows the best value."""


@dataclass(frozen=True)
class Scenario:
    """One way to search, simulated on several tasks.

    Attributes:
        strategy: The strategy.
        workers: Number of simultaneous training runs.
        runs: One search per task.
    """

    strategy: Strategy
    workers: int
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """The strategy as Python, without the arguments that have their defaults."""
        cls = type(self.strategy)
        arguments = inspect.signature(cls).parameters
        given = [
            f"{name}={value!r}"
            for name in argument_names(cls)
            if (value := getattr(self.strategy, name)) != arguments[name].default
        ]
        return f"{cls.__name__}({', '.join(given)})"

    @property
    def trials(self) -> float:
        """The median number of trials."""
        return statistics.median(run.trials for run in self.runs)

    @property
    def epochs(self) -> float:
        """The median number of epochs."""
        return statistics.median(run.epochs for run in self.runs)

    @property
    def seconds(self) -> float:
        """The median time from the start to the end of the last training run."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def utilisation(self) -> float:
        """The median part of the workers' time in which they train, until the last training run has ended."""
        return statistics.median(run.busy / (self.workers * run.seconds) for run in self.runs if run.seconds)

    def best_at(self, seconds: float) -> list[float]:
        """Return the best value of each search after a time, without those that have none."""
        return [value for run in self.runs if (value := run.best_at(seconds)) is not None]


@dataclass(frozen=True)
class Simulation:
    """Results of simulated searches. ``print`` it for a table, or ``plot()`` it.

    Attributes:
        study: The name of the study whose task was simulated.
        objective: Its objective.
        scenarios: The ways to search that were compared.
        is_timed: Whether times are seconds; otherwise the study's epochs were too fast to time, and each counts as one.
        is_drawn: Whether the tasks were drawn from the study's surrogate; otherwise a function returned them.
        budget: Time limit of each search, None for none.
        found: The best value of the study itself, None if it has none.
    """

    study: str
    objective: Objective
    scenarios: tuple[Scenario, ...]
    is_timed: bool
    is_drawn: bool
    budget: float | None
    found: float | None

    @property
    def horizon(self) -> float:
        """The time at which all are compared: the budget, or when the slowest has ended."""
        return self.budget or max(scenario.seconds for scenario in self.scenarios)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per scenario, as plain values."""
        return [
            {
                "strategy": scenario.name,
                "workers": scenario.workers,
                "trials": scenario.trials,
                "epochs": scenario.epochs,
                "seconds" if self.is_timed else "epochs_per_worker": scenario.seconds,
                "utilisation": scenario.utilisation,
                **{
                    f"best_at_{share:.0%}".removesuffix("%"): _mean(scenario.best_at(share * self.horizon))
                    for share in FRACTIONS
                },
                "spread": _spread(scenario.best_at(self.horizon)),
            }
            for scenario in self.scenarios
        ]

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per scenario; pandas must be installed."""
        return pandas().DataFrame(self.rows())

    def plot(self) -> Any:
        """Return a figure of the best value against time, with the spread over tasks.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        return _drawn(self)

    def time(self, value: float) -> str:
        """Return a time in words."""
        return words.duration(value) if self.is_timed else f"{value:,.0f}"

    def __str__(self) -> str:
        """Return a table."""
        n_tasks = len(self.scenarios[0].runs)
        marks = [share * self.horizon for share in FRACTIONS]
        columns = ["strategy", "workers", "trials", "epochs", "time", "busy"]
        lines = [[*columns, *(f"at {self.time(mark)}" for mark in marks), ""]]
        for scenario in self.scenarios:
            found = [scenario.best_at(mark) for mark in marks]
            best = [f"{statistics.mean(values):.4g}" if values else "" for values in found]
            spread = f"± {_spread(found[-1]):.2g}" if found[-1] else ""
            counts = [f"{scenario.trials:,.0f}", f"{scenario.epochs:,.0f}", self.time(scenario.seconds)]
            counts.append(f"{scenario.utilisation:.1%}")
            lines.append([scenario.name, str(scenario.workers), *counts, *best, spread])
        table = words.table(lines, right=range(1, len(lines[0]) - 1))
        unit = "" if self.is_timed else " Times are epochs of each worker."
        busy = "Busy is the part of the workers' time in which they train, to the end of the last training."
        if not self.is_drawn:
            return (
                f"Best {self.objective.metric} at three times: the mean over {n_tasks} searches, and its spread.\n"
                f"{busy}\n\n{table}"
            )
        known = "" if self.found is None else f"The study itself found {self.found:.4g}."
        return (
            f"Best {self.objective.metric} at three times: the mean over {n_tasks} tasks that study {self.study!r} "
            f"allows, and its spread.\n{known}{unit}\n{busy}\n\n{table}\n\n"
            "What the study has not seen may be better or worse than it is here.\nStrategies with a surrogate are "
            "flattered: the tasks are drawn from the same one."
        )


def _mean(values: list[float]) -> float | None:
    return statistics.mean(values) if values else None


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


_LINES = ("-", "--", ":", "-.")


def _drawn(simulation: Simulation) -> Any:
    """Return a figure: a line for each way to search, the mean over tasks, and a band of one standard error."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from hpo_plugins.view.plots.style import MUTED, PALETTE, figure, plain, use_log_scale

    strategies = list(dict.fromkeys(scenario.name for scenario in simulation.scenarios))
    counts = sorted({scenario.workers for scenario in simulation.scenarios})
    times = np.geomspace(simulation.horizon / 40, simulation.horizon, 200)  # early on, everything is bad
    shown: list[float] = []
    with figure(height=1 + 0.06 * len(simulation.scenarios)) as drawn:
        axes = drawn.subplots()
        for scenario in simulation.scenarios:
            found = [scenario.best_at(time) for time in times]
            known = [values for values in found if len(values) == len(scenario.runs)]
            if not known:
                continue
            since, values = times[len(times) - len(known) :], np.array(known)
            mean, error = values.mean(axis=1), values.std(axis=1) / np.sqrt(values.shape[1])
            color = PALETTE[strategies.index(scenario.name) % len(PALETTE)]
            line = _LINES[counts.index(scenario.workers) % len(_LINES)]
            workers = "" if counts == [1] else f"{scenario.workers} worker{'s' * (scenario.workers > 1)}: "
            axes.plot(since, mean, color=color, linestyle=line, label=plain(workers + scenario.name, 70))
            axes.fill_between(since, mean - error, mean + error, color=color, alpha=0.15, linewidth=0)
            shown += mean.tolist()
        if simulation.found is not None:
            axes.axhline(simulation.found, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), label="the study itself")
        if use_log_scale(shown):
            axes.set_yscale("log")
        if shown:
            axes.set_ylim(*_limits(np.array(shown)))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: simulation.time(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(times[0], times[-1])
        axes.set_xlabel("time" if simulation.is_timed else "epochs of each worker")
        axes.set_ylabel(plain(simulation.objective.metric, 40))
        drawn.legend(loc="outside lower center", fontsize=9)
        return drawn


def _limits(values: FloatArray) -> tuple[float, float]:
    """Return limits that show where the lines differ and cut off the first, bad trials."""
    low, high = (
        np.quantile(values, (0.0, 0.9)) if np.median(values) < values.mean() else np.quantile(values, (0.1, 1.0))
    )
    margin = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
    return float(low - margin), float(high + margin)
