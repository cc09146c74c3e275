"""Searches on the subsets of carps, beside its own optimisers of SMAC and Optuna.

Usage: python -m benchmarks carps [--subset blackbox|multifidelity] [--tasks NAME ...] [--seeds 3] [--trials 77]

It has an environment of its own: ``pip install carps ioh smac optuna``. Of the tasks of a subset, those are run whose
benchmark is installed: BBOB (``ioh``). LCBench, in carps by YAHPO Gym, is read from the same surrogate in
``HPO_PLUGINS_BENCHMARK_DATA``, without that package. The others need containers or further data; they are listed.

Budget: as the task says, or ``--trials``; with fidelities, an evaluation counts as its part of a full one. The cost of
the best configuration; its rank among the optimisers on a task, mean over tasks and seeds with the interval of
``harness/ranks.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import tempfile
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import carps
import numpy as np
from carps.objective_functions.objective_function import ObjectiveFunction
from carps.utils.trials import TrialValue
from ConfigSpace import ConfigurationSpace
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from benchmarks.harness.ranks import mean_ranks

CONFIGS = Path(carps.__file__).parent / "configs"
OPTIMIZERS = {
    "blackbox": {
        "hpo-plugins": None, "smac": "smac20/blackbox", "optuna": "optuna/SO_TPE", "random": "randomsearch/config",
    },
    "multifidelity": {
        "hpo-plugins": None, "smac": "smac20/multifidelity", "optuna": "optuna/SO_TPE", "random": "randomsearch/config",
    },
}  # fmt: skip


class LCBench(ObjectiveFunction):
    """LCBench's surrogate by its own file: the negative validation accuracy after an epoch.

    Args:
        space: The configurations.
        instance: The data set.
    """

    def __init__(self, space: ConfigurationSpace, instance: str) -> None:
        """Load nothing yet."""
        super().__init__()
        self._space, self._instance = space, instance

    @property
    def configspace(self) -> ConfigurationSpace:
        """The configurations."""
        return self._space

    def _evaluate(self, trial_info: Any) -> TrialValue:
        from benchmarks.problems import lcbench

        epoch = np.array([trial_info.budget or lcbench.EPOCHS])
        return TrialValue(cost=-float(lcbench.curves(self._instance, [dict(trial_info.config)], epoch)[0, 0, 1]))


def task_names(subset: str) -> list[str]:
    """Return the tasks of a subset for development."""
    return sorted(path.stem.removeprefix("subset_") for path in (CONFIGS / f"task/subselection/{subset}/dev").glob("*"))


def configuration(subset: str, name: str, seed: int, trials: int | None, optimizer: str | None, folder: str) -> Any:
    """Return carps's configuration of a task and an optimiser."""
    known = OmegaConf.load(CONFIGS / f"task/subselection/{subset}/dev/subset_{name}.yaml")
    parts = [known, OmegaConf.create({"seed": seed, "outdir": folder})]
    if optimizer is not None:
        kind, _, variant = optimizer.partition("/")
        base = CONFIGS / f"optimizer/{kind}/base.yaml"
        parts += [
            OmegaConf.load(path) for path in (base, CONFIGS / f"optimizer/{kind}/{variant}.yaml") if path.exists()
        ]
    made: Any = OmegaConf.merge(*parts)
    if trials is not None:
        made.task.optimization_resources.n_trials = trials
    return made


def task_of(made: DictConfig) -> Any:
    """Return the task of a configuration."""
    if "yahpo/lcbench" in made.task.name or "lcbench" in made.task_id:
        space = instantiate(made.task.input_space.configuration_space)
        made.task.objective_function = None
        instance = made.task_id.split("lcbench/")[1].split("/")[0]
        task = instantiate(made.task)
        object.__setattr__(task, "objective_function", LCBench(space, instance))
        return task
    return instantiate(made.task)


def search(subset: str, name: str, method: str, seed: int, trials: int | None) -> tuple[float, float]:
    """Return the cost of the best configuration, and CPU seconds."""
    from benchmarks.methods.carps_optimizer import HpoPluginsOptimizer

    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        made = configuration(subset, name, seed, trials, OPTIMIZERS[subset][method], folder)
        task = task_of(made)
        task.objective_function.configspace.seed(seed)
        own = (
            HpoPluginsOptimizer(task, seed=seed) if method == "hpo-plugins" else instantiate(made.optimizer)(task=task)
        )
        _, value = own.run()
    return float(value.cost), time.process_time() - begun


def main() -> None:
    """Print a table of the costs, then the mean ranks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subset", choices=OPTIMIZERS, default="blackbox")
    parser.add_argument("--tasks", nargs="+", help="these alone; by default all that are installed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, help="by default those that the task says")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("smac", "optuna", "ioh"))
    print(f"{arguments.subset}, seeds: {arguments.seeds}. {versions}.\n")
    print("| task | " + " | ".join(OPTIMIZERS[arguments.subset]) + " |")
    print("|---" * (len(OPTIMIZERS[arguments.subset]) + 1) + "|")
    ends: dict[str, dict[str, list[float]]] = {method: {} for method in OPTIMIZERS[arguments.subset]}
    cpu, missing = dict.fromkeys(ends, 0.0), []
    for name in arguments.tasks or task_names(arguments.subset):
        try:
            task_of(configuration(arguments.subset, name, 0, None, None, "."))
        except Exception as error:  # noqa: BLE001 - whatever a missing benchmark raises
            missing.append(f"{name} ({str(error).strip().splitlines()[0][:80]})")
            continue
        for method in ends:
            found = [search(arguments.subset, name, method, seed, arguments.trials) for seed in range(arguments.seeds)]
            ends[method][name] = [cost for cost, _ in found]
            cpu[method] += sum(seconds for _, seconds in found)
        cells = [f"{np.mean(each[name]):.4g}" for each in ends.values()]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if ends["hpo-plugins"]:
        ranks = mean_ranks(ends)
        print("| mean rank | " + " | ".join(str(ranks[method]) for method in ends) + " |")
        print("| CPU seconds | " + " | ".join(f"{cpu[method]:.0f}" for method in ends) + " |")
    print("\nNot run: " + ("; ".join(missing) or "none") + ".")
