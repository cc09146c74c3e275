"""The tuner: the search as an iterable of trials."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hpo_plugins._validation import non_empty_string, path_like, refusal, whole_number
from hpo_plugins.coordination.adding import add, finished_trial
from hpo_plugins.coordination.opening import load_study, open_study
from hpo_plugins.coordination.session import LeaseTerms
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.execution.base import Executor, Loop, Train
from hpo_plugins.execution.loop import TrialLoop
from hpo_plugins.execution.rank_follower import follow_rank_zero
from hpo_plugins.objective import Goals, Limit, Objective, check_limits, split_objectives
from hpo_plugins.records import TrialRecord
from hpo_plugins.space import Parameter, Space
from hpo_plugins.space.valid import constraint
from hpo_plugins.storage import Storage
from hpo_plugins.storage.checkpoints import CheckpointPolicy
from hpo_plugins.storage.redact import redacted
from hpo_plugins.strategies import Random, StoppingRule, Strategy
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.study.termination import Criterion
from hpo_plugins.study.warm_start import Parent, Parents, WarmStart
from hpo_plugins.trial import Trial
from hpo_plugins.tuner.acting import StudyActions
from hpo_plugins.tuner.callbacks import CallbackObserver, TunerCallback, check_callbacks
from hpo_plugins.tuner.confirming import open_confirmation
from hpo_plugins.tuner.results import StudyResults
from hpo_plugins.view.progress import Progress, ProgressMode, check_mode

DEFAULT_NAME = "default"


class Tuner(StudyResults, StudyActions):
    """A search over configurations: iterate over it and train each trial that it yields.

    The loop ends each trial after its training. If the training run raises, the trial is FAILED with that error and the
    exception propagates unchanged; if it is interrupted, the trial is released for another worker. While only other
    workers' results can bring more work, the loop waits. Start the same script again, or in several processes at
    once, with the same ``storage`` and ``name``: they share the search.

    Args:
        space: Parameter names to ``Continuous``, ``Integer``, ``Ordinal`` or ``Categorical``.
        objective: ``Minimize(metric)`` or ``Maximize(metric)``: the only place where the metric is named. Or a list
            of several: the search then looks for the trials that no other one dominates (``best_trials``). Name first
            one that your training reports at every epoch. Two or three are usual; more need many trials.
        strategy: A strategy, such as ``Hyperband(max_resource=81)``; ``Random()`` by default.
        max_trials: Maximum number of trials, over all workers and runs; None for no limit.
        max_runtime: Maximum seconds of work on the study, over all runs; None for no limit. Time counts while
            any process trains, not between runs. When it has passed, training runs stop at their next report.
        max_trial_seconds: Maximum seconds that one trial trains, over all its attempts and folds; the time that it is
            paused does not count. Its training run stops at its next report. With ``run(workers=)``, a worker whose
            trial reports nothing for this long and half a minute more is ended and replaced, and the trial is FAILED.
        max_parallel: Maximum number of trials in training at the same time, over all processes; None for no limit.
        stop_when: ``TargetReached(value)``, ``NotImproving(trials)`` or ``Converged()``: any of them ends the search.
            Running training runs continue to their own end; paused ones are not resumed.
        constraints: Limits on outcomes, such as ``[AtMost("latency_ms", 20), AtLeast("recall", 0.9)]``. The metrics
            come with ``trial.report``, at any epoch, or once with ``trial.record``. Only trials that meet them all can
            be the best, by their epochs that do. The surrogate learns which configurations meet them, and a training
            run that cannot is stopped. With folds, the means count.
        early_stopping: ``MedianRule()``, for a strategy that does not stop training runs itself: Grid, Random, or
            Bayesian without ``max_resource``.
        retries: Maximum number of retries of a trial after its worker died; then it is FAILED.
        retry_on: Exceptions of your own code after which a trial is retried too, such as a lost connection;
            ``retries`` limits both together. A trial that ran out of memory is retried only if such an error is listed
            itself, as ``MemoryError`` or ``torch.OutOfMemoryError``, and not only ``RuntimeError``.
        checkpoints: ``"auto"`` saves training runs when they are paused, and while they run if another process could
            continue them, for at most 5 % of the time; it deletes checkpoints that are no longer needed, except the
            best trial's last one. ``"best"`` also saves each epoch that is the study's best so far, for the model of
            the best trial at its best epoch (``best_trial.best_checkpoint``); its cost is one save for each
            improvement, however long that takes. ``"keep"`` deletes none. ``"pauses"`` saves paused training runs only.
        checkpoint_dir: The folder for checkpoints, shared by all machines that train. By default it is beside a SQLite
            file, or in the working directory if the storage is a server.
        seed: Fixes every suggestion; None draws a seed and stores it with the study.
        storage: Path of a SQLite file, a SQLAlchemy URL, or None to keep the study in memory.
        name: The study's name; a storage can hold many studies.
        points_to_evaluate: Your own configurations, such as the defaults that you use today: they are tried first, in
            this order, each once over all processes, and learned from like any other. ``[{"learning_rate": 1e-3}]``
            may leave parameters to the strategy. They are part of ``max_trials``.
        valid: Which configurations may be tried: an expression such as ``"num_leaves < 2 * max_depth"``, which is
            stored with the study, or a function of the configuration, ``lambda p: p["low"] < p["high"]``, which is not
            stored and must be given again to continue the study. In an expression, a condition that names an inactive
            parameter counts as met; those that ``and`` joins count one by one.
        warm_start: 1 to 5 earlier studies that guide this one: tuners, paths of storages, or a ``WarmStart``. Their
            trials are copied when the study is created.
        notes: JSON to store with the study; the search ignores it.
        callbacks: ``TunerCallback`` objects, called for each trial that ends: ``TensorBoardCallback``,
            ``MLflowCallback`` and ``WandbCallback`` of ``hpo_plugins.integrations``, or your own.
        progress: What is shown while the search runs: ``"auto"``, a live view in a terminal (with rich) or a notebook,
            otherwise a line every half minute; ``"live"``, ``"plain"`` or ``"off"``. The environment variable
            ``HPO_PLUGINS_PROGRESS`` replaces it.

    ``max_trials``, ``max_runtime``, ``max_trial_seconds``, ``max_parallel`` and ``stop_when`` bound the search without
    changing any trial's configuration, so they may differ between runs. Everything else defines the study.

    Attributes:
        space: The search space.
        objective: The objective, the first one of several.
        objectives: All objectives.
        constraints: The limits on outcomes.
        strategy: The strategy.
        seed: The seed.
        name: The study's name.

    Raises:
        InvalidArgument: An argument is wrong, or the strategy does not fit the space or the limits.
        StudyMismatch: The stored study has another space, objective, strategy, seed or other parents.
        StorageError: The storage cannot be opened.
    """

    def __init__(
        self,
        space: Mapping[str, Parameter],
        objective: Objective | Sequence[Objective],
        *,
        strategy: Strategy | None = None,
        max_trials: int | None = None,
        max_runtime: float | None = None,
        max_trial_seconds: float | None = None,
        max_parallel: int | None = None,
        stop_when: Sequence[Criterion] = (),
        constraints: Sequence[Limit] = (),
        early_stopping: StoppingRule | None = None,
        retries: int = 3,
        retry_on: tuple[type[Exception], ...] = (),
        checkpoints: CheckpointPolicy = "auto",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        storage: str | os.PathLike[str] | Storage | None = None,
        name: str = DEFAULT_NAME,
        points_to_evaluate: Sequence[Mapping[str, Any]] = (),
        valid: str | Callable[[dict[str, Any]], bool] | None = None,
        warm_start: WarmStart | Sequence[Tuner | str | os.PathLike[str]] | None = None,
        notes: Mapping[str, Any] | None = None,
        callbacks: Sequence[TunerCallback] = (),
        progress: ProgressMode | bool = "auto",
    ) -> None:
        """Check all arguments, and create the study or join it."""
        first, further = split_objectives(objective)
        config = StudyConfig(
            space=_constrained(space, valid),
            objective=first,
            further_objectives=further,
            constraints=constraints,  # type: ignore[arg-type]  # its rule makes a tuple of it
            strategy=Random() if strategy is None else strategy,
            early_stopping=early_stopping,
            seed=secrets.randbits(32) if seed is None else whole_number("seed", seed, at_least=0),
            max_trials=max_trials,
            max_runtime=max_runtime,
            max_trial_seconds=max_trial_seconds,
            max_parallel=max_parallel,
            stop_when=stop_when,
            points_to_evaluate=points_to_evaluate,
            parents=_copy_parents(warm_start, _metrics_of(first, further, constraints)),
            notes=notes,
        )
        self.name = non_empty_string("name", name)
        if "\0" in name:
            raise refusal("name", name, "a string without NUL")
        if checkpoint_dir is not None:
            checkpoint_dir = path_like("checkpoint_dir", checkpoint_dir)
        mode, callbacks = check_mode(progress), check_callbacks(callbacks)
        self._mode = mode
        terms = LeaseTerms(whole_number("retries", retries, at_least=0), retry_on)
        key = f"{name} in {redacted(storage)}"
        follower = follow_rank_zero(config, key, checkpoints, terms, storage, name)
        if follower is not None:
            self._bind(follower)
            return
        session = open_study(
            config,
            name,
            storage,
            keeps_seed=seed is None,
            checkpoint_dir=checkpoint_dir,
            policy=checkpoints,
            terms=terms,
        )
        loop = TrialLoop(session, key)
        self._bind(loop)
        loop.observers = (Progress(self._view, mode),)
        if callbacks:
            loop.observers += (CallbackObserver(self, session, callbacks),)

    @classmethod
    def load(
        cls,
        storage: str | os.PathLike[str] | Storage,
        name: str | None = None,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        valid: Callable[[dict[str, Any]], bool] | None = None,
    ) -> Tuner:
        """Return a stored study: its definition and its trials.

        Args:
            storage: Where it is stored.
            name: Its name; None if the storage holds only one study.
            checkpoint_dir: The folder for checkpoints, if the study was given one.
            valid: The function that the study was made with as ``valid``. It is needed to continue the search, not to
                read the results.

        Raises:
            InvalidArgument: ``valid`` is no function, or the study was made without one.
            StudyNotFound: There is no such study, or ``name`` is None and there are several.
            StorageError: The storage does not exist or cannot be opened.
        """
        name, session = load_study(storage, name, checkpoint_dir, constraint(valid))
        return _attach(name, TrialLoop(session, f"{name} in {redacted(storage)}"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Work on the same study in the process that unpickles it."""
        return _attach, (self.name, self._loop)

    def __iter__(self) -> Iterator[Trial]:
        """Iterate over the trials of the search, each after the training run of the one before."""
        return iter(self._loop)

    def run(self, train: Train, workers: int | Executor = 1, *, devices_per_worker: int | None = None) -> None:
        """Train the whole search: ``train(trial)`` is the body of the loop.

        A trial that runs out of memory is FAILED for that reason. Memory is freed, and the search continues; the
        surrogate then avoids configurations that need more memory than there is.

        Args:
            train: Trains one trial. With several workers it must be a function that other processes can import.
            workers: Number of processes that train. 1 is this process; with more, this process starts them, each with
                its share of the cores and of the GPUs, and replaces those that die. Or an executor, such as
                ``RayWorkers`` of ``hpo_plugins.integrations.ray``.
            devices_per_worker: GPUs that each of several workers sees, 1 by default; ``trial.devices`` names them. If
                there are too few, several workers have the same ones. ``CUDA_VISIBLE_DEVICES``,
                ``HIP_VISIBLE_DEVICES`` or ``ROCR_VISIBLE_DEVICES`` say which ones are divided, otherwise all are.

        Raises:
            InvalidArgument: ``workers`` is not a number from 1 on, ``train`` cannot be pickled for several workers, or
                there are not as many GPUs as one worker is to have.
            WorkerError: Workers cannot be started.
            Exception: What ``train`` raised, unless it is one of ``retry_on`` or an out-of-memory error; its trial is
                FAILED, and the other workers have finished theirs. An out-of-memory error is raised, too, if the first
                five trials end so. To skip a configuration, call ``trial.fail(error)`` in ``train``.
        """
        if not callable(train):
            raise InvalidArgument(f"train must be a function of a trial, but got train={train!r}.")
        count = workers if hasattr(workers, "run") else whole_number("workers", workers, at_least=1)
        if devices_per_worker is not None:
            devices_per_worker = whole_number("devices_per_worker", devices_per_worker, at_least=1)
            if not isinstance(count, int) or count == 1:
                raise refusal(
                    "devices_per_worker",
                    devices_per_worker,
                    "None unless workers= is a number from 2 on",
                    "One worker is this process, which sees all devices; RayWorkers has num_gpus=.",
                )
        self._loop.run(train, count, devices_per_worker)

    def ask(self) -> Trial | None:
        """Return the next trial to train, or None if there is nothing to train now (see ``done``).

        The caller ends it with ``trial.end()`` or ``trial.fail(error)``.

        Raises:
            StorageError: The storage cannot be reached.
        """
        try:
            return self._loop.acquire()
        except BaseException:  # also an interrupt while the trial is on its way to the caller
            self._loop.abandon_acquisition()
            raise

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Enqueue a configuration of your own, to be tried next in this process or another one of the study.

        Configurations that were enqueued are tried in that order, after those of ``points_to_evaluate`` and before the
        strategy's next one.

        Args:
            params: Name to value; the strategy chooses the others.

        Raises:
            InvalidArgument: The space has no such configuration, or it was tried or is enqueued.
            StorageError: The storage cannot be reached.
        """
        self._loop.enqueue(params)

    def add(self, params: Mapping[str, Any], curve: Mapping[int, float] | Sequence[float] | float) -> TrialRecord:
        """Add a trial that was trained elsewhere, and return its record; the strategy learns from it.

        It takes the next number, and counts towards ``max_trials``. Other processes see it as a whole.

        Args:
            params: Its complete configuration.
            curve: Epoch to the objective's value; or the values of epochs 1, 2, 3 and so on; or one number, the value
                of a whole training run (``max_resource`` epochs, or one if the strategy has none). A value that is not
                finite fails the trial.

        Raises:
            InvalidArgument: The space has no such configuration, or the curve is none.
            StorageError: The storage cannot be reached.
        """
        session = self._loop.session
        trial = finished_trial(session.config, params, curve)
        number = add(session, trial)
        return self._loop.history().record(number)

    def confirm(self, top: int = 3, repeats: int = 5, confidence: float = 0.95) -> Tuner:
        """Train the best trials again with other seeds, until it is clear enough which one is the best.

            for trial in tuner.confirm(top=3, repeats=5):
                train(trial.params, seed=trial.seed)  # the body of the search's loop

        No training run is stopped early. Each finalist is trained twice, then those between which it is least clear,
        until one is the best with probability ``confidence`` or all have ``repeats``. ``best_trial`` is then the
        confirmed one, and ``confirmation`` has the mean of each. The trials are those of a second study in the same
        storage, which survives a kill and can be shared by workers, as the search itself.

        Args:
            top: Number of finalists: the best completed trials.
            repeats: Maximum number of training runs of each.
            confidence: From 0.5 to below 1.

        Returns:
            The second study: iterate over it, or call its ``run(train, workers=)``.

        Raises:
            InvalidArgument: An argument is wrong, or the search has several training definitions.
            NothingReported: No trial has a value.
        """
        name, session = open_confirmation(StudyResults._view(self), self._loop.session, top, repeats, confidence)
        loop = TrialLoop(session, f"{name} in {redacted(session.storage)}")
        tuner = _attach(name, loop)
        loop.observers = (Progress(tuner._view, self._mode),)
        return tuner

    def _as_parent(self, metrics: Sequence[str] = ()) -> Parent:
        """Return a copy of this study for another one to start from, with the metrics of that one's goals."""
        running = self._loop.session.running
        return Parent.of(self.name, self.space, self.objective, self.trials, running(), metrics)


def _constrained(space: Mapping[str, Parameter], valid: object) -> Space:
    given = space if isinstance(space, Space) else Space(space)
    return given if valid is None else given.constrained(constraint(valid))


def _attach(name: str, loop: Loop) -> Tuner:
    tuner = Tuner.__new__(Tuner)
    tuner.name = name
    tuner._mode = check_mode("auto")
    tuner._bind(loop)
    return tuner


def _metrics_of(first: Objective, further: Sequence[Objective], constraints: object) -> tuple[str, ...]:
    """Return the metrics of several goals, none of one."""
    limits = check_limits("constraints", constraints)
    return Goals((first, *further), limits).metrics if further or limits else ()


def _copy_parents(warm_start: object, metrics: Sequence[str]) -> Parents | None:
    """Return copies of the studies that ``warm_start`` names, with these metrics."""
    if warm_start is None:
        return None
    given = warm_start if isinstance(warm_start, WarmStart) else WarmStart(warm_start)  # type: ignore[arg-type]  # it checks
    tuners = [parent if isinstance(parent, Tuner) else Tuner.load(parent) for parent in given.parents]
    return Parents(given.identical, tuple(tuner._as_parent(metrics) for tuner in tuners))
