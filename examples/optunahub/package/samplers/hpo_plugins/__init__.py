"""Let Optuna take the suggestions of hpo-plugins."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

import hpo_plugins as hpo

__all__ = ["HpoPluginsSampler"]
METRIC = "value"


class HpoPluginsSampler(BaseSampler):
    """A sampler whose configurations come from a strategy of hpo-plugins.

    It keeps no results: each suggestion is made from the trials of the study, those of other processes included. What
    other trials are training just now is known to the strategy, too.

    Args:
        space: The parameters with their conditions (``hpo.Continuous(..., when={...})``), by name. Without it, the
            parameters that all finished trials have are chosen together, and any other independently.
        strategy: Chooses configurations; it must not stop or pause training runs, which is the pruner's work. By
            default ``hpo.Bayesian()``.
        seed: Of the strategy and of the independent sampler. ``None``: another one each time.
        independent_sampler: Chooses parameters that are not chosen together, ``RandomSampler`` by default.

    Raises:
        ValueError: The strategy stops or pauses training runs.
    """

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        *,
        strategy: hpo.Strategy | None = None,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
    ) -> None:
        """Begin without any results."""
        self._strategy = hpo.Bayesian() if strategy is None else strategy
        if self._strategy.stops_trainings:
            raise ValueError(
                f"strategy must leave the end of training runs to the pruner, but got strategy={self._strategy!r}. "
                "Give hpo.Bayesian() or hpo.Random()."
            )
        self._space = None if space is None else dict(space)
        self._seed = seed
        self._independent = independent_sampler or RandomSampler(seed=seed)
        self._intersection = IntersectionSearchSpace()
        self._lock = threading.Lock()
        self._suggested: dict[int, dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = {**state, "_lock": threading.Lock()}

    def reseed_rng(self) -> None:
        """Reseed the independent sampler; the strategy's draws depend on the trial's number alone."""
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """Return the parameters that are chosen together."""
        if self._space is not None:
            return {name: _distribution(parameter) for name, parameter in self._space.items()}
        with self._lock:
            common = self._intersection.calculate(study)
        return {name: distribution for name, distribution in common.items() if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a configuration of these parameters: those whose conditions hold.

        Raises:
            ValueError: The study has several objectives.
        """
        if len(study.directions) > 1:
            raise ValueError(
                f"HpoPluginsSampler searches studies with one objective, but this one has {len(study.directions)}. "
                "hpo_plugins.Tuner itself takes several."
            )
        if not search_space:
            return {}
        space = self._space or {name: _parameter(each) for name, each in search_space.items()}
        with self._lock:  # of two threads, the second one knows what the first was given
            trials = [each for each in study.get_trials(deepcopy=False) if each.number != trial.number]
            tuner = self._tuner(study, space)
            for other in trials:
                self._replay(tuner, other, space)
            suggestion = tuner.ask()
            if suggestion is None:  # a finite space has been used up: let Optuna repeat what it likes
                return {}
            params = dict(suggestion.params)
            self._suggested[trial.number] = params
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value of a parameter that is not chosen together with others."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Forget what the trial was given: the study has it now."""
        self._suggested.pop(trial.number, None)
        self._independent.after_trial(study, trial, state, values)

    def _tuner(self, study: Study, space: Mapping[str, Any]) -> hpo.Tuner:
        kind = hpo.Maximize if study.direction == StudyDirection.MAXIMIZE else hpo.Minimize
        # A value that is not the best of its curve was chosen otherwise: by its last step, say.
        complete = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
        best = max if kind is hpo.Maximize else min
        is_best = all(t.value == best(t.intermediate_values.values()) for t in complete if t.intermediate_values)
        objective = kind(METRIC, at="best" if is_best else "last")
        return hpo.Tuner(space, objective, strategy=self._strategy, seed=self._seed, progress=False)

    def _replay(self, tuner: hpo.Tuner, trial: FrozenTrial, space: Mapping[str, Any]) -> None:
        """Tell the strategy about a trial, if it has a configuration of this space."""
        known = {name: value for name, value in trial.params.items() if name in space}
        curve = _curve(trial)
        try:
            if trial.state == TrialState.COMPLETE:
                tuner.add(known, curve)
            elif trial.state == TrialState.PRUNED and curve:
                tuner.enqueue(known)
                stopped = tuner.ask()
                for epoch, value in curve.items():
                    stopped.report(epoch, {METRIC: value})
                tuner.stop_trial(stopped.number)
                stopped.end()
            elif trial.state == TrialState.FAIL and known:
                tuner.add(known, math.nan)
            elif trial.state == TrialState.RUNNING and (given := {**self._suggested.get(trial.number, {}), **known}):
                tuner.enqueue(given)
                tuner.ask()  # it is running, and stays so
        except hpo.InvalidArgument:
            return  # a configuration outside of the space, incomplete, or one that runs already


def _curve(trial: FrozenTrial) -> dict[int, float]:
    """Return the reported values by epoch, from 1, with the trial's value at the end if it is none of them."""
    offset = 1 - min(trial.intermediate_values, default=1)
    curve = {step + offset: value for step, value in sorted(trial.intermediate_values.items())}
    if trial.state == TrialState.COMPLETE and trial.value not in curve.values():
        curve[max(curve, default=0) + 1] = trial.value
    return curve


def _parameter(distribution: BaseDistribution) -> Any:
    """Return Optuna's parameter as one of hpo-plugins."""
    if isinstance(distribution, CategoricalDistribution):
        return hpo.Categorical(list(distribution.choices))
    scale = "log" if distribution.log else "linear"
    if isinstance(distribution, IntDistribution):
        step = None if distribution.log or distribution.step == 1 else distribution.step
        return hpo.Integer(distribution.low, distribution.high, scale=scale, step=step)
    return hpo.Continuous(distribution.low, distribution.high, scale=scale, step=distribution.step)


def _distribution(parameter: Any) -> BaseDistribution:
    """Return a parameter of hpo-plugins as Optuna's."""
    if isinstance(parameter, hpo.Categorical | hpo.Ordinal):
        return CategoricalDistribution(list(parameter.values))
    is_log = parameter.scale == "log"
    if isinstance(parameter, hpo.Integer):
        return IntDistribution(parameter.low, parameter.high, log=is_log, step=parameter.step or 1)
    return FloatDistribution(parameter.low, parameter.high, log=is_log, step=parameter.step)
