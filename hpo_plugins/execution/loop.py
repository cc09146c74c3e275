"""The loop over the trials of a search, in the user's own code or in a worker."""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from hpo_plugins.coordination.acquisition import Acquisition
from hpo_plugins.coordination.enqueued import enqueue
from hpo_plugins.coordination.out_of_memory import is_out_of_memory, release_frames
from hpo_plugins.coordination.process import end_if_told
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.coordination.silence import SilenceWatch
from hpo_plugins.coordination.trial_lease import TrialLease
from hpo_plugins.errors import StorageError
from hpo_plugins.execution import loop_exit
from hpo_plugins.execution.base import Executor, Observer, Train
from hpo_plugins.execution.local import LocalWorkers
from hpo_plugins.execution.ranks import RANK_ZERO, Published
from hpo_plugins.history import History
from hpo_plugins.space.valid import Function
from hpo_plugins.storage import StudyStore
from hpo_plugins.storage.checkpoints import Checkpoints
from hpo_plugins.trial import Trial

logger = logging.getLogger("hpo_plugins")

_POLL_SECONDS = 0.5
_LONG_POLL_SECONDS = 2.0


class TrialLoop:
    """Acquires trials one after another, and ends each when its training is over.

    Args:
        session: The study, as this process knows it.
        key: Identifies the study among those of the user's script, for further ranks.

    Attributes:
        observers: Observers of the loops of this process, such as to show progress; a pickled loop leaves them behind.
    """

    def __init__(self, session: StudySession, key: str) -> None:
        """Make the trials of this loop available to further ranks."""
        self.session = session
        self._acquisition = Acquisition(session)
        self._key = key
        self.observers: tuple[Observer, ...] = ()
        self._wake_up = threading.Event()
        self._silence_watch = SilenceWatch(session)
        self._published = RANK_ZERO.open(key, session.store)

    # For the user.

    def __iter__(self) -> Iterator[Trial]:
        """Yield trials until the search is over, each after the training run of the one before."""
        frame, handled = sys._getframe(1), sys.exc_info()[1]
        session = self.session
        is_left = False
        self._begin()
        try:
            while True:
                session.begin_acquisition()
                try:
                    if (lease := self._wait_for_lease()) is None:
                        break
                    try:
                        yield self._publish(lease)
                    except GeneratorExit:
                        RANK_ZERO.end(self._published)
                        is_left = True  # call nothing while the exit of the loop is observed
                        if sys.is_finalizing():  # the interpreter's exit handlers have released the lease
                            return
                        if _caller() is frame:
                            loop_exit.watch(frame, handled, functools.partial(self._leave_loop, lease))
                        else:  # closed from elsewhere, long after its loop
                            self._leave_loop(lease, None)
                        return
                    lease.end()
                except BaseException:  # before the trial reached the user, or while it was ended
                    session.abandon_acquisition()
                    raise
            RANK_ZERO.end(self._published)
        finally:
            if not is_left:
                self._finish()

    def run(self, train: Train, workers: int | Executor, devices_per_worker: int | None = None) -> None:
        """Train until the search is over; see ``Tuner.run``."""
        self._begin()
        try:
            if not isinstance(workers, int):
                workers.run(self, train)
            elif workers == 1:
                self.run_worker(train)
            else:
                if isinstance(valid := self.session.config.space.valid, Function):
                    valid.check_pickles()
                LocalWorkers(workers, devices_per_worker).run(self, train)
        finally:
            self._finish()

    def acquire(self) -> Trial | None:
        """Return the next trial to train, or None if there is nothing to train now."""
        self.look()
        self.session.begin_acquisition()
        lease = self._acquisition.acquire()
        return None if lease is None else Trial(lease, on_end=self.look)

    def abandon_acquisition(self) -> None:
        """Release the trial of an ``acquire`` that was interrupted."""
        self.session.abandon_acquisition()

    def history(self) -> History:
        """Return the history, up to date with the storage."""
        return self.session.refresh()

    # For executors.

    @property
    def store(self) -> StudyStore:
        """The study in its storage."""
        return self.session.store

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoint files of its trials."""
        return self.session.checkpoints

    @property
    def is_done(self) -> bool:
        """Whether the search is over."""
        return self.session.is_done()

    @property
    def is_stopping(self) -> bool:
        """Whether ``stop`` was called in this process."""
        return self.session.is_stopping

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Enqueue a configuration, to be tried before the strategy's next one."""
        enqueue(self.session, params)

    def stop(self) -> None:
        """Start no more trials in this process."""
        self.session.stop()
        self._wake_up.set()

    def run_worker(self, train: Train) -> None:
        """Train trials in this process until the search is over."""
        session = self.session
        try:
            while True:
                session.begin_acquisition()
                try:
                    if (lease := self._wait_for_lease()) is None:
                        break
                    try:
                        train(self._publish(lease))
                    except Exception as error:
                        if not lease.fail(error):
                            raise
                        if is_out_of_memory(error):
                            release_frames(error)
                    else:
                        lease.end()
                except BaseException:
                    session.abandon_acquisition()
                    raise
        finally:
            RANK_ZERO.end(self._published)

    def for_worker(self, store: StudyStore, checkpoints: Checkpoints, worker: str) -> TrialLoop:
        """Return the search for a worker of that name with its own access to the study and its files."""
        return TrialLoop(self.session.for_worker(store, checkpoints, worker), self._key)

    def mark_dead(self, worker: str) -> None:
        """Make the trials of a dead worker available to other workers."""
        self.session.mark_dead(worker)

    def end_silent(self, processes: Collection[str]) -> set[str]:
        """End trials that have reported nothing for too long, and return the processes of their workers."""
        return self._silence_watch.end_silent(processes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Work on the same search in the process that unpickles it."""
        return TrialLoop, (self.session, self._key)

    def look(self) -> None:
        """Update the observers."""
        for observer in self.observers:
            observer.look()

    # The steps of the loop.

    def _begin(self) -> None:
        for observer in self.observers:
            observer.begin()

    def _finish(self) -> None:
        for observer in self.observers:
            observer.end()

    def _wait_for_lease(self) -> TrialLease | None:
        """Return the next lease, None when the search is over; wait while other workers' results may bring more."""
        while True:
            self.look()
            lease = self._acquisition.acquire()
            if lease is not None:
                return lease
            if self.is_done:
                end_if_told()  # a loop that ended here would look complete
                return None
            self._pause()

    def _pause(self) -> None:
        """Wait for a short time or, if the storage can tell, until another worker's write may have brought work."""
        wait: Callable[[int, float], None] | None = getattr(self.store, "wait_for_changes", None)
        if wait is None or self._wake_up.is_set():
            self._wake_up.wait(_POLL_SECONDS)
        else:
            wait(self.session.history.revision, _LONG_POLL_SECONDS)

    def _publish(self, lease: TrialLease) -> Trial:
        trial = Trial(lease)
        RANK_ZERO.publish(self._published, Published(trial, lease))
        return trial

    def _leave_loop(self, lease: TrialLease, error: BaseException | None) -> None:
        self._leave(lease, error)
        self._finish()

    def _leave(self, lease: TrialLease, error: BaseException | None) -> None:
        """End the trial whose training the user's loop has left; nothing may be raised from here."""
        try:
            if isinstance(error, Exception):
                lease.fail(error)
            elif error is not None:
                lease.release()
            elif not lease.has_reported():
                lease.give_back()
            else:
                lease.end()
        except StorageError as problem:
            logger.warning("the end of trial %d could not be written: %s", lease.number, problem)


def _caller() -> object:
    """Return the frame that the caller's caller runs for, None at the end of the interpreter's stack."""
    try:
        return sys._getframe(2)
    except ValueError:
        return None
