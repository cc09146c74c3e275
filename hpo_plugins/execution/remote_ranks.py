"""Rank 0 as ranks on other machines see it: the same trials and answers, its study to read, and its checkpoints.

Nothing but rank 0 writes to the study, so the storage need not be reachable from the other machines. A checkpoint that
the other machine does not see at the same path is fetched from rank 0.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from hpo_plugins._fields import evolve
from hpo_plugins.coordination.session import LeaseTerms, StudySession
from hpo_plugins.coordination.trial_lease import TrialLease
from hpo_plugins.errors import CheckpointError, StorageError
from hpo_plugins.execution.rank_link import Link
from hpo_plugins.records import Changes, TrialRow
from hpo_plugins.serve import wire
from hpo_plugins.serve.uploads import Uploads
from hpo_plugins.storage import StudyStore, temporary
from hpo_plugins.storage.checkpoints import CheckpointPolicy
from hpo_plugins.storage.protocol import Definition
from hpo_plugins.storage.proxy import ProxyStudyStore
from hpo_plugins.storage.remote import RemoteCheckpoints
from hpo_plugins.study.config import StudyConfig, check_match
from hpo_plugins.study.stored import config_from_storage, to_json
from hpo_plugins.trial import Trial

Files = list[tuple[str, int, int]]
"""The files of a checkpoint: relative path, size in bytes, time of the last change in ns."""


class Followed(NamedTuple):
    """A trial of rank 0, for a rank on another machine.

    Attributes:
        row: The trial as it was acquired.
        root: The folder of the study's checkpoints on rank 0's machine.
        checkpoint: The checkpoint to resume from, relative to that folder; None without one.
        files: Its files.
    """

    row: TrialRow
    root: str
    checkpoint: str | None
    files: Files


_RESULTS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    "join": msgspec.msgpack.Decoder(tuple[Definition, int]),
    "trial": msgspec.msgpack.Decoder(Followed | None),
    "must_stop": msgspec.msgpack.Decoder(bool),
    "stops_after_fold": msgspec.msgpack.Decoder(bool),
    "leave": msgspec.msgpack.Decoder(None),
    "fetch": msgspec.msgpack.Decoder(tuple[int, bytes]),
}


# On rank 0.


class Leader(Protocol):
    """The trials of rank 0; see ``RankZero``."""

    def join(self, study: str) -> tuple[StudyStore, int]:
        """Return the store of a study, and the index of the trial to begin with."""

    def store(self, study: str) -> StudyStore:
        """Return the store of a study."""

    def trial(self, study: str, index: int) -> Trial | None:
        """Return the trial at this index, None if its loop has ended."""

    def must_stop(self, study: str, index: int, fold: int | None, epoch: int) -> bool:
        """Return rank 0's answer to a report."""

    def stops_after_fold(self, study: str, index: int, fold: int) -> bool:
        """Return whether rank 0 trains no further fold."""

    def leave(self, study: str) -> None:
        """Note that another rank has left its loop."""


class Desk:
    """Answers the ranks on other machines.

    Args:
        rank_zero: The trials of this process.
    """

    def __init__(self, rank_zero: Leader) -> None:
        """Answer nothing yet."""
        self._rank_zero = rank_zero
        self._roots: dict[str, Path] = {}  # the folders of checkpoints, by study
        self._methods: dict[str, Callable[..., Any]] = {
            "hello": lambda: None,
            "join": self._join,
            "trial": self._trial,
            "must_stop": rank_zero.must_stop,
            "stops_after_fold": rank_zero.stops_after_fold,
            "leave": rank_zero.leave,
            "changes": self._changes,
            "actions": lambda study, since: rank_zero.store(study).actions(since),
            "fetch": self._fetch,
        }

    def __call__(self, method: str, arguments: list[Any]) -> bytes:
        """Return the encoded result of a call."""
        return wire.encode(self._methods[method](*arguments))

    def _join(self, study: str) -> tuple[Definition, int]:
        store, first = self._rank_zero.join(study)
        return store.definition, first

    def _trial(self, study: str, index: int) -> Followed | None:
        trial = self._rank_zero.trial(study, index)
        if trial is None:
            return None
        lease = trial.plugin.visit()
        self._roots[study] = root = lease.session.checkpoints.root.resolve()
        if lease.resume_from is None:
            return Followed(lease.row, str(root), None, [])
        path = Path(lease.resume_from).resolve()
        return Followed(lease.row, str(root), path.relative_to(root).as_posix(), _files_of(path))

    def _changes(self, study: str, since: int) -> Changes:
        changes = self._rank_zero.store(study).changes(since)
        return changes._replace(reports=list(changes.reports))

    def _fetch(self, study: str, checkpoint: str, client: str, offset: int) -> tuple[int, bytes]:
        return Uploads(self._roots[study]).read(wire.Range(study, "", checkpoint, client, offset))


def _files_of(checkpoint: Path) -> Files:
    """Return the files of a checkpoint, a file or a folder; none if it is not there."""
    found = sorted(checkpoint.rglob("*")) if checkpoint.is_dir() else [checkpoint]
    with contextlib.suppress(OSError):
        states = [(path.relative_to(checkpoint).as_posix(), path.stat()) for path in found if not path.is_dir()]
        return [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    return []


# On the other ranks.


class RemoteRankZero:
    """Rank 0 on another machine; it has the methods of ``RankZero`` that a follower calls.

    Args:
        link: The connection to it.
        config: The study's definition, as given on this rank.
        policy: Which checkpoints are written and kept.
        terms: How leases are handled.

    Raises:
        OSError, EOFError: From any method, if rank 0 has ended.
    """

    def __init__(self, link: Link, config: StudyConfig, policy: CheckpointPolicy, terms: LeaseTerms) -> None:
        """Ask nothing yet."""
        self._link, self._config, self._policy, self._terms = link, config, policy, terms
        self._session: StudySession | None = None

    def _call(self, method: str, *arguments: Any) -> Any:
        return _RESULTS[method].decode(self._link.call(method, *arguments))

    def join(self, study: str) -> tuple[RemoteStudy, int]:
        """Return the study, and the index of the first trial to follow.

        Raises:
            StudyMismatch: This rank defines the study otherwise than rank 0.
        """
        definition, first = self._call("join", study)
        stored = to_json(config_from_storage(definition, study, "rank 0"))
        config = evolve(self._config, seed=stored["seed"])  # rank 0's, which may have drawn it
        check_match(stored, to_json(config), study)
        store = RemoteStudy(definition, self._link, study)
        checkpoints = RemoteCheckpoints(_new_folder(), self._policy, _RankZeroFiles(self._call, study))
        self._session = StudySession(config.for_visitor(), store, checkpoints, self._terms)
        return store, first

    def trial(self, study: str, index: int) -> Trial | None:
        """Return the trial at this index, once rank 0 has acquired it; None if its loop has ended.

        Raises:
            CheckpointError: The checkpoint that it resumes from could not be fetched.
        """
        found: Followed | None = self._call("trial", study, index)
        if found is None or self._session is None:
            return None
        path = None if found.checkpoint is None else self._checkpoint(self._session, found, found.checkpoint)
        return Trial(TrialLease(self._session, found.row, path))

    def _checkpoint(self, session: StudySession, found: Followed, name: str) -> str:
        """Return the path of a checkpoint on this machine: in a folder that machines share, or of a copy."""
        shared = Path(found.root, name)
        if found.files and _files_of(shared) == found.files:
            return str(shared)
        if (path := Path(session.checkpoints.root, name)).exists():
            return str(path)
        session.checkpoints.clear_all()  # the copies of earlier trials
        if (copy := session.checkpoints.find(found.row.number, name)) is None:
            raise CheckpointError(
                f"Rank 0 has no checkpoint {name} of trial {found.row.number} any more. Start the job again."
            )
        return str(copy)

    def must_stop(self, study: str, index: int, fold: int | None, epoch: int) -> bool:
        """Return rank 0's answer to a report; see ``RankZero``."""
        return bool(self._call("must_stop", study, index, fold, epoch))

    def stops_after_fold(self, study: str, index: int, fold: int) -> bool:
        """Return whether rank 0 trains no further fold; see ``RankZero``."""
        return bool(self._call("stops_after_fold", study, index, fold))

    def leave(self, study: str) -> None:
        """Note that this rank has left its loop."""
        self._call("leave", study)


class RemoteStudy(ProxyStudyStore):
    """The study of rank 0 on another machine, to read.

    Args:
        definition: Its definition.
        link: The connection to rank 0.
        study: Identifies it.
    """

    where = "The study of rank 0"

    def __init__(self, definition: Definition, link: Link, study: str) -> None:
        """Read nothing yet."""
        super().__init__(definition, None)
        self._link, self._study = link, study

    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``."""
        return Changes._make(self._call("changes", since))

    def _call(self, method: str, *arguments: Any, **fields: Any) -> Any:  # noqa: ARG002 - those of writes
        if method not in ("changes", "actions"):
            raise StorageError("Rank 0 writes to the study; ranks on other machines follow it.")
        try:
            return wire.result_of(method, self._link.call(method, self._study, *arguments))
        except (OSError, EOFError) as error:
            raise StorageError("Rank 0 has ended.") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Read from the same rank 0 in a child process of this machine."""
        return RemoteStudy, (self.definition, self._link, self._study)


class _RankZeroFiles:
    """The checkpoints on rank 0's machine, to fetch; rank 0 alone writes and removes them."""

    def __init__(self, call: Callable[..., Any], study: str) -> None:
        self._call, self._study = call, study

    def get(self, name: str, package: Path) -> bool:
        """Fetch a package in parts, and return whether it was there."""
        client = secrets.token_hex(32)
        with package.open("wb") as file:
            while True:
                size, content = self._call("fetch", self._study, name, client, file.tell())
                if size < 0:
                    return False
                file.write(content)
                if not content:
                    return True

    def put(self, name: str, package: Path) -> None:
        """Do nothing."""

    def names(self, folder: str) -> list[str]:  # noqa: ARG002
        """Return nothing."""
        return []

    def remove(self, name: str) -> None:
        """Do nothing."""

    def keep(self, folder: str, names: Collection[str]) -> None:
        """Do nothing."""

    def clear(self) -> None:
        """Do nothing."""


def _new_folder() -> Path:
    """Return a folder for this rank's copies, which is removed when the process ends or, if it is killed, later."""
    folder = temporary.new_folder()
    temporary.make(folder)
    atexit.register(temporary.remove, folder, os.getpid())
    return folder
