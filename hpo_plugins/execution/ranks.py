"""Several ranks that run one user's script: rank 0 searches, and the others train the trials that it acquires.

Distributed training starts processes in four ways, and each must reach the same study:

* ``spawn`` pickles the trial and ``fork`` copies it, so it needs no further help.
* A framework runs the user's whole script again with ``LOCAL_RANK`` set. That process finds the address of rank 0 in
  its environment, and trains the trials that rank 0 has acquired, in the same order.
* A launcher (torchrun, ``accelerate launch``) starts all ranks at the same time, with ``RANK`` and ``WORLD_SIZE`` set.
  On one machine they find rank 0's address in a file, whose name they derive from the environment that they share. On
  several machines they find it as ``rendezvous`` says, and talk to rank 0 by ``rank_link``.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import Any, NamedTuple

from hpo_plugins.coordination.trial_lease import TrialLease
from hpo_plugins.errors import StorageError, WorkerError
from hpo_plugins.execution.rank_link import Link, Place, listen
from hpo_plugins.execution.remote_ranks import Desk
from hpo_plugins.execution.rendezvous import Rendezvous, job_digest, own_address, rendezvous_for
from hpo_plugins.storage import StudyStore
from hpo_plugins.storage.places import replace
from hpo_plugins.storage.proxy import Address, connect, serve
from hpo_plugins.trial import Trial

_ADDRESS_VARIABLE = "HPO_PLUGINS_RANK_ZERO"
_ANNOUNCED_VARIABLE = "HPO_PLUGINS_ANNOUNCED"
_WAIT_SECONDS = 300.0
_JOIN_SECONDS = 60.0
_POLL_SECONDS = 0.05


class Published(NamedTuple):
    """A trial that this process trains."""

    trial: Trial
    lease: TrialLease


class PublishedTrials:
    """The trials that one loop of this process has acquired, in order, for the ranks that run the same loop."""

    def __init__(self, store: StudyStore) -> None:
        """Create it without trials, for the study in this store."""
        self.store = store
        self.trials: list[Published | None] = []  # None is the end of a loop
        self.n_dropped = 0  # number of earlier trials that no rank will ask for
        self.n_joined = 0  # number of ranks that have asked for the study
        self.n_left = 0  # number of times that a rank has left a loop

    def at(self, index: int) -> Published | None:
        """Return the trial at an index, None for the end of a loop."""
        return self.trials[index - self.n_dropped]


class RankZero:
    """The trials of this process's loops, by study, published to further ranks."""

    def __init__(self) -> None:
        """Create it without studies."""
        self._changed = threading.Condition()
        self._studies: weakref.WeakValueDictionary[str, PublishedTrials] = weakref.WeakValueDictionary()

    def open(self, study: str, store: StudyStore) -> PublishedTrials:
        """Publish a study for as long as the caller keeps the returned object."""
        if is_launched() and os.environ["RANK"] == "0":
            _announce(store)
        with self._changed:
            published = self._studies[study] = PublishedTrials(store)
            self._changed.notify_all()
            return published

    def publish(self, published: PublishedTrials, trial: Published | None) -> None:
        """Publish the trial whose training begins now, or None for the end of a loop.

        A rank that a framework starts joins at this trial. Earlier trials are kept only if a rank has joined or a
        launcher has started ranks. Otherwise they would accumulate in a long search (docs/decisions/0025).
        """
        with self._changed:
            if not published.n_joined and not is_launched():
                published.n_dropped += len(published.trials)
                published.trials.clear()
            published.trials.append(trial)
            self._changed.notify_all()

    def end(self, published: PublishedTrials) -> None:
        """Publish the end of a loop, and wait for ranks of a launcher, since they need this process's study."""
        self.publish(published, None)
        if is_launched() and os.environ["RANK"] == "0":
            n_others, n_loops = int(os.environ["WORLD_SIZE"]) - 1, published.trials.count(None)
            with self._changed:  # ranks that have not joined may still start, or have no tuner
                self._changed.wait_for(lambda: published.n_joined >= n_others, _JOIN_SECONDS)
                self._changed.wait_for(lambda: published.n_left >= n_loops * published.n_joined, _WAIT_SECONDS)

    def leave(self, study: str) -> None:
        """Note that another rank has left its loop."""
        with self._changed:
            if (published := self._studies.get(study)) is not None:
                published.n_left += 1
                self._changed.notify_all()

    def join(self, study: str) -> tuple[StudyStore, int]:
        """Return the store of a study, once the study is open, and the index of the trial to begin with."""
        with self._changed:
            if not self._changed.wait_for(lambda: study in self._studies, _WAIT_SECONDS):
                raise WorkerError(
                    f"Rank 0 has not created a tuner for {study!r} within {_WAIT_SECONDS:.0f} s. Create the same tuner "
                    "on every rank."
                )
            published = self._studies[study]
            published.n_joined += 1
            self._changed.notify_all()
            return published.store, published.n_dropped

    def store(self, study: str) -> StudyStore:
        """Return the store of a study.

        Raises:
            StorageError: Its tuner was deleted; the rank that asks has read everything when its loop ended.
        """
        if (published := self._studies.get(study)) is None:
            raise StorageError(f"Rank 0 has no tuner for {study!r} any more.")
        return published.store

    def trial(self, study: str, index: int) -> Trial | None:
        """Return the trial at this index, once it was acquired; None if the loop or its tuner has ended."""
        with self._changed:
            published = self._studies.get(study)
            if published is None:
                return None
            self._changed.wait_for(lambda: len(published.trials) > index - published.n_dropped)
            found = published.at(index)
            return None if found is None else found.trial

    def must_stop(self, study: str, index: int, fold: int | None, epoch: int) -> bool:
        """Return rank 0's answer to a report, once it has reported that epoch; True if its attempt is over."""
        lease = self._lease(study, index)
        return lease is None or lease.wait_for_answer(fold, epoch)

    def stops_after_fold(self, study: str, index: int, fold: int) -> bool:
        """Return whether rank 0 trains no further fold, once it has ended this one."""
        lease = self._lease(study, index)
        return lease is None or lease.wait_for_fold_end(fold)

    def _lease(self, study: str, index: int) -> TrialLease | None:
        published = self._studies.get(study)
        found = None if published is None else published.at(index)
        return None if found is None else found.lease


RANK_ZERO = RankZero()
"""The data that this process publishes."""


def is_launched() -> bool:
    """Return whether a launcher has started this process as one of several ranks."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def publish_address() -> None:
    """Make this process findable for its child processes that are further ranks."""
    socket, key, index = serve(RANK_ZERO)
    os.environ[_ADDRESS_VARIABLE] = json.dumps([os.getpid(), socket, key.hex(), index])


def spans_machines() -> bool:
    """Return whether a launcher has started ranks on several machines."""
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
    return 0 < local < world or (not local and int(os.environ.get("SLURM_NNODES", "1")) > 1)


def find_rank_zero() -> Any | None:
    """Return a proxy of rank 0's ``RankZero`` if this process is a further rank of a script on one machine, or None.

    Raises:
        WorkerError: Rank 0 does not search.
    """
    if is_launched():
        return None if os.environ["RANK"] == "0" or spans_machines() else _meet()
    if os.environ.get("LOCAL_RANK", "0") == "0" or _ADDRESS_VARIABLE not in os.environ:
        return None
    pid, socket, key, index = json.loads(os.environ[_ADDRESS_VARIABLE])
    # A further rank is a child of rank 0. Other programs that a script starts inherit the variable, and with a
    # LOCAL_RANK of their own they would wait for a study that never opens.
    return connect(Address(socket, bytes.fromhex(key), index)) if pid == os.getppid() else None


_rendezvous: Rendezvous | None = None
"""Where rank 0 of several machines leaves its place."""


def find_distant_rank_zero(storage: object, name: str) -> Link | None:
    """Return a link to rank 0 if this process is a further rank of a job on several machines, None if it is not.

    Rank 0 itself learns where it has to announce its study.

    Args:
        storage: The storage, as the user has given it.
        name: The study.

    Raises:
        WorkerError: The ranks cannot meet, or rank 0 does not search.
    """
    global _rendezvous  # noqa: PLW0603 - one job per process, by nature
    if not is_launched() or not spans_machines():
        return None
    rendezvous = rendezvous_for(storage, name)
    if os.environ["RANK"] == "0":
        _rendezvous = rendezvous
        return None
    until = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        if (place := rendezvous.look()) is not None:
            link = Link(place)
            with contextlib.suppress(OSError, EOFError):  # left by an earlier job that was killed
                link.call("hello")
                return link
            time.sleep(_POLL_SECONDS)
    raise _no_rank_zero()


def _meeting_point() -> Path:
    """Return the file in which rank 0 writes its address; only this user can read the folder."""
    folder = Path(tempfile.gettempdir()) / f"hpo-plugins-ranks-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & 0o077 or folder.is_symlink()):
        raise WorkerError(f"The folder {folder} must belong to this user alone. Delete it, or set TMPDIR to another.")
    return folder / job_digest()


def _announce(store: StudyStore) -> None:
    """Tell the other ranks the address of this process, rank 0; processes that it starts do not."""
    if os.environ.setdefault(_ANNOUNCED_VARIABLE, str(os.getpid())) != str(os.getpid()):
        return
    if spans_machines():
        if _rendezvous is not None:  # otherwise the study was only loaded
            port, key = _listening()
            _rendezvous.put(Place(_rendezvous.hosts(), port, key), store)
        return
    socket, key, index = serve(RANK_ZERO)
    path = _meeting_point()
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps([os.getpid(), socket, key.hex(), index]))
    replace(part, path)
    atexit.register(_withdraw, path, os.getpid())


@functools.cache
def _listening() -> tuple[int, bytes]:
    """Return the port at which this process, rank 0, answers ranks on other machines, and the key."""
    return listen(Desk(RANK_ZERO), own_address())


def _withdraw(path: Path, pid: int) -> None:
    if pid == os.getpid():
        path.unlink(missing_ok=True)


def _meet() -> Any:
    """Return a proxy of rank 0's ``RankZero``, once rank 0 has announced itself."""
    path, until = _meeting_point(), time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        try:
            pid, socket, key, index = json.loads(path.read_text())
            if pid != os.getpid():
                return connect(Address(socket, bytes.fromhex(key), index))
        except (OSError, EOFError, ValueError):  # not there yet, or left by an earlier job that was killed
            pass
        time.sleep(_POLL_SECONDS)
    raise _no_rank_zero()


def _no_rank_zero() -> WorkerError:
    return WorkerError(
        f"This is rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}, but rank 0 has not created a Tuner within "
        f"{_WAIT_SECONDS:.0f} s, or cannot be reached. Create the same tuner on every rank, and open the ports between "
        "the machines; or, if each rank is to search by itself, unset RANK and WORLD_SIZE."
    )
