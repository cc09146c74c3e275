"""The studies of a storage as the page reads them: opened once, and read again when they have changed."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from hpo_plugins.coordination.opening import Target, existing_storage, load_study
from hpo_plugins.coordination.renaming import rename_study
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import InvalidArgument, StorageError
from hpo_plugins.storage import ManagedStorage
from hpo_plugins.view import StudyView
from hpo_plugins.view.confirmed import confirmed_view

T = TypeVar("T")

CLOCK_SECONDS = 15
"""While trials run, the page is made again this often without a new report, since they grow on the time line."""


class OpenStudy:
    """One study, its views, and what was made of them.

    Args:
        session: The study.
        name: Its name.
    """

    def __init__(self, session: StudySession, name: str) -> None:
        """Read nothing yet."""
        session.checkpoints.policy = "keep"  # files are the workers' to delete
        self.session = session
        self.name = name
        self._lock = threading.Lock()
        self._view: tuple[str, StudyView] | None = None
        self._made: dict[Hashable, tuple[Hashable, Any]] = {}
        self._locks: defaultdict[Hashable, threading.Lock] = defaultdict(threading.Lock)

    def state(self) -> str:
        """Return a text that differs whenever there is something new to show.

        Raises:
            StorageError: The storage cannot be read.
        """
        with self.session.lock:
            history = self.session.refresh()
            running = self.session.running()
            clock = int(history.now // CLOCK_SECONDS) if running else 0
            return f"{history.revision}.{len(running)}.{clock}.{int(self.session.completion_reason() is not None)}"

    def view(self) -> tuple[str, StudyView]:
        """Return the state and the view of the study as it is now; a view that is asked for again is made once.

        Raises:
            StorageError: The storage cannot be read.
        """
        with self._lock:
            state = self.state()
            if self._view is None or self._view[0] != state:
                self._view = state, confirmed_view(self.session, self.name)
            return self._view

    def made(self, what: Hashable, version: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make()`` has returned for a version, made once.

        Args:
            what: What it is.
            version: Its version; only the newest one is kept.
            make: Makes it.
        """
        with self._locks[what]:
            known = self._made.get(what)
            if known is None or known[0] != version:
                known = self._made[what] = version, make()
            found: T = known[1]
            return found


class Library:
    """The studies of one storage.

    Args:
        target: The storage.

    Raises:
        StudyNotFound: There is no such file.
        StorageError: It cannot be opened.
    """

    def __init__(self, target: Target) -> None:
        """Open the storage."""
        self.storage = existing_storage(target)
        self._open: dict[str, OpenStudy] = {}
        self._lock = threading.Lock()

    @property
    def can_rename(self) -> bool:
        """Whether studies can be renamed."""
        return isinstance(self.storage, ManagedStorage)

    def names(self) -> list[str]:
        """Return the names of the studies, in order of creation."""
        return self.storage.names()

    def counts(self, name: str) -> dict[str, int]:
        """Return how many trials of a study are in each state."""
        if isinstance(self.storage, ManagedStorage):
            return self.storage.counts(name)
        return dict(self.study(name).view()[1].counts)

    def study(self, name: str) -> OpenStudy:
        """Return a study.

        Raises:
            StudyNotFound: There is no such study.
            StorageError: It cannot be read.
        """
        with self._lock:
            if name not in self._open:
                self._open[name] = OpenStudy(load_study(self.storage, name, None)[1], name)
            return self._open[name]

    def forget(self, name: str) -> None:
        """Open a study anew when it is asked for: it was deleted, and there may be another one of its name."""
        with self._lock:
            self._open.pop(name, None)

    def rename(self, name: str, new_name: str) -> None:
        """Rename a study, and log it.

        Raises:
            InvalidArgument: Its storage cannot rename studies, or the name is empty or has control characters.
            StorageError: Workers train its trials, or there is a study of the new name.
        """
        storage = self.storage
        if not isinstance(storage, ManagedStorage):
            raise InvalidArgument("Studies in memory cannot be renamed. Give the Tuner a storage=.")
        if not new_name.isprintable() or len(new_name) > MAX_NAME:
            raise InvalidArgument(f"name must have at most {MAX_NAME} printable characters, but got name={new_name!r}.")
        session = self.study(name).session
        session.refresh()
        if trained := session.running():
            raise StorageError(
                f"{name!r} must not be renamed while workers train its trials {', '.join(map(str, trained))}."
            )
        rename_study(storage, name, new_name)
        session.store.log("rename", None, {"from": name, "to": new_name})
        self.forget(name)


MAX_NAME = 512
"""Characters of a study's name in a database."""
