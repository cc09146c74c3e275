"""Studies on a server, as workers on any machine see them."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hpo_plugins.errors import StorageError
from hpo_plugins.records import ActionRow, Assignment, Changes, ReportRow, Written, encode_metrics
from hpo_plugins.serve.channel import Channel
from hpo_plugins.serve.connection import Connection
from hpo_plugins.serve.files import HttpFiles
from hpo_plugins.serve.wire import ChangesRequest, Opened, encode, result_of
from hpo_plugins.space import Params
from hpo_plugins.storage.checkpoints import folder_name
from hpo_plugins.storage.protocol import REPORT_PATIENCE, Definition, ManagedStorage, Storage

T = TypeVar("T")


def open_url(url: str) -> HttpStorage:
    """Return the storage at a URL of ``hpo-plugins serve``.

    Raises:
        StorageError: The server cannot be reached, or refuses the token.
    """
    storage = HttpStorage(url)
    storage.names()  # an address or a token that is wrong is an error here
    return storage


class HttpStudyStore:
    """One study on a server.

    A write returns when the server has acknowledged it, which is when it is committed to the server's storage.

    Args:
        connection: The connection to the server.
        name: The study's name.
        opened: What the server says of it.
    """

    outlives_process = True

    def __init__(self, connection: Connection, name: str, opened: Opened) -> None:
        """Bind to the study."""
        self.definition = opened.definition
        self._connection = connection
        self._name = name
        self._opened = opened
        self._channel = Channel(opened.study, name, self._post)
        self._news = (
            threading.local()
        )  # what the last write of a thread has brought: the revision before, and the changes

    def _post(self, message: bytes, patience: float | None) -> bytes:
        return self._connection.post("write", message, patience)

    @property
    def where(self) -> str:
        """The study and its storage, for errors."""
        return f"Study {self._name!r} at {self._connection.url}"

    @property
    def reachable_since(self) -> float:
        """When the last outage ended, or the server was started."""
        return self._connection.reachable_since

    def define(self, definition: Definition) -> None:
        """Replace the definition."""
        self._write("define", definition)
        self.definition = definition

    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``."""
        known, changes = getattr(self._news, "found", None) or (-1, None)
        self._news.found = None
        if changes is None or known != since:
            request = encode(ChangesRequest(self._opened.study, self._name, since))
            changes = Changes._make(result_of("changes", self._connection.post("changes", request)))
        self._channel.known = changes.revision
        return changes

    def _write(self, method: str, *arguments: Any, patience: float | None = None) -> Any:
        """Return the result of a write; what it has brought from others answers this thread's next question for it."""
        if getattr(self._news, "found", None) is not None:  # nobody has asked for it: do not send it again and again
            self._channel.known = -1
        result, self._news.found = self._channel.write(method, *arguments, patience=patience)
        if self._channel.known >= 0 and getattr(result, "revision", result) == self._channel.known + 1:
            self._channel.known += 1  # nobody else has written
        return result

    def wait_for_changes(self, since: int, seconds: float) -> None:
        """Return when there may be work that there was not at revision ``since``, at the latest after some seconds."""
        request = encode(ChangesRequest(self._opened.study, self._name, since, seconds))
        self._connection.post("wait", request, wait=seconds)

    def checkpoint_files(self) -> HttpFiles:
        """Return where the checkpoints are kept, if the user names no other place."""
        return HttpFiles(self._connection, self._opened.study, self._name)

    def acquire(self, assignment: Assignment, expected: int) -> Written | None:
        """Write an assignment if there were ``expected`` acquisitions before."""
        written: Written | None = self._write("acquire", assignment, expected)
        return written

    def enqueue(self, params: Params) -> None:
        """Append a configuration to be tried."""
        self._write("enqueue", params)

    def report(self, report: ReportRow, *, is_patient: bool = False) -> int | None:
        """Append a report while the lease is held."""
        if not isinstance(report.metrics, str):
            report = report._replace(metrics=encode_metrics(report.metrics))
        patience = None if is_patient else REPORT_PATIENCE
        revision: int | None = self._write("report", report, patience=patience)
        return revision

    def update(self, number: int, attempt: int, **fields: Any) -> Written | None:
        """Rewrite fields of a trial's row while the lease is held."""
        written: Written | None = self._write("update", number, attempt, fields)
        return written

    def drop_checkpoint(self, number: int, checkpoint: str) -> Written | None:
        """Clear a trial's checkpoint if it is still this one."""
        written: Written | None = self._write("drop_checkpoint", number, checkpoint)
        return written

    def renew(self, leases: Sequence[tuple[int, int]], seconds: float) -> None:
        """Extend leases that are still held."""
        self._write("renew", leases, seconds, patience=REPORT_PATIENCE)

    def claim(self, key: str, owner: str, instead_of: str = "") -> str:
        """Transfer ``key`` from ``instead_of`` to ``owner``."""
        now: str = self._write("claim", key, owner, instead_of)
        return now

    def log(self, action: str, trial: int | None, details: dict[str, Any]) -> None:
        """Append an action to the log."""
        self._write("log", action, trial, details)

    def actions(self, since: int = 0) -> list[ActionRow]:
        """Return the log from number ``since`` on."""
        request = encode(ChangesRequest(self._opened.study, self._name, since))
        found: list[ActionRow] = result_of("actions", self._connection.post("actions", request))
        return found

    def exclusively(self, work: Callable[[], T]) -> T:
        """Return ``work()``: its acquisition may still be refused."""
        return work()

    def before_fork(self) -> None:
        """Do nothing: the child opens its own connections."""

    def after_fork(self) -> HttpStudyStore:
        """Return the study with a connection of the child's own."""
        return HttpStudyStore(Connection(self._connection.url), self._name, self._opened)

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same study in the process that unpickles it, which finds the token where this one has."""
        return _reopened, (self._connection, self._name, self._opened.study, self.definition)


def _reopened(connection: Connection, name: str, study: str, definition: Definition) -> HttpStudyStore:
    return HttpStudyStore(connection, name, Opened(study, definition))


class HttpStorage(ManagedStorage):
    """The studies of a server.

    Args:
        url: Its address, such as http://host:7777.

    Raises:
        StorageError: The URL is wrong, or there is no token.
    """

    private_folder = None

    def __init__(self, url: str) -> None:
        """Connect when it is first used."""
        self._connection = Connection(url)

    def names(self) -> list[str]:
        """Return the names of the studies."""
        names: list[str] = self._connection.call("names")
        return names

    def open(self, name: str, definition: Definition | None) -> HttpStudyStore:
        """Return the study, created if it is new."""
        opened: Opened = self._connection.call("open", name, definition)
        return HttpStudyStore(self._connection, name, opened)

    def counts(self, name: str) -> dict[str, int]:
        """Return how many trials of a study are in each state."""
        counts: dict[str, int] = self._connection.call("counts", name)
        return counts

    def rename(self, name: str, new_name: str) -> None:
        """Give a study another name."""
        identity = self._connection.call("identify", name)  # by which a repeated request is known to be done
        self._connection.call("rename", identity, name, new_name)

    def delete(self, name: str) -> None:
        """Delete a study with its trials and reports."""
        self._connection.call("delete", self._connection.call("identify", name), name)

    def copy(self, name: str, target: Storage, new_name: str) -> None:
        """Copy a study to another name on the same server.

        Raises:
            StudyNotFound: There is no such study.
            StorageError: The target has a study of that name, or is another storage.
        """
        if not isinstance(target, HttpStorage) or str(target) != str(self):
            raise StorageError(
                f"{self} copies studies to other names only, but the target is {target}. To copy them to another "
                "storage, run hpo-plugins copy on the server's machine, with the path that it serves."
            )
        self._connection.call("copy", secrets.token_hex(8), name, new_name)

    def checkpoint_root(self, name: str) -> str:
        """Return the folder of this machine's copies of checkpoints, in the working directory."""
        place = re.sub(r"\W+", "-", self._connection.url.partition("://")[2])
        return str((Path("hpo-plugins.checkpoints") / place / folder_name(name)).absolute())

    def __str__(self) -> str:
        """Return the server's address."""
        return self._connection.url

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same server in the process that unpickles it, which finds the token where this one has."""
        return HttpStorage, (self._connection.url,)
