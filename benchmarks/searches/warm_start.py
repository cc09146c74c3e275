"""Measure the savings of a warm start from a related parent, and its cost from an unrelated one.

    HPO_PLUGINS_BENCHMARK_DATA=... python -m benchmarks warm-start [--seeds 5] [--trials 40] [--kinds none,related]

A trial is one full training run of LCBench, chosen by ``Bayesian``. The parent is a search of as many trials:

    none        there is no parent
    identical   the same training run, declared identical
    close       the same data, trained for half the epochs
    related     the same network on other data, the next of the list
    unrelated   as related, its results dealt to its configurations at random
    inverted    as related, its results with the opposite sign

Regret is 0 for the best accuracy that any search found, 1 for the median of random configurations; the mean over
instances and seeds. "Trials" are those after which it is as low as a cold start's after 10, 20 and 40. The last
column is how much more regret is left at the end than without a parent, and the standard error of that.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hpo_plugins as hpo
from benchmarks.problems import lcbench
from hpo_plugins.space import Space
from hpo_plugins.space.sobol import draw

KINDS = ("none", "identical", "close", "related", "unrelated", "inverted")
MARKS = (1, 5, 10, 20, 40)
SPACE = Space(lcbench.SPACE)
Losses = NDArray[np.float64]


def error(instance: str, params: dict[str, Any], epochs: int = lcbench.EPOCHS) -> float:
    """Return the validation error in % after so many epochs."""
    return 100.0 - float(lcbench.curves(instance, [params], np.array([epochs]))[0, 0, 1])


def search(loss: Callable[[dict[str, Any]], float], trials: int, seed: int, warm_start: Any = None) -> hpo.Tuner:
    """Return a finished search."""
    tuner = hpo.Tuner(
        SPACE, hpo.Minimize("loss"), strategy=hpo.Bayesian(), max_trials=trials, seed=seed, warm_start=warm_start
    )
    for trial in tuner:
        trial.report(1, {"loss": loss(trial.params)})
    return tuner


@functools.cache
def searched(instance: str, epochs: int, trials: int, seed: int) -> hpo.Tuner:
    """Return a cold search, to be a parent."""
    return search(lambda params: error(instance, params, epochs), trials, 1000 + seed)


class _Again(hpo.Random):
    """Tries given configurations in their order."""

    def suggest(self, history: Any, seed: int) -> Any:  # noqa: ARG002
        return _Again.params[len(history)]

    params: Any = ()


def retold(parent: hpo.Tuner, losses: Losses) -> hpo.Tuner:
    """Return a study with a parent's configurations and other results."""
    _Again.params = [trial.params for trial in parent.trials]
    tuner = hpo.Tuner(SPACE, hpo.Minimize("loss"), strategy=_Again(), max_trials=len(losses), seed=0)
    for trial in tuner:
        trial.report(1, {"loss": float(losses[trial.number])})
    return tuner


def warm_start(kind: str, index: int, seed: int, trials: int) -> Any:
    """Return the parent of a kind."""
    instance, other = lcbench.DEV[index], lcbench.DEV[(index + 1) % len(lcbench.DEV)]
    match kind:
        case "none":
            return None
        case "identical":
            return hpo.WarmStart([searched(instance, lcbench.EPOCHS, trials, seed)], identical=True)
        case "close":
            return [searched(instance, lcbench.EPOCHS // 2, trials, seed)]
    parent = searched(other, lcbench.EPOCHS, trials, seed)
    losses = np.array([trial.value for trial in parent.trials], dtype=float)
    match kind:
        case "unrelated":
            return [retold(parent, np.random.default_rng(seed).permutation(losses))]
        case "inverted":
            return [retold(parent, -losses)]
    return [parent]


def main() -> None:
    """Print a line for each kind of parent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--instances", type=int, default=len(lcbench.DEV))
    parser.add_argument("--kinds", default=",".join(KINDS))
    given = parser.parse_args()
    kinds = given.kinds.split(",")
    runs: dict[str, list[Losses]] = {kind: [] for kind in kinds}
    for index, instance in enumerate(lcbench.DEV[: given.instances]):
        losses: dict[tuple[str, int], Losses] = {}
        for seed in range(given.seeds):
            for kind in kinds:
                parents = warm_start(kind, index, seed, given.trials)
                tuner = search(functools.partial(error, instance), given.trials, seed, parents)
                found = [trial.value for trial in tuner.trials]
                losses[kind, seed] = np.minimum.accumulate(np.array(found, dtype=float))
        best = min(curve[-1] for curve in losses.values())
        median = np.median([error(instance, draw(SPACE, 12345, number)) for number in range(100)])
        for kind in kinds:
            runs[kind] += [(losses[kind, seed] - best) / (median - best) for seed in range(given.seeds)]
    marks = [mark for mark in MARKS if mark <= given.trials]
    cold = np.mean(runs["none"], axis=0)
    heads = "".join(f" {f'at {mark}':>7}" for mark in marks)
    print(f"{'parent':>10}{heads}   trials for a cold start's 10, 20, 40   more at the end")
    for kind in kinds:
        curve = np.mean(runs[kind], axis=0)
        reached = [np.flatnonzero(curve <= cold[mark - 1]) for mark in marks if mark >= 10]
        needed = ", ".join(str(at[0] + 1) if len(at) else "more" for at in reached)
        more = np.array(runs[kind])[:, -1] - np.array(runs["none"])[:, -1]
        shown = "".join(f" {curve[mark - 1]:>7.4f}" for mark in marks)
        print(
            f"{kind:>10}{shown} {needed:>37}   {more.mean():+.4f} ({more.std() / np.sqrt(len(more)):.4f})", flush=True
        )
