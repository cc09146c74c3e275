"""The studies of a storage as objects that can be inspected, copied, renamed and deleted."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from hpo_plugins._text import printable
from hpo_plugins._validation import boolean, non_empty_string
from hpo_plugins.coordination.opening import Target, existing_storage
from hpo_plugins.coordination.renaming import rename_study
from hpo_plugins.errors import InvalidArgument, StorageError
from hpo_plugins.space import Parameter
from hpo_plugins.storage import ManagedStorage, Storage, open_storage
from hpo_plugins.storage.checkpoints import copy_files
from hpo_plugins.storage.redact import redacted
from hpo_plugins.study.confirmation import confirmations_of
from hpo_plugins.tuner.new_space import copy_into
from hpo_plugins.tuner.tuner import Tuner

logger = logging.getLogger("hpo_plugins")


def studies(storage: Target) -> Studies:
    """Return the studies in a storage by name.

    Args:
        storage: Path of a SQLite file, or a SQLAlchemy URL.

    Raises:
        StudyNotFound: There is no such file.
        StorageError: It cannot be opened.
    """
    found = existing_storage(storage)
    return Studies(managed(found, storage))


def managed(storage: Storage, target: object) -> ManagedStorage:
    """Return a storage whose studies can be managed.

    Raises:
        InvalidArgument: It is another one.
    """
    if not isinstance(storage, ManagedStorage):
        raise InvalidArgument(
            f"storage must be a path or a URL, or derive from ManagedStorage, but got storage={redacted(repr(target))}."
        )
    return storage


class Studies(Mapping[str, "Study"]):
    """The studies in a storage by name, in order of creation.

    Args:
        storage: The storage.
    """

    def __init__(self, storage: ManagedStorage) -> None:
        """Read their names."""
        self._studies = {name: Study(storage, name) for name in storage.names()}

    def __getitem__(self, name: str) -> Study:
        """Return a study."""
        return self._studies[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._studies)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._studies)

    def __repr__(self) -> str:
        """Show each study in a line."""
        return "\n".join(map(repr, self.values())) or "no studies"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(printable(study.name))}</td><td>{study.n_trials}</td><td>{escape(_text(study.counts))}</td></tr>"
            for study in self.values()
        )
        return f"<table><tr><th>study</th><th>trials</th><th>states</th></tr>{rows}</table>"


class Study:
    """One study of a storage.

    Copies and renames take its checkpoint files with them, if they are where the storage puts them; those of a study
    with a ``checkpoint_dir`` of its own are the user's to move.

    Args:
        storage: The storage.
        name: The study.

    Attributes:
        name: The study's name.
    """

    def __init__(self, storage: ManagedStorage, name: str) -> None:
        """Read nothing yet."""
        self._storage = storage
        self.name = name

    @functools.cached_property
    def counts(self) -> dict[str, int]:
        """Number of trials in each state, read once."""
        return self._storage.counts(self.name)

    @property
    def n_trials(self) -> int:
        """Number of started trials, read together with ``counts``."""
        return sum(self.counts.values())

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the trials that workers train now."""
        session = self.load()._loop.session
        session.refresh()
        return tuple(session.running())

    def load(self) -> Tuner:
        """Return the study: its definition and its trials."""
        return Tuner.load(self._storage, self.name)

    def delete(self, *, force: bool = False) -> None:
        """Delete the study with its trials, its reports and the checkpoints beside the storage.

        Args:
            force: Even if workers train trials of it. They continue their training runs, and their reports are lost.

        Raises:
            StorageError: Workers train trials of it.
            StudyNotFound: It was deleted.
        """
        self._check_idle("deleted", force)
        for other in self._confirmations():
            other.delete(force=True)
        self._storage.delete(self.name)  # if this process is killed now, a new study of that name deletes the files
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    def rename(self, name: str, *, force: bool = False) -> Study:
        """Rename the study, and return it.

        Args:
            name: The new name.
            force: Even if workers train trials of it. Their saved checkpoints are then looked for in the old place.

        Raises:
            StorageError: Workers train trials of it, or there is a study of the new name.
        """
        self._check_idle("renamed", force)
        rename_study(self._storage, self.name, name)
        return Study(self._storage, name)

    def copy(
        self,
        storage: str | os.PathLike[str],
        *,
        name: str | None = None,
        space: Mapping[str, Parameter] | None = None,
        force: bool = False,
    ) -> Study:
        """Copy the study, with its checkpoints, to another storage or name; its search can be continued there.

        The copy appears as a whole. An interrupted copy leaves nothing, and you can repeat it.

        With ``space``, the copy has this search space instead: wider or narrower ranges, other values. Trials whose
        configurations it contains are results of the copy like any other. Others and running ones are left out, and
        paused ones are stopped; a warning says which. Numbers are assigned anew, and there are no checkpoints.

        Args:
            storage: Path of a SQLite file, which is created if it does not exist, or a SQLAlchemy URL.
            name: The copy's name; None for the same.
            space: The copy's search space; None for the same.
            force: Even if workers train trials of it. In the copy these wait for a worker.

        Raises:
            StorageError: Workers train trials of it, or there is a study of that name.
            InvalidArgument: No trial fits the new space, or it does not fit the strategy.
        """
        self._check_idle("copied", force)
        new_name = self.name if name is None else non_empty_string("name", name)
        target = managed(open_storage(storage), storage)
        if new_name in target.names():
            raise StorageError(f"{redacted(storage)} has a study {new_name!r} already. Give the copy another name.")
        if space is not None:
            study = self.load()
            remarks = copy_into(study.study, study.trials, space, target, new_name)
            if remarks:
                logger.warning("Of %r, the copy %r does not have: %s", self.name, new_name, " ".join(remarks))
            return Study(target, new_name)
        source, files = self._checkpoints, Path(target.checkpoint_root(new_name))
        copy_files(source, files, shutil.copy2)
        self._storage.copy(self.name, target, new_name)
        if source.is_dir():  # what workers have saved meanwhile; a checkpoint that they have deleted has an earlier one
            shutil.copytree(source, files, copy_function=_copy_new, ignore_dangling_symlinks=True, dirs_exist_ok=True)
        for other in self._confirmations():
            other.copy(storage, name=new_name + other.name.removeprefix(self.name), force=True)
        return Study(target, new_name)

    def _confirmations(self) -> list[Study]:
        """Return the studies that confirm this one; whatever happens to it happens to them."""
        return [Study(self._storage, other) for other in confirmations_of(self.name, self._storage.names())]

    @property
    def _checkpoints(self) -> Path:
        return Path(self._storage.checkpoint_root(self.name))

    def _check_idle(self, what: str, force: object) -> None:
        if boolean("force", force):
            return
        if trained := self.running:
            raise StorageError(
                f"{self.name!r} must not be {what} while workers train its trials {', '.join(map(str, trained))}. Stop "
                "them, or pass force=True."
            )

    def __repr__(self) -> str:
        """Show its name and the states of its trials."""
        return f"Study({self.name!r}: {self.n_trials} trials{': ' if self.counts else ''}{_text(self.counts)})"


def _copy_new(place: str, to: str) -> None:
    if not os.path.exists(to):  # noqa: PTH110 - a string, as shutil passes it
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(place, to)


def _text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items())
