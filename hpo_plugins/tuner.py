"""What the user holds: the search as an iterable of trials."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo_plugins._validation import whole_number
from hpo_plugins.coordination.coordinator import Coordinator
from hpo_plugins.errors import InvalidArgument, NothingReported, StorageError, StudyNotFound
from hpo_plugins.execution import loop_exit
from hpo_plugins.execution import ranks as relay
from hpo_plugins.execution.local import Engine, LocalWorkers, Train
from hpo_plugins.history import History
from hpo_plugins.objective import Objective
from hpo_plugins.records import TrialRecord
from hpo_plugins.space import Parameter, Space
from hpo_plugins.storage import Storage, StudyStore, open_storage
from hpo_plugins.storage.checkpoints import Checkpoints, Keeping, folder_name
from hpo_plugins.strategies import Judge, Random, Strategy
from hpo_plugins.study.config import LIMITS, Study, check_same
from hpo_plugins.study.summary import summarize
from hpo_plugins.study.termination import Criterion
from hpo_plugins.study.warm_start import Parent, Parents, WarmStart
from hpo_plugins.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("hpo_plugins")

DEFAULT_NAME = "default"
POLL_SECONDS = 0.5


class Tuner:
    """A search over configurations; iterate over it and train each trial it yields.

    The loop ends each trial when its body is over, marks it FAILED with its error when the body raises (the
    exception goes on unchanged), and gives it back when the run is interrupted. While only other workers' results can
    bring more work, it waits. Start the same script again, or in several processes at once, with the same
    ``storage`` and ``name``: they share the search.

    Args:
        space: Parameter names to ``Continuous``, ``Integer`` or ``Categorical``.
        objective: ``Minimize(metric)`` or ``Maximize(metric)``; the one place where the metric is named.
        strategy: ``Grid()``, ``Random()`` or ``Hyperband(...)``.
        max_trials: How many trials to start in all, by all workers and runs together; None sets no limit.
        max_runtime: For how many seconds to work on the study, all runs together; None sets no limit. Time counts
            while any process trains a trial, not between runs. Then trainings stop at their next report.
        max_parallel: How many trials may be trained at once, by all processes together; None sets no limit.
        stop_when: ``TargetReached(value)``, ``NotImproving(trials)``, ``Converged()``: any of them ends the search;
            trainings under way go on to their own end, paused ones do not go on.
        early_stopping: ``MedianRule()`` beside Grid or Random.
        retries: How often a trial is handed out again after its worker vanished; then it is FAILED.
        retry_on: Exceptions of your own code after which a trial is handed out again too, such as an out-of-memory
            error; none by default. They share the count of ``retries``.
        checkpoints: ``"auto"``: trainings are saved when they are paused, and from time to time while they run where
            another process could go on with them, at a cost of at most 5 %; what can no longer be used is deleted,
            except the best trial's last. ``"keep"`` deletes none. ``"pauses"`` saves paused trainings only.
        checkpoint_dir: The folder for checkpoints, one that all machines see when several train; by default beside
            a SQLite file, in the working directory for a server.
        seed: Fixes every suggestion; None draws one and stores it with the study.
        storage: A path of a SQLite file, a SQLAlchemy URL, or None to keep the study in memory.
        name: The study's name; one storage holds many.
        warm_start: 1 to 5 earlier studies that guide this one: tuners, paths of storages, or a ``WarmStart``. Their
            trials are copied when the study is made.
        notes: JSON to keep with the study; the search does not look at it.

    ``max_trials``, ``max_runtime``, ``max_parallel`` and ``stop_when`` bound the search without changing what trial n
    is, so they may differ from run to run. Everything else defines the study.

    Attributes:
        space: The search space.
        objective: The objective.
        strategy: The strategy.
        seed: The seed in force.
        name: The study's name.

    Raises:
        InvalidArgument: An argument is wrong, or the strategy does not fit the space or the limits.
        StudyMismatch: The stored study has another space, objective, strategy, seed or other parents.
        StorageError: The storage cannot be opened.
    """

    def __init__(
        self,
        space: Mapping[str, Parameter],
        objective: Objective,
        *,
        strategy: Strategy | None = None,
        max_trials: int | None = None,
        max_runtime: float | None = None,
        max_parallel: int | None = None,
        stop_when: Sequence[Criterion] = (),
        early_stopping: Judge | None = None,
        retries: int = 3,
        retry_on: tuple[type[Exception], ...] = (),
        checkpoints: Keeping = "auto",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        storage: str | os.PathLike[str] | Storage | None = None,
        name: str = DEFAULT_NAME,
        warm_start: WarmStart | Sequence[Tuner | str | os.PathLike[str]] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Check everything, and open the study or make it."""
        whole_number("retries", retries, at_least=0)
        _check_exceptions(retry_on)
        if seed is not None:
            whole_number("seed", seed, at_least=0)
        if not isinstance(name, str) or not name:
            raise InvalidArgument(f"name must be a non-empty string, but got name={name!r}.")
        study = Study(
            space=space if isinstance(space, Space) else Space(space),
            objective=objective,
            strategy=Random() if strategy is None else strategy,
            early_stopping=early_stopping,
            seed=secrets.randbits(32) if seed is None else seed,
            max_trials=max_trials,
            max_runtime=max_runtime,
            max_parallel=max_parallel,
            stop_when=stop_when,  # type: ignore[arg-type]  # the study makes a tuple of it
            parents=_parents(warm_start),
            notes=notes,
        )
        self.name = name
        self._key = f"{name} in {storage}"
        self._leader = relay.leader()
        if self._leader is not None:  # a further rank of rank 0's script: rank 0's study is this one's
            store = self._leader.store(self._key)
            self._bind(Coordinator(study, store, checkpoints=Checkpoints("", checkpoints), retries=retries))
            return
        place = open_storage(storage)
        store = place.open(name, study.to_json())
        given = study.to_json() | ({"seed": store.definition["seed"]} if seed is None else {})
        check_same(store.definition, given, name)
        given["parents"] = store.definition["parents"]  # as they were when the study was made
        given["notes"] = store.definition["notes"] if notes is None else given["notes"]
        if any(store.definition[part] != given[part] for part in (*LIMITS, "notes")):
            store.define(given)
        root = place.checkpoint_root(name) if checkpoint_dir is None else Path(checkpoint_dir) / folder_name(name)
        kept = Checkpoints(Path(root).absolute(), checkpoints)
        study = Study.from_json(given)
        self._storage = place  # a study in memory is gone with it
        self._bind(Coordinator(study, store, checkpoints=kept, retries=retries, retry_on=retry_on))

    def _bind(self, coordinator: Coordinator) -> None:
        study = coordinator.study
        self.space, self.objective, self.strategy, self.seed = study.space, study.objective, study.strategy, study.seed
        self._coordinator = coordinator
        self._followed = 0
        self._changed = threading.Event()
        self._hand_outs = relay.LEADER.open(self._key, coordinator.store)

    @classmethod
    def load(
        cls,
        storage: str | os.PathLike[str] | Storage,
        name: str | None = None,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
    ) -> Tuner:
        """Return a stored study: its definition and its trials.

        Args:
            storage: Where it was stored.
            name: Its name; None where the storage holds one study only.
            checkpoint_dir: The folder for checkpoints, if the study was given one.

        Raises:
            StudyNotFound: There is no such study, or ``name`` is None and there are several.
            StorageError: The storage does not exist or cannot be opened.
        """
        if isinstance(storage, str | os.PathLike) and "://" not in os.fspath(storage) and not os.path.exists(storage):  # noqa: PTH110
            raise StudyNotFound(
                f"No storage at {os.fspath(storage)}: there is no such file. Give the path that the Tuner got."
            )
        place = open_storage(storage)
        names = place.names()
        if name is None:
            if len(names) != 1:
                raise StudyNotFound(
                    f"name must say which study to load; {storage} holds {', '.join(map(repr, names)) or 'none'}."
                )
            (name,) = names
        store = place.open(name, None)
        tuner = cls.__new__(cls)
        tuner.name, tuner._key, tuner._leader = name, f"{name} in {storage}", None
        root = place.checkpoint_root(name) if checkpoint_dir is None else Path(checkpoint_dir) / folder_name(name)
        study = Study.from_json(store.definition)
        tuner._storage = place
        tuner._bind(Coordinator(study, store, checkpoints=Checkpoints(Path(root).absolute()), retries=3))
        return tuner

    def __reduce__(self) -> tuple[Any, ...]:
        """Work on the same study in the process that unpickles it."""
        return _attach, (self.name, self._key, self._coordinator)

    # The loop.

    def __iter__(self) -> Iterator[Trial]:
        """Yield the trials of the search, each when the body of the one before is over."""
        if self._leader is not None:
            yield from self._follow()
            return
        frame, handled = sys._getframe(1), sys.exc_info()[1]
        while (trial := self._next()) is not None:
            relay.LEADER.announce(self._hand_outs, trial)
            try:
                yield trial
            except GeneratorExit:
                relay.LEADER.announce(self._hand_outs, None)
                if sys._getframe(1) is frame:
                    loop_exit.watch(frame, handled, lambda error, trial=trial: self._left(trial, error))  # type: ignore[misc]
                else:  # closed from elsewhere, long after its loop
                    self._left(trial, None)
                return
            self._coordinator.end(trial)
        relay.LEADER.announce(self._hand_outs, None)

    def _next(self) -> Trial | None:
        while True:
            trial = self.ask()
            if trial is not None or self.done:
                return trial
            self._changed.wait(POLL_SECONDS)  # only another worker's end, or death, can bring work

    def run(self, train: Train, workers: int | Engine = 1) -> None:
        """Train the whole search: ``train(trial)`` is the body of the loop.

        Args:
            train: Trains one trial. With several workers it is a function that other processes can import.
            workers: How many processes train. 1 is this one; more are started here, each with its share of the cores,
                and replaced when they die. Or an engine, such as ``RayWorkers`` of ``hpo_plugins.integrations.ray``.

        Raises:
            InvalidArgument: ``workers`` is not a number from 1 on, or ``train`` cannot be pickled for several.
            WorkerError: Workers cannot be started.
            Exception: What ``train`` raised, unless it is one of ``retry_on``; its trial is FAILED, and the other
                workers have finished theirs. To leave a configuration out, call ``trial.fail(error)`` in ``train``.
        """
        if not callable(train):
            raise InvalidArgument(f"train must be a function of a trial, but got train={train!r}.")
        if hasattr(workers, "run"):
            workers.run(self, train)
            return
        whole_number("workers", workers, at_least=1)
        if workers == 1 or self._leader is not None:
            self.work(train)
        else:
            LocalWorkers(workers).run(self, train)

    def work(self, train: Train) -> None:
        """Train trials in this process until the search is over: what each worker of ``run`` does."""
        if self._leader is not None:
            for trial in self._follow():
                train(trial)
            return
        try:
            while (trial := self._next()) is not None:  # type: ignore[assignment]
                relay.LEADER.announce(self._hand_outs, trial)
                try:
                    train(trial)
                except Exception as error:
                    if not self._coordinator.fail(trial, error):
                        raise
                except BaseException as interrupt:
                    self._left(trial, interrupt)
                    raise
                else:
                    self._coordinator.end(trial)
        finally:
            relay.LEADER.announce(self._hand_outs, None)

    # What engines need, such as Ray's.

    @property
    def store(self) -> StudyStore:
        """Where the study is kept."""
        return self._coordinator.store

    @property
    def checkpoints(self) -> Checkpoints:
        """Where its trials keep their checkpoints."""
        return self._coordinator.checkpoints

    def through(self, store: StudyStore, checkpoints: Checkpoints, worker: str) -> Tuner:
        """Return this search for a worker elsewhere, of that name, which reaches study and files by other ways."""
        return _attach(self.name, self._key, self._coordinator.through(store, checkpoints, worker))

    def lose(self, worker: str) -> None:
        """Let the trials of a worker that is known to be dead be handed out again at once."""
        self._coordinator.lose(worker)

    def _left(self, trial: Trial, error: BaseException | None) -> None:
        """End the trial whose body was left before its end; nothing may be raised from here."""
        try:
            if isinstance(error, Exception):
                self._coordinator.fail(trial, error)
            elif error is not None or not self._coordinator.has_reported(trial):
                self._coordinator.release(trial)
            else:
                self._coordinator.end(trial)
        except StorageError as problem:
            logger.warning("the end of trial %d was not recorded: %s", trial.number, problem)

    def _follow(self) -> Iterator[Trial]:
        """Yield the trials that rank 0 of the same script is handed; rank 0 ends them."""
        while True:
            try:
                trial = self._leader.trial(self._key, self._followed)  # type: ignore[union-attr]
            except (OSError, EOFError):  # rank 0 has ended
                return
            self._followed += 1
            self._history()
            if trial is None:
                return
            yield trial

    # Ask and tell.

    def ask(self) -> Trial | None:
        """Return the next trial to train, or None when there is nothing to hand out now (see ``done``).

        The caller ends it with ``trial.end()`` or ``trial.fail(error)``.

        Raises:
            StorageError: The storage cannot be reached.
        """
        return self._coordinator.ask()

    @property
    def done(self) -> bool:
        """Whether the search is over: no trial will be handed out any more, to anybody."""
        return self._coordinator.done()

    def stop(self) -> None:
        """Hand out no more trials in this process; trainings under way go on to their own end."""
        self._coordinator.stop()
        self._changed.set()

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` was called in this process."""
        return self._coordinator.stopped

    def restart(self, number: int) -> None:
        """Let a trial train from its start the next time it is handed out: the way out when its checkpoint is lost.

        Raises:
            InvalidArgument: There is no such trial, or it is over.
        """
        history = self._history()
        whole_number("number", number, at_least=0)
        if number not in history.unfinished:
            raise InvalidArgument(
                f"number must name a trial that is paused or running, but got number={number}. "
                f"Those are: {', '.join(map(str, sorted(history.unfinished))) or 'none'}."
            )
        self._coordinator.restart(number)

    # Results.

    @property
    def study(self) -> Study:
        """The study's whole definition, as it is stored."""
        return self._coordinator.study

    def _history(self) -> History:
        """Return the history, in step with the storage; a further rank keeps what it knew when rank 0 has ended."""
        try:
            return self._coordinator.history()
        except StorageError:
            if self._leader is None:
                raise
            return self._coordinator.last_known

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials by number, as they stand now."""
        history = self._history()
        return tuple(history.record(number) for number in range(len(history)))

    @property
    def best_trial(self) -> TrialRecord:
        """The trial with the best value, the earliest of equals; failed trials do not count.

        It spans identical parents (``WarmStart``): where ``parent`` is not None, the trial is one of theirs.

        Raises:
            NothingReported: No trial has a value yet.
        """
        best = self.study.best(self._history())
        if best is None:
            raise NothingReported(f"No trial of study {self.name!r} has a value of {self.objective.metric!r} yet.")
        return best

    @property
    def stop_reason(self) -> str | None:
        """Why no new trial will be started, in words; None while there will be."""
        self._history()
        return self._coordinator.end_of_search()

    def summary(self) -> str:
        """Return in a few lines what was found, what was trained and how trials ended."""
        ended = self.stop_reason if self.done else None
        return summarize(self._coordinator.study, self._history(), name=self.name, ended=ended)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a trial: number, state, value, epochs, a column ``params_<name>`` each, and the rest.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        import pandas as pd

        rows = [
            {"number": t.number, "state": t.state.value, "value": t.value, "epochs": t.epochs}
            | {f"params_{name}": value for name, value in t.params.items()}
            | {"stop_reason": t.stop_reason, "error": t.error, "attempts": t.attempts}
            | {"started_at": t.started_at, "ended_at": t.ended_at}
            for t in self.trials
        ]
        return pd.DataFrame(rows)


def _attach(name: str, key: str, coordinator: Coordinator) -> Tuner:
    tuner = Tuner.__new__(Tuner)
    tuner.name, tuner._key, tuner._leader = name, key, None
    tuner._bind(coordinator)
    return tuner


def _check_exceptions(retry_on: object) -> None:
    if not isinstance(retry_on, tuple) or not all(isinstance(e, type) and issubclass(e, Exception) for e in retry_on):
        raise InvalidArgument(
            f"retry_on must be a tuple of exception types, such as (MemoryError,), but got retry_on={retry_on!r}."
        )


def _parents(given: object) -> Parents | None:
    """Return the parents that ``warm_start`` names, as they are now."""
    if given is None:
        return None
    wanted = given if isinstance(given, WarmStart) else WarmStart(given)  # type: ignore[arg-type]  # it checks
    studies = []
    for place in wanted.parents:
        parent = place if isinstance(place, Tuner) else Tuner.load(place)
        records, running = parent.trials, parent._coordinator.running()
        studies.append(Parent.of(parent.name, parent.space, parent.objective, records, running))
    return Parents(wanted.identical, tuple(studies))
