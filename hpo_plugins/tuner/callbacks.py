"""Call a tuner's callbacks: at the start of a search, after each trial, and at the end."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hpo_plugins.coordination.session import StudySession
from hpo_plugins.coordination.workers import is_dead, worker_name
from hpo_plugins.errors import InvalidArgument, StorageError
from hpo_plugins.records import TrialRecord
from hpo_plugins.tuner.results import StudyResults

logger = logging.getLogger("hpo_plugins")

_DONE = "done"
"""The owner of a claim on a trial that was passed on."""
_MAX_FAILURES = 5
"""Failures of a callback in a row after which the other trials wait for the next check."""
_CLAIM_SECONDS = 600.0
"""Seconds that a callback may take for a trial before another process passes the trial on, too."""


class TunerCallback:
    """Base class for callbacks of a search: derive from it, and pass it with ``Tuner(callbacks=[...])``.

    It is called in the process that runs the loop, between training runs, or while that process waits for its workers.
    Each trial that ends is passed to it once, over all processes and runs, including those that ended while no process
    had the callback. An error in a callback is logged and ends neither a training run nor the search; the trial is
    passed on again later. A trial is passed on twice only if a process is killed after the call and before it stores
    the result.
    """

    @property
    def destination(self) -> str:
        """Where it writes: a trial is passed on to each destination once."""
        return type(self).__qualname__

    def on_search_begin(self, tuner: StudyResults) -> None:
        """Called when a loop over the tuner begins.

        Args:
            tuner: The search.
        """

    def on_trial_end(self, tuner: StudyResults, trial: TrialRecord) -> None:
        """Called for each trial that has ended for good. The callback must replace earlier output of ``replay`` for it.

        Args:
            tuner: The search.
            trial: The trial.
        """

    def on_search_end(self, tuner: StudyResults) -> None:
        """Called when the loop has ended, also by an exception.

        Args:
            tuner: The search.
        """

    def replay(self, tuner: StudyResults) -> None:
        """Pass a study on as a whole, whatever was passed on before, such as ``Tuner.load("tuning.db")``.

        Args:
            tuner: The study.
        """
        self.on_search_begin(tuner)
        for trial in tuner.trials:
            if trial.state.is_final:
                self.on_trial_end(tuner, trial)
        self.on_search_end(tuner)


class _Waiting(NamedTuple):
    """The trials that one callback has not received.

    Attributes:
        new: Those that had not ended at the last check.
        failed: Those that have ended, but could not be passed on.
    """

    new: set[int]
    failed: set[int]


class CallbackObserver:
    """Calls a tuner's callbacks during its loops.

    Args:
        tuner: The tuner, as callbacks get it.
        session: Its study.
        callbacks: Its callbacks.
    """

    def __init__(self, tuner: StudyResults, session: StudySession, callbacks: Sequence[TunerCallback]) -> None:
        """Call nothing yet."""
        self._tuner = tuner
        self._session = session
        self._callbacks = callbacks
        self._worker = worker_name()
        self._lock = threading.RLock()  # trials may be asked for in several threads
        self._loops = 0
        self._is_open = False
        self._is_over = False
        self._n_seen = 0
        self._waiting = [_Waiting(set(), set()) for _ in callbacks]

    def begin(self) -> None:
        """Register the start of a loop."""
        with self._lock:
            self._loops += 1
            self._open()

    def look(self) -> None:
        """Pass on the trials that have ended."""
        with self._lock:
            if self._is_over:
                return
            self._open()
            self._is_over = self._pass_on()
            if self._is_over and not self._loops:  # the user asks for trials, without a loop
                self._close()

    def end(self) -> None:
        """Pass on ended trials and, after the last loop, the end of the search."""
        with self._lock:
            self._loops -= 1
            self._pass_on(is_last=not self._loops)
            if not self._loops:
                self._close()

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            for callback in self._callbacks:
                self._call("begin of the search", callback, callback.on_search_begin, self._tuner)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            for callback in self._callbacks:
                self._call("end of the search", callback, callback.on_search_end, self._tuner)

    def _pass_on(self, *, is_last: bool = False) -> bool:
        """Pass on the trials that have ended since the last check, and return whether the search is over.

        Each check retries one of the trials that could not be passed on, and the last check retries all of them. A
        callback that fails too often in a row is skipped until the next check, since each attempt may take long.
        """
        try:
            history, is_done = self._session.refresh(), self._session.is_done()
        except StorageError as error:  # the loop says so too, when it needs the storage
            logger.warning("callbacks may not have been told of trials that have ended: %s", error)
            return False
        for waiting in self._waiting:
            waiting.new.update(range(self._n_seen, len(history)))
        self._n_seen = len(history)
        for callback, waiting in zip(self._callbacks, self._waiting, strict=True):
            ended = sorted(number for number in waiting.new if history[number].state.is_final)
            again = sorted(waiting.failed)[: None if is_last else 1]
            n_failures = 0
            for number in [*ended, *again]:
                if n_failures >= _MAX_FAILURES:
                    break
                is_known = number in waiting.failed
                is_settled = self._pass_once(callback, history.record(number), history.now, is_known=is_known)
                waiting.new.discard(number)
                (waiting.failed.discard if is_settled else waiting.failed.add)(number)
                n_failures = 0 if is_settled else n_failures + 1
        return is_done and not any(waiting.failed for waiting in self._waiting)

    def _pass_once(self, callback: TunerCallback, trial: TrialRecord, now: float, *, is_known: bool) -> bool:
        """Pass a trial on unless a process has done so, and return whether it needs no more attention here.

        The process that passes it on holds a claim until the call succeeds or fails. After a failure, any process
        retries it. The claim of a killed process lasts for ``_CLAIM_SECONDS`` at most.

        Args:
            callback: The callback.
            trial: The trial.
            now: The storage's clock.
            is_known: Whether a warning has said before that it could not be passed on.
        """
        destination = hashlib.sha256(callback.destination.encode()).hexdigest()[:16]
        key, store = f"callback {destination} {trial.number}", self._session.store
        mine = f"{now + _CLAIM_SECONDS:.0f} {self._worker}"
        what = f"end of trial {trial.number}"
        try:
            owner = store.claim(key, mine)
            if owner not in (mine, _DONE) and _is_free(owner, now):
                owner = store.claim(key, mine, instead_of=owner)
            if owner != mine:
                return owner == _DONE
            level = logging.DEBUG if is_known else logging.WARNING
            is_done = self._call(what, callback, callback.on_trial_end, self._tuner, trial, level=level)
            store.claim(key, _DONE if is_done else "", instead_of=mine)
        except StorageError as error:  # the loop says so too, when it needs the storage
            logger.warning("%s may not have been told of the %s: %s", type(callback).__qualname__, what, error)
            return False
        return is_done

    def _call(
        self,
        what: str,
        callback: TunerCallback,
        call: Callable[..., None],
        *arguments: Any,
        level: int = logging.WARNING,
    ) -> bool:
        """Call a callback, and return whether it has raised nothing."""
        try:
            call(*arguments)
        except BaseException as error:
            name = type(callback).__qualname__
            logger.log(
                level, "%s was not told of the %s: %s: %s. The search continues, and a trial is passed on again later. "
                "To pass the whole study on: %s(...).replay(tuner)", name, what, type(error).__name__, error, name,
            )  # fmt: skip
            logger.debug("%s", name, exc_info=True)
            if not isinstance(error, Exception):
                raise
            return False
        return True


def _is_free(owner: str, now: float) -> bool:
    """Return whether the process that has claimed a trial will no longer pass it on."""
    until, _, worker = owner.partition(" ")
    return is_dead(worker) or not until.isdigit() or float(until) < now


def check_callbacks(callbacks: Sequence[TunerCallback]) -> tuple[TunerCallback, ...]:
    """Return the callbacks.

    Raises:
        InvalidArgument: One is no ``TunerCallback``, or two write to one destination.
    """
    if not isinstance(callbacks, Sequence):
        raise InvalidArgument(f"callbacks must be a list of TunerCallback, but got callbacks={callbacks!r}.")
    destinations = []
    for callback in callbacks:
        if not isinstance(callback, TunerCallback):
            raise InvalidArgument(
                f"callbacks must be a list of TunerCallback, but got {type(callback).__name__}. A callback of a "
                "training, such as TrialCallback(trial), belongs into the framework's fit or train."
            )
        destinations.append((type(callback), callback.destination))
    twice = next((kind for kind, place in destinations if destinations.count((kind, place)) > 1), None)
    if twice is not None:
        raise InvalidArgument(
            f"callbacks must write to different destinations, but two of {twice.__qualname__} have the same. "
            "Remove one, or override destination."
        )
    return tuple(callbacks)
