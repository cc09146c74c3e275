"""The best value of simulated searches against time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hpo_plugins.space import FloatArray
from hpo_plugins.view.plots.style import MUTED, PALETTE, figure, plain, use_log_scale

if TYPE_CHECKING:
    from hpo_plugins.simulation.result import Simulation

_LINES = ("-", "--", ":", "-.")


def plot(simulation: Simulation) -> Any:
    """Return a figure: a line for each way to search, the mean over tasks, and a band of one standard error."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

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
    """Return limits that show where the lines differ, and leave out how bad the first trials were."""
    low, high = (
        np.quantile(values, (0.0, 0.9)) if np.median(values) < values.mean() else np.quantile(values, (0.1, 1.0))
    )
    margin = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
    return float(low - margin), float(high + margin)
