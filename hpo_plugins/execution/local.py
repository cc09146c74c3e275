"""Several local processes on one study: ``tuner.run(train, workers=4)``.

Each worker is a new Python process that takes the pickled tuner and ``train``, and runs the same loop as one process
would. The process that started them trains nothing: it replaces workers that die, passes on the first error, and
ends with the last worker. Workers end with it too, whatever becomes of it: their pipe closes.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from types import FrameType
from typing import Any, Protocol

from hpo_plugins.errors import InvalidArgument, WorkerError
from hpo_plugins.trial import Trial

logger = logging.getLogger("hpo_plugins")

Train = Callable[[Trial], object]
"""Trains one trial; what it returns is not used."""

THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)  # fmt: skip
"""What numerical libraries read when they are loaded; PyTorch and XGBoost follow the first."""
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 10.0


class Search(Protocol):
    """What an engine needs of a tuner; it must be possible to pickle it."""

    @property
    def done(self) -> bool:
        """Whether the search is over."""

    def work(self, train: Train) -> None:
        """Train trials in this process until the search is over."""

    def stop(self) -> None:
        """Hand out no more trials in this process."""

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` was called."""


class Engine(Protocol):
    """What ``tuner.run(train, workers=...)`` takes beside a number."""

    def run(self, tuner: Search, train: Train) -> None:
        """Let workers train until the search is over."""


@dataclass
class _Worker:
    process: Any
    pipe: Any
    has_begun: bool = False


class LocalWorkers:
    """So many processes of this machine."""

    def __init__(self, number: int) -> None:
        """Start nothing yet."""
        self.number = number
        self._context = multiprocessing.get_context("spawn")  # a fork would copy locks, threads and connections
        self._workers: list[_Worker] = []
        self._error: BaseException | None = None

    def run(self, tuner: Search, train: Train) -> None:
        """Let workers train until the search is over.

        Raises:
            InvalidArgument: ``train`` cannot be pickled.
            WorkerError: Workers die before they begin.
            Exception: What ``train`` raised; the other workers have finished their trials.
        """
        payload = pickled(tuner, train)
        try:
            self._workers = [self._start(payload) for _ in range(self.number)]
            self._attend(tuner, payload)
        finally:
            self._end()
        if self._error is not None:
            raise self._error

    def _start(self, payload: bytes) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_main, args=(payload, theirs), name="hpo-plugins-worker")
        with _share_of_cores(self.number):
            try:
                process.start()
            except RuntimeError as error:  # this is a worker, importing the user's script
                raise WorkerError(_GUARD) from error
        theirs.close()  # so that the worker's end closes the pipe
        return _Worker(process, ours)

    def _attend(self, tuner: Search, payload: bytes) -> None:
        """Watch over the workers until the last has ended."""
        is_stopping = False
        while self._workers:
            waiting = [worker.pipe for worker in self._workers] + [worker.process.sentinel for worker in self._workers]
            changed = connection.wait(waiting, _POLL_SECONDS)
            for worker in list(self._workers):
                if worker.pipe in changed:
                    self._hear(worker)
                if worker.process.sentinel in changed:
                    self._bury(worker, tuner, payload)
            if not is_stopping and (self._error is not None or tuner.stopped):
                is_stopping = True
                self._tell("stop")

    def _hear(self, worker: _Worker) -> None:
        try:
            while worker.pipe.poll():
                message = worker.pipe.recv()
                worker.has_begun = True
                if message is not None and self._error is None:
                    self._error = message
        except (EOFError, OSError):  # it has ended: its sentinel says so
            return

    def _bury(self, worker: _Worker, tuner: Search, payload: bytes) -> None:
        self._hear(worker)
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        if worker.process.exitcode == 0 or self._error is not None:
            return
        if not worker.has_begun:
            self._error = WorkerError(f"A worker ended with code {worker.process.exitcode} before it began. {_GUARD}")
        elif not tuner.stopped and not tuner.done:
            logger.warning("a worker died (code %s) and is replaced", worker.process.exitcode)
            self._workers.append(self._start(payload))

    def _tell(self, order: str) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(order)

    def _end(self) -> None:
        """End workers that are left when this process is interrupted: they give their trials back."""
        self._tell("interrupt")
        for worker in self._workers:
            worker.process.join(_GRACE_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers = []


_GUARD = (
    'Let the lines that start the search stand under `if __name__ == "__main__":`, since every worker imports the '
    "script; a worker's own message, if there is one, stands above."
)


def pickled(tuner: Search, train: Train) -> bytes:
    """Return the tuner and ``train`` for another process.

    Raises:
        InvalidArgument: ``train`` cannot be pickled.
    """
    try:
        pickle.dumps(train)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidArgument(
            f"train must be a function that other processes can import, but got train={train!r}: {error}. Define it at "
            "the top of a module, and give it what it needs with functools.partial; workers=1 takes any function."
        ) from error
    return pickle.dumps((tuner, train))


@contextlib.contextmanager
def _share_of_cores(workers: int) -> Iterator[None]:
    """Let processes that are started here use their share of the cores, unless the user has said how many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(given, str(max(1, cores // workers))))
    try:
        yield
    finally:
        for name in given:
            del os.environ[name]


# In the worker.


def _main(payload: bytes, pipe: Any) -> None:
    """Train until the search is over; send None when that begins, and the error that ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the first one decides
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        tuner, train = pickle.loads(payload)  # noqa: S301 - what this process's parent pickled
    except (AttributeError, ImportError) as error:
        _send(pipe, InvalidArgument(f"train must be a function that other processes can import: {error}. {_GUARD}"))
        return
    _send(pipe, None)
    threading.Thread(target=_obey, args=(pipe, tuner), daemon=True).start()
    try:
        tuner.work(train)
    except KeyboardInterrupt:
        return
    except Exception as error:  # noqa: BLE001 - it is raised where the search was started
        _send(pipe, error)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once: the trial is being given back
    raise KeyboardInterrupt


def _obey(pipe: Any, tuner: Search) -> None:
    order = ""
    while order != "interrupt":
        try:
            order = pipe.recv()
        except (EOFError, OSError):  # the process that started this one is gone
            order = "interrupt"
        if order == "stop":
            tuner.stop()
    signal.raise_signal(signal.SIGTERM)
    # The interrupt may come while a destructor runs, and Python drops what is raised there. The process ends all the
    # same: its trial is taken over like any dead worker's.
    time.sleep(_GRACE_SECONDS / 2)
    os._exit(1)


def _send(pipe: Any, error: Exception | None) -> None:
    if error is not None:
        trace = "".join(traceback.format_exception(error))
        error.add_note(f"It was raised in a worker:\n{trace}")
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        except Exception:  # noqa: BLE001 - whatever an exception's own pickling raises
            error = WorkerError(f"A worker raised {type(error).__name__}: {error}\n{trace}")
    with contextlib.suppress(OSError):  # nobody is left to read it
        pipe.send(error)
