"""``hpo.simulate``: which searches to simulate, and on what."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hpo_plugins import modeling
from hpo_plugins._fields import evolve
from hpo_plugins._validation import real_number, whole_number
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History
from hpo_plugins.simulation.result import Scenario, Simulation
from hpo_plugins.simulation.search import Search
from hpo_plugins.simulation.task import Task, Train, drawn, told
from hpo_plugins.space import DefinitionSpace
from hpo_plugins.space.sobol import draw
from hpo_plugins.storage import Storage
from hpo_plugins.strategies import Bayesian, Grid, Hyperband, Random, Strategy
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.surrogate.threads import single_threaded
from hpo_plugins.tuner import Tuner

if TYPE_CHECKING:
    from hpo_plugins.modeling.model import Model
    from hpo_plugins.modeling.sampled_task import SampledTask

MAX_TRIALS = 300
"""Trials of a search on a drawn task: each is drawn given all before, so the cost grows with their cube."""
DEFAULT_TRIALS = 100
"""The largest default of ``max_trials``."""


def simulate(
    study: Tuner | str | os.PathLike[str] | Storage,
    strategies: Sequence[Strategy] | None = None,
    *,
    train: Train | None = None,
    name: str | None = None,
    workers: int | Sequence[int] = 1,
    max_trials: int | None = None,
    budget: float | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> Simulation:
    """Simulate new searches on the task of an earlier study, or a similar task, before you pay for them.

        strategies = [hpo.Hyperband(min_resource=m, max_resource=81) for m in (1, 3, 9)]
        print(hpo.simulate("tuning.db", strategies, workers=[1, 4]))

    The study's surrogate describes its task with uncertainty. Each repeat draws one task that agrees with all
    observations, and searches it with the real strategies, on workers whose clock jumps from epoch to epoch: an hour of
    training takes seconds. All searches of a repeat share their task. The searches know nothing of the study.

    The simulation cannot predict what the study has not seen. In regions with few trials, drawn values may be better
    than real ones. Results favor strategies with a surrogate, because the task is drawn from the model that they use.
    No simulated training run fails.

    With ``train``, the task is a function of yours instead, and the study needs no results. This predicts, before any
    training, the course of a search with a thousand workers, and how many of them a strategy keeps busy:

        def train(params):
            return [1 / epoch + params["x"] for epoch in range(1, 28)], 2.0  # losses, and the seconds of an epoch

        print(hpo.simulate(tuner, train=train, workers=[1, 64, 1000], max_trials=10_000))

    Args:
        study: A tuner, or the storage of a study.
        strategies: The strategies to compare; by default the study's own, Random, Hyperband with several
            ``min_resource``, and Bayesian.
        train: From a configuration to the objective's values after each epoch of a full training run, and the seconds
            that an epoch takes. A value of NaN is a training run that diverges.
        name: The study's name, if the storage holds several.
        workers: Number of simultaneous training runs, one number or several to compare.
        max_trials: Trials of each search; by default as many as the study's, and at most 100. Not more than 300 without
            ``train``.
        budget: Seconds after which a search ends, None for no limit; epochs if the study's were too fast to time.
        repeats: Number of tasks to draw, or of searches on the task of ``train``; the spread shows the uncertainty.
        seed: Selects the tasks, or the searches.

    Raises:
        InvalidArgument: An argument is wrong, or a strategy does not fit the study's space, limits or epochs.
        StudyNotFound: There is no such study.
    """
    tuner = study if isinstance(study, Tuner) else Tuner.load(study, name)
    config, history = tuner.study, tuner.history
    _check_definitions(tuner.name, config)
    if config.goals is not None:
        raise InvalidArgument(
            f"simulate() needs a study with one objective and without limits, but {tuner.name!r} has "
            f"{list(config.objectives)} and constraints={list(config.constraints)}."
        )
    whole_number("seed", seed, at_least=0)
    whole_number("repeats", repeats, at_least=1)
    counts = _worker_counts(workers)
    limit = _limit(config, max_trials, len(history), MAX_TRIALS if train is None else None)
    if budget is not None:
        real_number("budget", budget, above=0, unit=" seconds")
    if train is None:
        resource = _full_training(config, history)
        tasks = _draw_tasks(_model(tuner.name, history, resource), seed, repeats)
        is_timed, seeds = tasks[0].is_timed, range(repeats)

        def task_of(repeat: int, scenario: int) -> Task:
            return drawn(tasks[repeat].fork(1 + scenario))
    else:
        own = told(train, config.objective)
        resource = len(own(draw(config.space, 0, 0)).losses)
        is_timed, seeds = True, range(seed, seed + repeats)

        def task_of(repeat: int, scenario: int) -> Task:  # noqa: ARG001 - all search the same
            return own

    configs = [_new_search(config, strategy, limit, resource) for strategy in _strategies(config, strategies, resource)]
    with _quiet():
        scenarios = tuple(
            Scenario(
                each.strategy,
                count,
                tuple(
                    Search(evolve(each, seed=own_seed), task_of(repeat, index), count, budget).run()
                    for repeat, own_seed in enumerate(seeds)
                ),
            )
            for index, (each, count) in enumerate((each, count) for each in configs for count in counts)
        )
    return Simulation(
        study=tuner.name,
        objective=config.objective,
        scenarios=scenarios,
        is_timed=is_timed,
        is_drawn=train is None,
        budget=budget,
        found=None if history.incumbent() is None else tuner.best_trial.value,
    )


def _full_training(config: StudyConfig, history: History) -> int | None:
    """Return the epochs of a full training run, None if training runs have a single value each."""
    longest = config.strategy.max_resource or max((trial.epochs for trial in history), default=0)
    return longest if longest > 1 else None


def _check_definitions(name: str, config: StudyConfig) -> None:
    if isinstance(config.space, DefinitionSpace):
        raise InvalidArgument(
            "study must have one training definition to be simulated, "
            f"but {name!r} has {len(config.space.definitions)}."
        )


@single_threaded
def _model(name: str, history: History, resource: int | None) -> Model:
    if history.n_folds:
        raise InvalidArgument(
            f"study must have trials without folds to be simulated, but those of {name!r} have {history.n_folds}."
        )
    has_values = sum(len(trial.curve) > 0 for trial in history) > 1
    model = modeling.model.fit_model(history, resource, modeling.scale.NormalScores) if has_values else None
    if model is None:
        raise InvalidArgument(
            f"study must have at least two trials with a value and a parameter that varies, but {name!r} has "
            f"{len(history)} trials. Train a few with Random() first."
        )
    return model


@single_threaded
def _draw_tasks(model: Model, seed: int, repeats: int) -> list[SampledTask]:
    return [modeling.sampled_task.SampledTask(model, seed + number) for number in range(repeats)]


def _worker_counts(workers: int | Sequence[int]) -> list[int]:
    given = workers if isinstance(workers, Sequence) and not isinstance(workers, str) else [workers]
    counts = [whole_number("workers", count, at_least=1) for count in given]
    if not counts or len(set(counts)) < len(counts):
        raise InvalidArgument(f"workers must be one number or several different ones, but got workers={workers!r}.")
    return counts


def _limit(config: StudyConfig, given: int | None, known: int, most: int | None) -> int:
    limit = (
        min(config.max_trials or known or DEFAULT_TRIALS, DEFAULT_TRIALS)
        if given is None
        else whole_number("max_trials", given, at_least=1)
    )
    if most is not None and limit > most:
        raise InvalidArgument(
            f"max_trials must be at most {most} in a simulation of a study's own task, but got max_trials={limit}. "
            "With train=, it may be larger."
        )
    return limit


def _strategies(config: StudyConfig, given: Sequence[Strategy] | None, resource: int | None) -> list[Strategy]:
    """Return what to compare: the given strategies, or the study's own and those that people choose between."""
    if given is not None:
        if isinstance(given, Strategy) or not isinstance(given, Sequence) or not given:
            raise InvalidArgument(f"strategies must be a list of strategies, but got strategies={given!r}.")
        for strategy in given:
            if not isinstance(strategy, Strategy):
                raise InvalidArgument(f"strategies must be a list of strategies, but got {strategy!r} in it.")
        return list(given)
    usual: list[Strategy] = [config.strategy, Random()]
    if resource is not None:
        usual += [Hyperband(m, resource) for m in (1, 3, 9, 27) if 3 * m <= resource][:3]
    usual.append(Bayesian(max_resource=resource))
    return [strategy for place, strategy in enumerate(usual) if strategy not in usual[:place]]


def _new_search(config: StudyConfig, strategy: Strategy, limit: int, resource: int | None) -> StudyConfig:
    """Return the definition of a search with a strategy that knows nothing of the study."""
    epochs = strategy.max_resource
    if epochs is not None and epochs > (resource or 1):
        raise InvalidArgument(
            f"max_resource must be at most {resource or 1}, the epochs of full training runs here, since nothing is "
            f"known of later ones; but got {strategy!r}."
        )
    return evolve(
        config,
        strategy=strategy,
        early_stopping=config.early_stopping if strategy == config.strategy else None,
        max_trials=None if isinstance(strategy, Grid) else limit,
        max_runtime=None,
        max_trial_seconds=None,
        max_parallel=None,
        parents=None,
        notes=None,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Log nothing about simulated trials."""
    logger = logging.getLogger("hpo_plugins")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
