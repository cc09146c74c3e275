"""This library as an optimiser of carps (Benjamins et al. 2025), with its interface of ask and tell.

Where a task has fidelities, a trial is evaluated at ``max_fidelity / 3**k`` as long as the strategy lets it go on.
carps gives no checkpoints: each evaluation begins anew and is charged in full, as those of other optimisers are.

    level   3**k, what the strategy knows as the epoch: 1 for the lowest fidelity, ``levels(...)[-1]`` for the highest
"""

from __future__ import annotations

import math
from typing import Any

from carps.optimizers.optimizer import Optimizer
from carps.utils.trials import StatusType, TrialInfo, TrialValue
from ConfigSpace import Configuration, ConfigurationSpace, EqualsCondition, InCondition
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    Constant,
    FloatHyperparameter,
    IntegerHyperparameter,
    OrdinalHyperparameter,
)

import hpo_plugins as hpo
from hpo_plugins._fields import evolve
from hpo_plugins.space import Parameter

FACTOR = 3
METRIC = "cost"


def search_space(space: ConfigurationSpace) -> dict[str, Parameter]:
    """Return a space of ConfigSpace in this library's words; constants are left out.

    Raises:
        NotImplementedError: It has forbidden configurations, or conditions other than values of categories.
    """
    if space.forbidden_clauses:
        raise NotImplementedError("forbidden clauses; give hpo_plugins.Tuner(valid=) instead")
    made = {name: _parameter(each) for name, each in space.items() if not isinstance(each, Constant)}
    for condition in space.conditions:
        if not isinstance(condition, EqualsCondition | InCondition):
            raise NotImplementedError(f"conditions like {condition}")
        values = list(condition.values) if isinstance(condition, InCondition) else [condition.value]
        name = condition.child.name
        made[name] = evolve(made[name], when={condition.parent.name: values})
    return made


def _parameter(known: Any) -> Parameter:
    if isinstance(known, CategoricalHyperparameter):
        return hpo.Categorical(list(known.choices))
    if isinstance(known, OrdinalHyperparameter):
        return hpo.Ordinal(list(known.sequence))
    scale: Any = "log" if known.log else "linear"
    if isinstance(known, IntegerHyperparameter):
        return hpo.Integer(int(known.lower), int(known.upper), scale=scale)
    if isinstance(known, FloatHyperparameter):
        return hpo.Continuous(float(known.lower), float(known.upper), scale=scale)
    raise NotImplementedError(f"parameters like {known}")


def levels(lowest: float, highest: float) -> list[int]:
    """Return the levels, such that the first one's fidelity is not below the lowest."""
    return [FACTOR**k for k in range(math.floor(math.log(highest / lowest, FACTOR) + 1e-9) + 1)]


class HpoPluginsOptimizer(Optimizer):
    """``Bayesian`` for tasks with one value, ``Hyperband`` for those with fidelities.

    Args:
        task: What to search.
        seed: Of the search.
        loggers: Those of carps.
        expects_multiple_objectives: Must be false.
        expects_fidelities: Whether the task has fidelities.
    """

    def __init__(
        self,
        task: Any,
        seed: int = 0,
        loggers: list[Any] | None = None,
        expects_multiple_objectives: bool = False,
        expects_fidelities: bool = False,
    ) -> None:
        """Prepare the search."""
        super().__init__(task, loggers, expects_multiple_objectives, expects_fidelities)
        if task.output_space.n_objectives > 1:
            raise NotImplementedError(f"{task.output_space.n_objectives} objectives; this optimiser has one")
        self._seed, self._trial, self._evaluated = seed, None, list[tuple[TrialInfo, TrialValue]]()
        self._space = task.input_space.configuration_space
        fidelities = task.input_space.fidelity_space
        self.fidelity_enabled = fidelities.is_multifidelity
        self._levels = levels(fidelities.min_fidelity, fidelities.max_fidelity) if self.fidelity_enabled else [1]

    def convert_configspace(self, configspace: ConfigurationSpace) -> dict[str, Parameter]:
        """Return the space in this library's words."""
        return search_space(configspace)

    def convert_to_trial(self, trial: hpo.Trial, level: int) -> TrialInfo:  # type: ignore[override]
        """Return what carps is to evaluate."""
        constants = {name: each.value for name, each in self._space.items() if isinstance(each, Constant)}
        config = Configuration(self._space, values={**constants, **trial.params})
        return TrialInfo(config=config, budget=self._fidelity(level), name=str(trial.number))

    def _fidelity(self, level: int) -> float | None:
        if not self.fidelity_enabled:
            return None
        known = self.task.input_space.fidelity_space
        fidelity = known.max_fidelity * level / self._levels[-1]
        return round(fidelity) if isinstance(known.max_fidelity, int) else fidelity

    def _setup_optimizer(self) -> hpo.Tuner:
        highest = self._levels[-1]
        strategy = hpo.Hyperband(max_resource=highest) if highest > 1 else hpo.Bayesian()
        space = self.convert_configspace(self._space)
        return hpo.Tuner(space, hpo.Minimize(METRIC, at="last"), strategy=strategy, seed=self._seed, progress="off")

    def ask(self) -> TrialInfo:
        """Return a new trial at the lowest fidelity, or the same one at the next."""
        if self._trial is None:
            self._trial, self._next = self.solver.ask(), 0
            if self._trial is None:
                raise StopIteration("every configuration was evaluated")
        return self.convert_to_trial(self._trial, self._levels[self._next])

    def tell(self, trial_info: TrialInfo, trial_value: TrialValue) -> None:
        """Report a value, and end the trial if the strategy stops it or its fidelity is the highest."""
        self._evaluated.append((trial_info, trial_value))
        failed = trial_value.status != StatusType.SUCCESS
        if failed:
            self._trial.fail(RuntimeError(f"carps: {trial_value.status.name}"))
            self._trial = None
            return
        level = self._levels[self._next]
        ends = self._trial.report(level, {METRIC: float(trial_value.cost)}) or level == self._levels[-1]
        self._next += 1
        if ends:
            self._trial.end()
            self._trial = None

    def get_current_incumbent(self) -> tuple[TrialInfo, TrialValue] | None:
        """Return the best of those that were evaluated at the highest fidelity so far."""
        succeeded = [each for each in self._evaluated if each[1].status == StatusType.SUCCESS]
        highest = max((info.budget or 0 for info, _ in succeeded), default=0)
        return min(
            (each for each in succeeded if (each[0].budget or 0) == highest),
            key=lambda each: each[1].cost,
            default=None,
        )
