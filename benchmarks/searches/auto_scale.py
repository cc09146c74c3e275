"""Measure gains and losses of ``scale="auto"`` over a linear scale, by the number of decades of the range.

    python -m benchmarks auto-scale
    HPO_PLUGINS_BENCHMARK_DATA=... python -m benchmarks auto-scale lcbench

First table: known functions of three parameters over the same range, searched by ``Random``. The loss is quadratic
around an optimum drawn in the range, in log x ("of decades": learning rates, penalties) or in x ("of size": shares,
momenta). The figure is the mean regret of the best of T trials, where 1 is the mean loss of one trial drawn
uniformly in the function's own coordinates.

Second table: LCBench's learning curves, every range declared "auto", or every range "linear", searched by ``Random``;
regret of the best of T full training runs in % accuracy. Two of its ranges have three decades or more.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hpo_plugins as hpo
from hpo_plugins.space import Space
from hpo_plugins.space.sobol import draw

DECADES = (0.5, 1, 2, 3, 4, 6)
TRIALS = 30
SEEDS = 300
PARAMETERS = ("a", "b", "c")


def points(space: Space, seed: int) -> NDArray[np.float64]:
    """Return the values of the first draws, shape ``(TRIALS, 3)``."""
    return np.array([[draw(space, seed, number)[name] for name in PARAMETERS] for number in range(TRIALS)])


def regret(found: NDArray[np.float64], low: float, high: float, seed: int, *, of_decades: bool) -> float:
    """Return the loss of the best draw."""
    rng = np.random.default_rng(seed)
    if of_decades:
        found, low, high = np.log(found), float(np.log(low)), float(np.log(high))
    place = (found - low) / (high - low)
    optimum = rng.random(len(PARAMETERS))
    loss = ((place - optimum) ** 2).sum(axis=1)
    return float(loss.min() / ((1 / 3 - optimum + optimum**2).sum()))


def functions() -> None:
    """Print the regret on known functions."""
    print(f"{'decades':>7} {'auto is':>8}  {'of decades: linear':>19} {'auto':>7}  {'of size: linear':>16} {'auto':>7}")
    for decades in DECADES:
        low, high = 1e-4, 1e-4 * 10**decades * (1 + 1e-9)
        spaces = {
            scale: Space({name: hpo.Continuous(low, high, scale=scale) for name in PARAMETERS})  # type: ignore[arg-type]
            for scale in ("linear", "auto")
        }
        draws = {scale: [points(space, seed) for seed in range(SEEDS)] for scale, space in spaces.items()}
        figures = [
            np.mean([regret(found, low, high, seed, of_decades=of_decades) for seed, found in enumerate(draws[scale])])
            for of_decades in (True, False)
            for scale in ("linear", "auto")
        ]
        parameter: Any = spaces["auto"]["a"]
        print(
            f"{decades:>7} {parameter.resolved_scale:>8}  {figures[0]:>19.4f} {figures[1]:>7.4f}"
            f"  {figures[2]:>16.4f} {figures[3]:>7.4f}"
        )


def curves() -> None:
    """Print the regret on LCBench."""
    from benchmarks.problems import lcbench

    optima = dict.fromkeys(lcbench.DEV, -np.inf)
    found: dict[tuple[str, str, int], NDArray[np.float64]] = {}
    spaces = {
        scale: Space({name: type(p)(p.low, p.high, scale=scale) for name, p in lcbench.SPACE.items()})
        for scale in ("linear", "auto")
    }
    spaces["declared"] = Space(lcbench.SPACE)
    last = np.array([lcbench.EPOCHS])
    for instance in lcbench.DEV:
        for scale, space in spaces.items():
            for seed in range(30):
                configurations = [draw(space, seed, number) for number in range(64)]
                values = lcbench.curves(instance, configurations, last)[:, 0, 1]
                found[instance, scale, seed] = values
                optima[instance] = max(optima[instance], float(values.max()))
    print(f"{'trials':>6}" + "".join(f" {scale:>9}" for scale in spaces))
    for trials in (10, 20, 64):
        means = [
            np.mean([optima[i] - found[i, scale, seed][:trials].max() for i in lcbench.DEV for seed in range(30)])
            for scale in spaces
        ]
        print(f"{trials:>6}" + "".join(f" {mean:>9.3f}" for mean in means))


def main() -> None:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("table", nargs="?", choices=["functions", "lcbench"], default="functions")
    if parser.parse_args().table == "lcbench":
        curves()
    else:
        functions()
