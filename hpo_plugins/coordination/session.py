"""One process's view of a study: its history, up to date with the storage, and its leases."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

from hpo_plugins.coordination.heartbeat import Heartbeat
from hpo_plugins.coordination.lease_watch import LeaseWatch
from hpo_plugins.coordination.process import exit_on_signals, is_terminating, release_at_exit, watch_forks
from hpo_plugins.coordination.workers import is_here, worker_name
from hpo_plugins.errors import InvalidArgument, StorageError
from hpo_plugins.history import History
from hpo_plugins.objective import Objective
from hpo_plugins.records import ReportRow, TrialRow, Written
from hpo_plugins.storage import Storage, StudyStore
from hpo_plugins.storage.checkpoints import Checkpoints
from hpo_plugins.storage.damage import damaged
from hpo_plugins.storage.protocol import LEASE_SECONDS
from hpo_plugins.study.config import StudyConfig

T = TypeVar("T")
logger = logging.getLogger("hpo_plugins")


class Holding(Enum):
    """The state of an attempt in this process; ``coordination/attempt.py`` draws the transitions."""

    HELD = "held"
    """This process trains the trial, or visits the process that does."""
    DEFERRED = "deferred"
    """The end of the attempt could not be written; it is retried before the next acquisition."""
    GIVEN_BACK = "given back"
    """The loop that yielded the trial was left before the trial was trained."""
    OVER = "over"
    """The attempt was ended, released or lost here, or was never held."""


class Lease(Protocol):
    """The session's view of a lease: the right to train one attempt at one trial."""

    number: int
    attempt: int
    holding: Holding

    def release(self) -> None:
        """Release the trial."""

    def release_quietly(self) -> None:
        """Release the trial, and raise nothing."""

    def end_deferred(self) -> None:
        """Write the deferred end."""

    def before_fork(self) -> None:
        """Prepare a forked child to report to the trial."""


@dataclass(frozen=True)
class LeaseTerms:
    """How leases are handled; the same in every process of one ``Tuner``.

    Args:
        retries: Maximum number of retries of a trial after its worker died or it raised one of ``retry_on``.
        retry_on: Exceptions of the user's code after which a trial is retried.
        seconds: Lifetime of a lease that its worker does not renew.
    """

    retries: int = 3
    retry_on: tuple[type[Exception], ...] = ()
    seconds: float = LEASE_SECONDS

    def __post_init__(self) -> None:
        given = self.retry_on
        if not isinstance(given, tuple) or not all(isinstance(e, type) and issubclass(e, Exception) for e in given):
            raise InvalidArgument(
                f"retry_on must be a tuple of exception types, such as (MemoryError,), but got retry_on={given!r}."
            )


class StudySession:
    """One process's view of a study, and its leases.

    Every decision uses the stored history, and is written before it takes effect. The storage guarantees the invariants
    between processes (``storage/protocol.py``); ``lock`` separates the threads of this process.

    Args:
        config: The study's definition.
        store: The study in its storage.
        checkpoints: The checkpoint files of its trials.
        terms: How leases are handled.
        worker: This worker's name; by default it identifies the machine and the process.
        storage: Kept alive with the session, since a study in memory ends with its storage.
        clock: Measures the duration of training runs, in seconds.

    Attributes:
        leases: The attempts that are held or deferred here, by trial number.
        skipped: Numbers of the enqueued configurations that are not tried because a trial already has them.
        is_shared: Whether this process has seen a write of another process to the study.
        lock: Held while a thread decides.
        answered: Notified after each answered report, ended fold and ended attempt.
        clock: Measures the duration of training runs, in seconds.
        must_free_memory: Whether a training run of this process has run out of memory since the last acquisition.
    """

    def __init__(
        self,
        config: StudyConfig,
        store: StudyStore,
        checkpoints: Checkpoints,
        terms: LeaseTerms,
        *,
        worker: str | None = None,
        storage: Storage | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Read nothing yet; the first call of ``refresh`` loads the history."""
        self.config = config
        self.store = store
        self.checkpoints = checkpoints
        self.terms = terms
        self.worker = worker or worker_name()
        self._history = config.new_history(checkpoints.root)
        self._waiting: list[ReportRow] = []  # reports of this process that the history does not contain yet
        self.leases: dict[int, Lease] = {}
        self.lock = threading.RLock()
        self.answered = threading.Condition(self.lock)
        self.is_shared = False
        self._is_stopped = False
        self._given_worker = worker
        self.skipped: set[int] = set()
        self._warned: set[str] = set()
        self._acquired = threading.local()
        self.must_free_memory = False
        self._watch = LeaseWatch(terms.seconds)
        self._storage = storage
        self.clock = clock
        self._read_at = clock()
        # False while the history is being changed. A Ctrl-C leaves it False, and the next read rebuilds the history: an
        # interrupted report could otherwise leave the columns of a curve with unequal lengths.
        self._is_consistent = True
        self._heartbeat = Heartbeat(self._renew, terms.seconds / 4)
        _sessions[self.worker] = self
        watch_forks(self)

    @property
    def storage(self) -> Storage | None:
        """The storage of the study, None in workers and on further ranks."""
        return self._storage

    # The history.

    @property
    def history(self) -> History:
        """The history as of the last read or write."""
        if self._waiting:
            self._apply_waiting()
        return self._history

    def _apply_waiting(self) -> None:
        with self.lock:
            self._is_consistent = False
            waiting, self._waiting = self._waiting, []
            self._history.put_reports(waiting)
            self._is_consistent = True

    def refresh(self) -> History:
        """Return the history, up to date with the storage."""
        with self.lock:
            if not self._is_consistent:
                self._waiting = []
                self._history = self.config.new_history(self.checkpoints.root)
            changes = self.store.changes(self.history.revision)
            if changes.revision < self.history.revision:
                raise StorageError(
                    f"{self.store.where} is an earlier state of it: it has {changes.revision} writes, and this process "
                    f"knows of {self.history.revision}. Its files were replaced or damaged while they were in use. Put "
                    "the right ones back, or start the script again: it continues with what is there."
                )
            self.is_shared |= changes.revision > self._history.revision
            self._is_consistent = False
            try:
                self._history.apply(changes)
            except InvalidArgument as error:
                raise damaged(self.store.where, "it", error) from error
            self._is_consistent = True
            self._read_at = self.clock()
            return self.history

    def exclusively(self, work: Callable[[], T]) -> T:
        """Return ``work()``, run as one transaction while no other process can write."""
        try:
            return self.store.exclusively(work)
        except BaseException:
            self._is_consistent = False  # the history may contain writes that were rolled back
            raise

    def apply(self, written: Written | None, *, is_acquisition: bool = False) -> bool:
        """Apply a write of this process to the history, and return whether the storage accepted it.

        It reads the storage only if another process has written in between.
        """
        if written is None:
            return False
        if not self._is_next(written.revision):
            self.refresh()
            return True
        self._is_consistent = False
        self.history.put_trial(written.row)
        self.history.acquisitions += is_acquisition
        self.history.revision = written.revision
        self._is_consistent = True
        return True

    def apply_report(self, report: ReportRow, revision: int) -> None:
        """Apply a report of this process; the history takes it in on the next read, if it is ever needed."""
        if not self._is_next(revision):
            self.refresh()
            return
        self._waiting.append(report)
        self._history.revision = revision

    def _is_next(self, revision: int) -> bool:
        return self._is_consistent and revision == self._history.revision + 1

    def warn_once(self, subject: str, message: str) -> None:
        """Log a warning once per subject in this study and process."""
        if subject not in self._warned:
            self._warned.add(subject)
            logger.warning(message)

    def objective_of(self, number: int) -> Objective:
        """Return the objective by which a trial is judged."""
        return self.config.objective_of(self.config.space.definition_of(self.history[number].row.params))

    # The end of the study.

    @property
    def is_stopping(self) -> bool:
        """Whether this process must start no more trials."""
        return self._is_stopped or is_terminating()

    def stop(self) -> None:
        """Start no more trials in this process."""
        self._is_stopped = True

    def is_done(self) -> bool:
        """Return whether the search is over: no trial is left to start, and none is unfinished anywhere."""
        with self.lock:
            history = self.refresh()
            return self.completion_reason() is not None and (self.is_stopping or not history.unfinished)

    def completion_reason(self) -> str | None:
        """Return in words why no new trial will be started, or None if one may be."""
        if self._is_stopped:
            return "stop() was called"
        if is_terminating():
            return "this process was told to end"
        return self.termination_reason() or self.limit_reason()

    def termination_reason(self) -> str | None:
        """Return in words the met termination criterion or the passed ``max_runtime``, or None."""
        return self.config.termination_reason(self.history, self._runtime())

    def limit_reason(self) -> str | None:
        """Return in words that all trials have been started, or None."""
        limit = self.config.trial_limit
        if limit is None or len(self.history) < limit:
            return None
        if limit == self.config.space.size:
            return f"space exhausted: all {limit} configurations have been tried"
        return f"max_trials={limit} have been started"

    def timeout_reason(self) -> str | None:
        """Return in words that ``max_runtime`` has passed, or None."""
        return None if self.config.max_runtime is None else self.config.timeout_reason(self._runtime())

    def _runtime(self) -> float:
        """Return the study's runtime in seconds; it grows while this process holds a lease."""
        return self.history.runtime + (self.clock() - self._read_at if self.held() else 0.0)

    # Leases.

    def hold(self, lease: Lease) -> None:
        """Register a lease: renew it while this process lives, and release it when the process exits."""
        exit_on_signals()
        if self.store.outlives_process:
            release_at_exit(self)
            self._heartbeat.start()
        self._acquired.lease = lease
        if (before := self.leases.get(lease.number)) is not None:  # lease of a lost attempt
            before.holding = Holding.OVER
        self.leases[lease.number] = lease
        lease.holding = Holding.HELD

    def held(self) -> list[Lease]:
        """Return the leases that this process holds."""
        return [lease for lease in list(self.leases.values()) if lease.holding is Holding.HELD]

    def holds(self, number: int) -> bool:
        """Return whether this process holds a trial."""
        lease = self.leases.get(number)
        return lease is not None and lease.holding is Holding.HELD

    def begin_acquisition(self) -> None:
        """Note that this thread acquires a trial; an interrupt may prevent that it reaches the user."""
        self._acquired.lease = None

    def abandon_acquisition(self) -> None:
        """Release the trials that this thread has acquired since ``begin_acquisition``, and raise nothing."""
        lease, self._acquired.lease = getattr(self._acquired, "lease", None), None
        if lease is not None:
            lease.release_quietly()

    def write_ends(self) -> None:
        """Write the deferred ends of trials.

        Raises:
            StorageError: They still cannot be written.
        """
        for lease in list(self.leases.values()):
            if lease.holding is Holding.DEFERRED:
                lease.end_deferred()

    def lease_seconds(self) -> float:
        """Return the lifetime of this process's leases in seconds."""
        return self.terms.seconds if self.store.outlives_process else math.inf

    def running(self) -> list[int]:
        """Return the trials in training: here, or by a worker whose lease has not expired."""
        return [number for number in self.history.running if not self.is_abandoned(self.history[number].row)]

    def is_full(self) -> bool:
        """Return whether ``max_parallel`` trials are being trained."""
        limit = self.config.max_parallel
        return limit is not None and len(self.running()) >= limit

    def is_abandoned(self, row: TrialRow) -> bool:
        """Return whether a running trial is abandoned: its worker has released it or is dead."""
        if self.holds(row.number):
            return False
        if row.lease_until is not None and row.worker == self.worker:  # interrupted between acquisition and lease
            return True
        if row.lease_until is not None and is_here(row.worker):  # an earlier tuner's: a notebook cell was rerun
            return not _is_held_here(row)
        return self._watch.is_abandoned(row, self.history.now, self.store.reachable_since)

    def mark_dead(self, worker: str) -> None:
        """Make the trials of a dead worker available at once, without waiting for its leases to expire."""
        with self.lock:
            history = self.refresh()
            for number in history.running:
                row = history[number].row
                if row.worker == worker and row.lease_until is not None:
                    failed = row.failed_attempts + 1
                    self.apply(self.store.update(number, row.attempts, lease_until=None, failed_attempts=failed))

    def release_all(self) -> None:
        """Release every lease, at the end of the process."""
        with self.lock:
            self.write_ends()
            for lease in self.held():
                lease.release()

    def _renew(self) -> None:
        with self.lock:
            held = [(lease.number, lease.attempt) for lease in self.held()]
        try:
            if held:
                self.store.renew(held, self.terms.seconds)
        except StorageError as error:  # the next beat tries again; a lease outlasts three missed ones
            logger.warning("leases could not be renewed: %s", error)

    # Other processes.

    def for_worker(self, store: StudyStore, checkpoints: Checkpoints, worker: str) -> StudySession:
        """Return a session for a worker of that name with its own access to the study and its files."""
        return StudySession(self.config, store, checkpoints, self.terms, worker=worker)

    def before_fork(self) -> None:
        """Prepare a forked child to reach the study and this process's leases."""
        self.store.before_fork()
        for lease in self.held():
            lease.before_fork()

    def after_fork(self) -> None:
        """Become another worker in a forked child, without leases."""
        self.store = self.store.after_fork()
        self.worker = worker_name()
        _sessions[self.worker] = self
        for lease in self.leases.values():
            lease.holding = Holding.OVER
        self.leases = {}
        self.lock = threading.RLock()
        self.answered = threading.Condition(self.lock)
        self._is_consistent = False
        self._heartbeat = Heartbeat(self._renew, self.terms.seconds / 4)

    def for_visitor(self) -> StudySession:
        """Return a session for a process that reports to a trial of this process."""
        return StudySession(self.config.for_visitor(), self.store, self.checkpoints, self.terms)

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same study in the process that unpickles it; leases stay with their process."""
        return _reopen, (self.config, self.store, self.checkpoints, self.terms, self._given_worker)


_sessions: weakref.WeakValueDictionary[str, StudySession] = weakref.WeakValueDictionary()
"""The sessions of this process, by their workers' names."""


def _is_held_here(row: TrialRow) -> bool:
    """Return whether another session of this process holds a trial or may be acquiring it."""
    session = _sessions.get(row.worker)
    if session is None:
        return False
    if not session.lock.acquire(blocking=False):  # it may be acquiring the trial now
        return True
    try:
        return session.holds(row.number)
    finally:
        session.lock.release()


def _reopen(
    config: StudyConfig, store: StudyStore, checkpoints: Checkpoints, terms: LeaseTerms, worker: str | None
) -> StudySession:
    return StudySession(config, store, checkpoints, terms, worker=worker)
