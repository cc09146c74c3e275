"""CARP-S: this library's strategies as one of its optimisers.

CARP-S (https://github.com/automl/CARP-S) compares optimisers by asking each for a configuration, with a fidelity where
the task has one, and telling it the cost. Every evaluation trains from scratch and counts with its fidelity. It has an
environment of its own: ``pip install -e . carps ioh``, and ``pip install --no-deps mf-prior-bench`` for tasks with
fidelities. There, its own command finds ours, here for a task of BBOB (in one line)::

    PYTHONPATH=. python -m carps.run --config-dir benchmarks/methods/carps_configs
        +optimizer/hpo_plugins=bayesian +task/BBOB=cfg_2_12_0 seed=1
"""

from __future__ import annotations

import math
from typing import Any

import ConfigSpace
from carps.optimizers.optimizer import Optimizer
from carps.utils.exceptions import NotSupportedError
from carps.utils.trials import StatusType, TrialInfo, TrialValue

import hpo_plugins as hpo
from hpo_plugins.space import Parameter

COST = "cost"
N_UNITS = 27
"""Epochs of a full training run, if the fidelity is no whole number: for example, a part of the data."""


def search_space(space: ConfigSpace.ConfigurationSpace) -> dict[str, Parameter]:
    """Return the parameters that vary.

    Raises:
        NotSupportedError: The space has conditions or forbidden combinations.
    """
    if space.conditions or space.forbidden_clauses:
        raise NotSupportedError("Spaces with conditions or forbidden combinations are not converted.")
    return {name: _parameter(each) for name, each in space.items() if not isinstance(each, ConfigSpace.Constant)}


def _parameter(given: Any) -> Parameter:
    if isinstance(given, ConfigSpace.CategoricalHyperparameter):
        return hpo.Categorical([_plain(choice) for choice in given.choices])
    if isinstance(given, ConfigSpace.OrdinalHyperparameter):
        return hpo.Ordinal([_plain(value) for value in given.sequence])
    scale = "log" if given.log else "linear"
    if isinstance(given, ConfigSpace.UniformIntegerHyperparameter):
        return hpo.Integer(int(given.lower), int(given.upper), scale=scale)
    if isinstance(given, ConfigSpace.UniformFloatHyperparameter):
        return hpo.Continuous(float(given.lower), float(given.upper), scale=scale)
    raise NotSupportedError(f"{type(given).__name__} is not converted.")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


class HpoPluginsOptimizer(Optimizer):
    """A strategy of this library.

    Args:
        task: The task.
        strategy: The class of the strategy, such as ``"Hyperband"``. If the task has a fidelity, the strategy gets its
            epochs as ``max_resource``, and judges each configuration at its milestones.
        seed: Of the search.
        arguments: Further arguments of the strategy.
        loggers: Of CARP-S.
        expects_multiple_objectives: Always False.
        expects_fidelities: Whether the task must have a fidelity.
    """

    def __init__(
        self,
        task: Any,
        strategy: str,
        seed: int,
        arguments: dict[str, Any] | None = None,
        loggers: list[Any] | None = None,
        expects_multiple_objectives: bool = False,
        expects_fidelities: bool = False,
    ) -> None:
        """Read the fidelity."""
        super().__init__(task, loggers, expects_multiple_objectives, expects_fidelities)
        if task.output_space.n_objectives != 1:
            raise NotSupportedError("Tasks with several objectives are not converted.")
        self._seed = seed
        self._space = task.objective_function.configspace
        fidelity = task.input_space.fidelity_space
        self.fidelity_enabled = expects_fidelities
        arguments = dict(arguments or {})
        if expects_fidelities:
            self._unit, first, last = _epochs(fidelity.min_fidelity, fidelity.max_fidelity)
            arguments |= {"max_resource": last, "cost": "epochs"}
            if strategy == "Hyperband":
                arguments["min_resource"] = first
        self._strategy = getattr(hpo, strategy)(**arguments)
        self._levels = (*self._strategy.milestones, last) if expects_fidelities else (1,)
        self._trial: hpo.Trial | None = None
        self._trained = 0
        self._told: list[tuple[float, float, ConfigSpace.Configuration]] = []  # minus its budget, cost, configuration

    def convert_configspace(self, configspace: ConfigSpace.ConfigurationSpace) -> dict[str, Parameter]:
        """Return the search space."""
        return search_space(configspace)

    def convert_to_trial(self, params: dict[str, Any], epoch: int) -> TrialInfo:  # type: ignore[override]
        """Return what to evaluate."""
        constants = {name: each.value for name, each in self._space.items() if isinstance(each, ConfigSpace.Constant)}
        config = ConfigSpace.Configuration(self._space, values=dict(params) | constants)
        return TrialInfo(config=config, budget=epoch * self._unit if self.fidelity_enabled else None)

    def _setup_optimizer(self) -> hpo.Tuner:
        return hpo.Tuner(
            self.convert_configspace(self._space), hpo.Minimize(COST), strategy=self._strategy, seed=self._seed
        )

    def ask(self) -> TrialInfo:
        """Return the next configuration, or the same one with more epochs if the strategy has not stopped it."""
        if self._trial is None:
            self._trial, self._trained = self.solver.ask(), 0
        self._trained = next(level for level in self._levels if level > self._trained)
        return self.convert_to_trial(self._trial.params, self._trained)

    def tell(self, trial_info: TrialInfo, trial_value: TrialValue) -> None:
        """Report the cost; the strategy says whether the configuration gets more epochs."""
        trial = self._trial
        assert trial is not None
        if trial_value.status is not StatusType.SUCCESS:
            trial.fail(trial_value.status.name)
            self._trial = None
            return
        cost = float(trial_value.cost)  # type: ignore[arg-type]  # one objective
        if math.isfinite(cost):
            self._told.append((-(trial_info.budget or 1.0), cost, trial_info.config))
        if trial.report(self._trained, {COST: cost}) or self._trained == self._levels[-1]:
            trial.end()
            self._trial = None

    def get_current_incumbent(self) -> tuple[TrialInfo, TrialValue] | None:
        """Return the best configuration of those with the largest fidelity."""
        if not self._told:
            return None
        budget, cost, config = min(self._told, key=lambda each: each[:2])
        return TrialInfo(config=config, budget=-budget if self.fidelity_enabled else None), TrialValue(cost=cost)


def _epochs(smallest: float, largest: float) -> tuple[float, int, int]:
    """Return the fidelity of one epoch, the first epoch at which to judge, and the last epoch."""
    if float(smallest).is_integer() and float(largest).is_integer() and smallest >= 1:
        return 1, int(smallest), int(largest)
    unit = largest / N_UNITS
    return unit, max(1, math.ceil(smallest / unit)), N_UNITS
