"""Several processes of this machine: ``tuner.run(train, workers=4)``.

Each worker is a new Python process that unpickles the search and ``train``, and runs the same loop as a single process
would. The process that starts them trains nothing: it replaces workers that die, raises the first error, and returns
after the last worker. If it dies itself, its workers end too, since their pipes close.
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from hpo_plugins.coordination.process import exit_on_signals, is_terminating
from hpo_plugins.errors import InvalidArgument, WorkerError
from hpo_plugins.execution.base import Search, Train
from hpo_plugins.execution.devices import find_devices, shares
from hpo_plugins.storage.processes import name_of

logger = logging.getLogger("hpo_plugins")

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)  # fmt: skip
"""Environment variables that numerical libraries read when they are loaded; PyTorch and XGBoost use the first."""
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 10.0


@dataclass
class _Worker:
    process: Any
    pipe: Any
    name: str  # of the process, as the names of its workers begin
    place: int  # which share of the devices is its own
    has_started: bool = False


class LocalWorkers:
    """Workers on this machine, with its cores and accelerators divided among them.

    Args:
        number: Number of processes.
        devices_per_worker: Accelerators that each of them sees, None for one.

    Raises:
        InvalidArgument: This process sees fewer accelerators than one worker is to have.
    """

    def __init__(self, number: int, devices_per_worker: int | None = None) -> None:
        """Start no process yet."""
        self.number = number
        self._devices = find_devices()
        self._shares = shares(self._devices, number, devices_per_worker)
        self._context = multiprocessing.get_context("spawn")  # fork would copy locks and connections
        self._workers: list[_Worker] = []
        self._error: BaseException | None = None

    def run(self, search: Search, train: Train) -> None:
        """Train until the search is over.

        Raises:
            InvalidArgument: ``train`` cannot be pickled.
            WorkerError: Workers die before they train.
            Exception: What ``train`` raised; the other workers have finished their trials.
        """
        payload = _pickle(search, train)
        try:
            for place in range(self.number):
                self._workers.append(self._start(payload, place))
            self._supervise(search, payload)
        finally:
            self._terminate()
        if self._error is not None:
            raise self._error

    def _start(self, payload: bytes, place: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_main, args=(payload, theirs), name="hpo-plugins-worker")
        share = self._shares[place]
        with _share_of_cores(self.number), _environment(self._devices.environment(share) if share else {}):
            try:
                process.start()
            except RuntimeError as error:  # this is a worker, importing the user's script
                raise WorkerError(_GUARD) from error
        theirs.close()  # so that the pipe closes when the worker ends
        return _Worker(process, ours, name_of(process.pid), place)

    def _supervise(self, search: Search, payload: bytes) -> None:
        """Replace workers that die, and stop all after an error, until the last has ended."""
        is_stopping = False
        while self._workers:
            waiting = [worker.pipe for worker in self._workers] + [worker.process.sentinel for worker in self._workers]
            changed = connection.wait(waiting, _POLL_SECONDS)
            for worker in list(self._workers):
                if worker.pipe in changed:
                    self._receive(worker)
                if worker.process.sentinel in changed:
                    self._reap(worker, search, payload)
            self._end_silent(search)
            search.look()
            if not is_stopping and (self._error is not None or search.is_stopping):
                is_stopping = True
                self._tell("stop")

    def _receive(self, worker: _Worker) -> None:
        try:
            while worker.pipe.poll():
                message = worker.pipe.recv()
                worker.has_started = True
                if message is not None and self._error is None:
                    self._error = message
        except (EOFError, OSError):  # it has ended, which its sentinel shows
            return

    def _reap(self, worker: _Worker, search: Search, payload: bytes) -> None:
        self._receive(worker)
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        if worker.process.exitcode == 0 or self._error is not None:
            return
        if not worker.has_started:
            self._error = WorkerError(f"A worker ended with code {worker.process.exitcode} before it started. {_GUARD}")
        elif not search.is_stopping and not search.is_done:
            logger.warning("a worker died (code %s) and is replaced", worker.process.exitcode)
            self._workers.append(self._start(payload, worker.place))

    def _end_silent(self, search: Search) -> None:
        """End the workers whose trial reports nothing for too long; others take their places."""
        silent = search.end_silent([worker.name for worker in self._workers])
        for worker in self._workers:
            if worker.name in silent:  # what hangs may not see a signal
                worker.process.kill()

    def _tell(self, order: str) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(order)

    def _terminate(self) -> None:
        """End the workers that are left when this process is interrupted: they release their trials."""
        self._tell("interrupt")
        for worker in self._workers:
            worker.process.join(_GRACE_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers = []


_GUARD = (
    'Put the lines that start the search under `if __name__ == "__main__":`, since every worker imports the script; '
    "a worker's own message, if there is one, is printed above."
)


def _pickle(search: Search, train: Train) -> bytes:
    """Return the search and ``train`` for another process.

    Raises:
        InvalidArgument: ``train`` cannot be pickled.
    """
    try:
        pickle.dumps(train)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidArgument(
            f"train must be a function that other processes can import, but got train={train!r}: {error}. Define it at "
            "module level, and pass arguments with functools.partial; workers=1 accepts any function."
        ) from error
    return pickle.dumps((search, train))


@contextlib.contextmanager
def _share_of_cores(workers: int) -> Iterator[None]:
    """Limit new processes to their share of the cores, unless the user has set a number."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = [name for name in _THREAD_VARIABLES if name not in os.environ]
    with _environment(dict.fromkeys(given, str(max(1, cores // workers)))):
        yield


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for new processes."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# In the worker's process.


def _main(payload: bytes, pipe: Any) -> None:
    """Train until the search is over; send None at the start, and the error if one ends the training run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent decides
    exit_on_signals()
    try:
        search, train = pickle.loads(payload)  # noqa: S301 - pickled by this process's parent
    except (AttributeError, ImportError) as error:
        _send(pipe, InvalidArgument(f"train must be a function that other processes can import: {error}. {_GUARD}"))
        return
    _send(pipe, None)
    threading.Thread(target=_listen, args=(pipe, search), daemon=True).start()
    try:
        search.run_worker(train)
    except Exception as error:  # noqa: BLE001 - it is raised in the parent
        _send(pipe, error)


def _listen(pipe: Any, search: Search) -> None:
    """Follow the orders of the process that started this one."""
    order = ""
    while order != "interrupt":
        try:
            order = pipe.recv()
        except (EOFError, OSError):  # that process has died
            order = "interrupt"
        if order == "stop":
            search.stop()
    if not is_terminating():  # a second signal would end the process before it has released its trial
        signal.raise_signal(signal.SIGTERM)
    # Code that catches every exception cannot keep the process alive; another worker acquires its trial like that of
    # any dead worker.
    time.sleep(_GRACE_SECONDS / 2)
    os._exit(128 + signal.SIGTERM)


def _send(pipe: Any, error: Exception | None) -> None:
    if error is not None:
        trace = "".join(traceback.format_exception(error))
        error.add_note(f"It was raised in a worker:\n{trace}")
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        except Exception:  # noqa: BLE001 - pickling runs the exception's own code
            error = WorkerError(f"A worker raised {type(error).__name__}: {error}\n{trace}")
    with contextlib.suppress(OSError):  # nobody is left to receive it
        pipe.send(error)
