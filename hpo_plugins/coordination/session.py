"""What one process knows of a study: its history, up to date with the storage, and its leases."""

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
from hpo_plugins.records import Progress, ReportRow, TrialRow, TrialState, Written
from hpo_plugins.storage import Storage, StudyStore
from hpo_plugins.storage.checkpoints import Checkpoints
from hpo_plugins.storage.damage import damaged
from hpo_plugins.storage.protocol import LEASE_SECONDS
from hpo_plugins.study.config import StudyConfig

T = TypeVar("T")
logger = logging.getLogger("hpo_plugins")


class Holding(Enum):
    """What this process has of an attempt; ``coordination/attempt.py`` draws how one becomes another."""

    HELD = "held"
    """It trains the trial, or visits the process that does."""
    DEFERRED = "deferred"
    """The end of the attempt could not be written; it is tried again before the next acquisition."""
    GIVEN_BACK = "given back"
    """The loop that had yielded the trial was left before it was trained."""
    OVER = "over"
    """The attempt was ended, released or lost here, or was never held."""


class Lease(Protocol):
    """The right to train one attempt at one trial, as a session keeps it."""

    number: int
    attempt: int
    holding: Holding

    def release(self) -> None:
        """Give the trial back."""

    def release_quietly(self) -> None:
        """Give the trial back, and raise nothing."""

    def end_deferred(self) -> None:
        """Write the end that could not be written before."""

    def before_fork(self) -> None:
        """Let a forked child report to the trial."""


@dataclass(frozen=True)
class LeaseTerms:
    """How leases are handled; the same in every process of one ``Tuner``.

    Args:
        retries: How often a trial is retried after its worker died or it raised one of ``retry_on``.
        retry_on: Exceptions of the user's code after which a trial is retried.
        seconds: A worker that has not renewed its leases for this long loses them.
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

    Every decision is made on the history as the storage has it, and written before it takes effect. The storage
    guarantees what must hold between processes (``storage/protocol.py``); ``lock`` separates the threads of this one.

    Args:
        config: The study's definition.
        store: The study in its storage.
        checkpoints: The checkpoint files of its trials.
        terms: How leases are handled.
        worker: This worker's name; by default one that tells where it runs.
        storage: Kept alive with the session: a study in memory ends with its storage.
        clock: Tells how long training runs take, in seconds.

    Attributes:
        leases: The attempts that are held or deferred here, by trial number.
        passed_over: Enqueued configurations, by number, that were skipped because a trial has them already.
        is_shared: Whether another process has written to the study, as far as this one has seen.
        lock: Held by whoever decides.
        answered: Notified when a report was answered, a fold has ended or an attempt is over.
        clock: Tells how long training runs take, in seconds.
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
        """Read nothing yet: the first question brings the history up to date."""
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
        self.passed_over: set[int] = set()
        self._warned: set[str] = set()
        self._acquired = threading.local()
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
        """Return ``work()`` while no other process writes to the study; what it writes takes place as a whole."""
        try:
            return self.store.exclusively(work)
        except BaseException:
            self._is_consistent = False  # the history may contain what was not written after all
            raise

    def apply(self, written: Written | None, *, is_acquisition: bool = False) -> bool:
        """Apply a write of this process to the history, and return whether it took place.

        The storage is only read if another process has written in between.
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
        """Apply a report of this process: the history contains it when it is asked for, as not every one is judged."""
        if not self._is_next(revision):
            self.refresh()
            return
        self._waiting.append(report)
        self._history.revision = revision

    def _is_next(self, revision: int) -> bool:
        return self._is_consistent and revision == self._history.revision + 1

    def warn_once(self, subject: str, message: str) -> None:
        """Log a warning, unless this process has warned of the subject in this study before."""
        if subject not in self._warned:
            self._warned.add(subject)
            logger.warning(message)

    def objective_of(self, number: int) -> Objective:
        """Return the objective by which a trial is judged."""
        return self.config.objective_of(self.config.space.definition_of(self.history[number].row.params))

    # The end of the study.

    @property
    def is_stopping(self) -> bool:
        """Whether this process is to start no more trials."""
        return self._is_stopped or is_terminating()

    def stop(self) -> None:
        """Start no more trials in this process."""
        self._is_stopped = True

    def is_done(self) -> bool:
        """Return whether the search is over: no trial to start, and none unfinished anywhere."""
        with self.lock:
            history = self.refresh()
            return self.completion_reason() is not None and (self.is_stopping or not history.unfinished)

    def completion_reason(self) -> str | None:
        """Return why no new trial will be started, in words, or None while there will be one."""
        if self._is_stopped:
            return "stop() was called"
        if is_terminating():
            return "this process was told to end"
        return self.termination_reason() or self.limit_reason()

    def termination_reason(self) -> str | None:
        """Return the termination criterion that is met, or that ``max_runtime`` has passed, or None."""
        return self.config.termination_reason(self.history, self._runtime())

    def limit_reason(self) -> str | None:
        """Return that all trials have been started, in words, or None."""
        limit = self.config.trial_limit
        if limit is None or len(self.history) < limit:
            return None
        if limit == self.config.space.size:
            return f"space exhausted: all {limit} configurations have been tried"
        return f"max_trials={limit} have been started"

    def timeout_reason(self) -> str | None:
        """Return that ``max_runtime`` has passed, in words, or None."""
        return None if self.config.max_runtime is None else self.config.timeout_reason(self._runtime())

    def _runtime(self) -> float:
        """Return for how many seconds the study has been worked on; time passes while a lease is held here."""
        return self.history.runtime + (self.clock() - self._read_at if self.held() else 0.0)

    # Leases.

    def hold(self, lease: Lease) -> None:
        """Keep a lease: renew it while this process lives, and release it when the process exits."""
        exit_on_signals()
        if self.store.outlives_process:
            release_at_exit(self)
            self._heartbeat.start()
        self._acquired.lease = lease
        if (before := self.leases.get(lease.number)) is not None:  # of an attempt that was lost
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
        """Note that this thread acquires a trial, which an interrupt may keep from ever reaching the user."""
        self._acquired.lease = None

    def abandon_acquisition(self) -> None:
        """Release what this thread has acquired since ``begin_acquisition``, and raise nothing."""
        lease, self._acquired.lease = getattr(self._acquired, "lease", None), None
        if lease is not None:
            lease.release_quietly()

    def write_ends(self) -> None:
        """Write the ends of trials that could not be written before.

        Raises:
            StorageError: They still cannot be written.
        """
        for lease in list(self.leases.values()):
            if lease.holding is Holding.DEFERRED:
                lease.end_deferred()

    def lease_seconds(self) -> float:
        """Return how long a lease of this process lasts."""
        return self.terms.seconds if self.store.outlives_process else math.inf

    def running(self) -> list[int]:
        """Return the trials that are being trained: here, or by a worker whose lease has not expired."""
        return [number for number in self.history.running if not self.is_abandoned(self.history[number].row)]

    def is_full(self) -> bool:
        """Return whether ``max_parallel`` trials are being trained."""
        limit = self.config.max_parallel
        return limit is not None and len(self.running()) >= limit

    def is_abandoned(self, row: TrialRow) -> bool:
        """Return whether nobody trains a running trial any more: its worker has released it, or is dead."""
        if self.holds(row.number):
            return False
        if row.lease_until is not None and row.worker == self.worker:  # interrupted between acquisition and lease
            return True
        if row.lease_until is not None and is_here(row.worker):  # an earlier tuner's: a notebook's cell was run again
            return not _is_held_here(row)
        return self._watch.is_abandoned(row, self.history.now, self.store.reachable_since)

    def restart(self, number: int) -> None:
        """Let an unfinished trial be trained from the start; see ``Tuner.restart``.

        It counts as another attempt, so that a worker that still trains the trial loses its lease.
        """
        with self.lock:
            row = self.refresh()[number].row
            written = self.store.update(
                number,
                row.attempts,
                state=TrialState.RUNNING,
                attempts=row.attempts + 1,
                decision=None,
                rule=None,
                detail=None,
                progress=Progress(),
                phase=0,
                lease_until=None,
            )
            if self.apply(written):
                self.checkpoints.clear(number)

    def mark_dead(self, worker: str) -> None:
        """Let other workers acquire the trials of a worker that is known to be dead, without waiting for its leases."""
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
        """Return a session for a worker of that name, which reaches the study and its files in other ways."""
        return StudySession(self.config, store, checkpoints, self.terms, worker=worker)

    def before_fork(self) -> None:
        """Let a forked child reach the study, and this process's leases."""
        self.store.before_fork()
        for lease in self.held():
            lease.before_fork()

    def after_fork(self) -> None:
        """Become another worker in a forked child, with nothing held."""
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
        """Return a session for a process that reports to a trial of this one."""
        return StudySession(self.config, self.store, self.checkpoints, self.terms)

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same study in the process that unpickles it; leases stay with their process."""
        return _reopen, (self.config, self.store, self.checkpoints, self.terms, self._given_worker)


_sessions: weakref.WeakValueDictionary[str, StudySession] = weakref.WeakValueDictionary()
"""The sessions of this process, by their workers' names."""


def _is_held_here(row: TrialRow) -> bool:
    """Return whether another session of this process holds a trial, or may be about to."""
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
