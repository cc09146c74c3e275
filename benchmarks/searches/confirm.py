"""How often ``tuner.confirm`` finds the best of three finalists, and whether the mean that it tells is right.

A case is a search of random training runs that were recorded: its best three configurations, by one training run each,
are the finalists. Each is trained again with other seeds, for real; the mean over all these seeds is the truth. Then
the finalists are confirmed many times, with seeds drawn from the recorded ones. What is told is compared with the mean
over the seeds that were not used.

    HPO_PLUGINS_REAL_CURVES=FOLDER python -m benchmarks confirm
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import hpo_plugins as hpo
from benchmarks.problems import real_tasks
from hpo_plugins.space import Space

CONFIGURATIONS = 48
"""The best recorded configurations of a task: they are trained with further seeds, and all finalists are among them."""
SEARCH = 20
"""Training runs of a search."""


def trained(name: str, n_seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a task's losses of the recorded training runs, and of others with ``n_seeds`` seeds.

    Args:
        name: The task.
        n_seeds: Number of seeds.

    Returns:
        Losses at the best epoch: of all recorded training runs, the best first, and of further ones of the best
        configurations, shape ``(c, n_seeds)``.
    """
    task = real_tasks.RealTask(name)
    values = -task.real.sign * task.recorded["val"]
    first = np.nanmin(np.where(np.isfinite(values), values, np.inf), axis=1)
    order = np.argsort(first)[:CONFIGURATIONS]
    first = first[np.argsort(first)]
    file = Path(os.environ.get("REAL_CURVES_CACHE", tempfile.gettempdir())) / f"{name}_{CONFIGURATIONS}x{n_seeds}.npy"
    if file.exists():
        return first, np.load(file)
    again = np.array([_losses(task, task.recorded["U"][place], n_seeds) for place in order])
    np.save(file, again)
    return first, again


def _losses(task: real_tasks.RealTask, point: Any, n_seeds: int) -> list[float]:
    params = Space(task.problem.space).decode(point)
    losses = []
    for seed in range(n_seeds):
        training = real_tasks.library().Training(task.real, params, salt=f" seed {seed}")
        training.up_to(task.real.max_epoch)
        found = -task.real.sign * np.array(training.values, float)
        losses.append(float(np.nanmin(np.where(np.isfinite(found), found, np.inf))))
    return losses


def case(
    first: np.ndarray, losses: np.ndarray, rng: np.random.Generator, arguments: dict[str, Any]
) -> dict[str, float]:
    """Search, confirm, and compare with the truth; in units of the noise.

    Args:
        first: Losses of the search's training runs by configuration, of the whole recording; those in ``losses`` lead.
        losses: Losses by configuration and seed, shape ``(c, n_seeds)``.
        rng: Draws the search's configurations, and the seeds.
        arguments: Arguments of ``Tuner.confirm``.
    """
    truth, noise = losses.mean(axis=1), float(np.sqrt(losses.var(axis=1, ddof=1).mean()))
    seeds = np.array([rng.permutation(losses.shape[1]) for _ in losses])
    drawn = _drawn(len(first), len(losses), rng, arguments["top"])
    space = {"configuration": hpo.Categorical([int(place) for place in range(len(losses))])}
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=hpo.Random(), seed=0, progress="off")
    for place in drawn:
        tuner.add({"configuration": int(place)}, float(losses[place, seeds[place, -1]]))
    found = int(tuner.best_trial.params["configuration"])
    told_by_search = tuner.best_trial.value
    used: dict[int, int] = {}
    for trial in tuner.confirm(**arguments):
        place = int(trial["configuration"])
        used[place] = used.get(place, 0) + 1
        trial.report(1, {"loss": float(losses[place, seeds[place, used[place] - 1]])})
    first = tuner.confirmation[0]
    winner = int(tuner.best_trial.params["configuration"])
    places = [int(tuner.trials[each.number].params["configuration"]) for each in tuner.confirmation]
    best = min(places, key=lambda place: truth[place])

    def unseen(place: int) -> float:
        """Return the mean over the seeds that neither the search nor the confirmation has used."""
        return float(losses[place, seeds[place, used.get(place, 0) : -1]].mean())

    told = [e.mean - unseen(place) for e, place in zip(tuner.confirmation, places, strict=True) if e.mean is not None]
    return {
        "search is right": float(found == best),
        "winner is right": float(winner == best),
        "probability told": first.probability,
        "loss of the winner": float(truth[winner] - truth[best]) / noise,
        "clearly wrong": float(truth[winner] - truth[best] > noise / 2),
        "gap": float(np.diff(np.sort(truth[places]))[0]) / noise,
        "repeats": sum(used.values()),
        "bias of the search": float(told_by_search - unseen(found)) / noise,
        "bias of the winner": told[0] / noise,
        "bias of all": float(np.mean(told)) / noise,
    }


def _drawn(n: int, n_best: int, rng: np.random.Generator, top: int) -> np.ndarray:
    """Return at least ``top`` random configurations of a search, those among the best ``n_best`` of ``n``."""
    while True:
        drawn = rng.choice(n, size=SEARCH, replace=False)
        if (drawn < n_best).sum() >= top:
            return drawn[drawn < n_best]


def main() -> None:
    """Print a table, a row for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", help="all by default")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--confidence", type=float, default=0.95)
    given = parser.parse_args()
    arguments = {"top": given.top, "repeats": given.repeats, "confidence": given.confidence}
    rows: list[list[str]] = []
    everything: list[dict[str, float]] = []
    for name in given.tasks or real_tasks.names():
        first, losses = trained(name, given.seeds)
        losses = losses[np.isfinite(losses).all(axis=1)]
        rng = np.random.default_rng(0)
        cases = [case(first, losses, rng, arguments) for _ in range(given.cases)]
        everything += cases
        rows.append([name, *_means(cases)])
    rows.append(["all", *_means(everything)])
    print(
        f"Means over {given.cases} cases a task; losses, gaps and biases in standard deviations of one training run.\n"
    )
    head = ["task", *everything[0]]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _means(cases: list[dict[str, float]]) -> list[str]:
    return [f"{np.mean([each[name] for each in cases]):.2f}" for name in cases[0]]


if __name__ == "__main__":
    main()
