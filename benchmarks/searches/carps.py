"""Tasks of CARP-S, with its optimisers and ours (``methods/carps_optimizer.py``).

Usage: python -m benchmarks carps [--seeds 5] [--processes 2]

    Black box    the functions of BBOB in the subset of black-box tasks for development, 2 and 4 parameters
    Fidelities   Hartmann's function of 3 parameters with the fidelities of MF-Prior-Bench: from ``good``, where a small
                 fidelity ranks configurations as the largest does, to ``terrible``

All other tasks of the subsets (YAHPO, HPOBench) need data folders. The budget is the task's own. Each evaluation counts
with its fidelity, and trains from scratch; the best is the smallest cost seen at the largest fidelity.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded: searches run side by side

import argparse
import contextlib
import io
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CONFIGS = Path(__file__).parent.parent / "methods" / "carps_configs"
BLACK_BOX = tuple(f"subselection/blackbox/dev=subset_bbob_{name}" for name in ("2_12_0", "2_12_1", "2_20_0", "4_6_1"))
FIDELITIES = tuple(f"MFPBench/SO/mfh=mfh3_{kind}" for kind in ("good", "moderate", "bad", "terrible"))
HARTMANN = -3.86278
"""The minimum of Hartmann's function of 3 parameters, which CARP-S does not know."""
GROUPS = {
    "Black box": (BLACK_BOX, ("hpo_plugins=bayesian", "smac20=blackbox", "optuna=SO_TPE", "randomsearch=config")),
    "Fidelities": (
        FIDELITIES,
        (
            "hpo_plugins=hyperband_multifidelity",
            "hpo_plugins=bayesian_multifidelity",
            "smac20=multifidelity",
            "randomsearch=config",
        ),
    ),
}
NAMES = {
    "hpo_plugins=bayesian": "hpo-plugins Bayesian",
    "hpo_plugins=hyperband_multifidelity": "hpo-plugins Hyperband",
    "hpo_plugins=bayesian_multifidelity": "hpo-plugins Bayesian(max_resource)",
    "smac20=blackbox": "SMAC, black box",
    "smac20=multifidelity": "SMAC, multi-fidelity",
    "optuna=SO_TPE": "Optuna TPE",
    "randomsearch=config": "random",
}
"""The names of the optimisers by those of their configurations."""
FRACTIONS = (0.25, 0.5, 1.0)


class Case(NamedTuple):
    """A search."""

    task: str
    optimizer: str
    seed: int


def run(case: Case) -> list[float]:
    """Return how far the best cost is from the minimum, at each of ``FRACTIONS`` of the budget."""
    from carps.utils.running import make_optimizer, make_task
    from hydra import compose, initialize_config_module

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        with initialize_config_module("carps.configs", version_base=None):
            overrides = [f"+task/{case.task}", f"+optimizer/{case.optimizer}", f"seed={case.seed}"]
            given = [f"hydra.searchpath=[file://{CONFIGS}]", f"baserundir={folder}", "loggers=[]"]
            config = compose("base", overrides=overrides + given)
        task = make_task(config)
        seen, known = _watched(task), task.objective_function.f_min
        make_optimizer(config, task).run()
    minimum = HARTMANN if known is None else float(known)
    budget = task.optimization_resources.n_trials
    return [min([cost for spent, cost in seen if spent <= part * budget + 1e-9]) - minimum for part in FRACTIONS]


def _watched(task: Any) -> list[tuple[float, float]]:
    """Return a list that gets each evaluation at the largest fidelity: the budget spent so far, and the cost."""
    seen, evaluate, largest = [], task.objective_function.evaluate, task.input_space.fidelity_space.max_fidelity
    spent = 0.0

    def watched(trial_info: Any) -> Any:
        nonlocal spent
        value = evaluate(trial_info=trial_info)
        part = 1.0 if largest is None or trial_info.budget is None else trial_info.budget / largest
        spent += part
        if part > 1 - 1e-9:
            seen.append((spent, float(value.cost)))
        return value

    task.objective_function.evaluate = watched
    return seen


def main() -> None:
    """Print a table for each group: one row an optimiser, the mean over tasks of its regret relative to random's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    seeds = range(1, arguments.seeds + 1)
    for title, (tasks, optimizers) in GROUPS.items():
        cases = [Case(task, name, seed) for task in tasks for name in optimizers for seed in seeds]
        with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
            found = np.array(list(pool.map(run, cases))).reshape(len(tasks), len(optimizers), len(seeds), -1)
        means = found.mean(axis=2)  # task, optimiser, part of the budget
        relative = np.exp(np.log(np.maximum(means / means[:, -1:, -1:], 1e-6)).mean(axis=0))
        ranks = (means[:, :, None, -1] > means[:, None, :, -1]).sum(axis=2).mean(axis=0) + 1
        print(f"\n## {title}: {len(tasks)} tasks, {len(seeds)} seeds\n")
        print("| optimiser | " + " | ".join(f"@{part:.0%}" for part in FRACTIONS) + " | mean rank at the end |")
        print("|---" * (len(FRACTIONS) + 2) + "|")
        for index in np.argsort(relative[:, -1]):
            columns = " | ".join(f"{value:.3g}" for value in relative[index])
            print(f"| {NAMES[optimizers[index]]} | {columns} | {ranks[index]:.1f} |")
        print("\nRegret at the end, means over seeds:\n")
        print(
            "| task | " + " | ".join(NAMES[name] for name in optimizers) + " |\n" + "|---" * (len(optimizers) + 1) + "|"
        )
        for task, row in zip(tasks, means[:, :, -1], strict=True):
            print(f"| {task.rpartition('=')[2]} | " + " | ".join(f"{value:.3g}" for value in row) + " |")


if __name__ == "__main__":
    main()
