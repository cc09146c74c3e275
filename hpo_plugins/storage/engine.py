"""A database: its URL, its engine, its transactions and clock, and its errors in the user's terms.

SQLite runs with a write-ahead log. A commit survives the death of every process at once. A power cut may lose the last
commits, but never those before a checkpoint of a training run, which is written with ``synchronous=FULL``. With the URL
option ``?synchronous=FULL``, every commit waits for the disk, and a power cut loses nothing.

Short transactions share one open connection, since checking one out of SQLAlchemy's pool costs a good part of a report
(docs/decisions/0017).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoResultFound, SQLAlchemyError

from hpo_plugins.errors import MissingDependency, StorageError, StudyNotFound
from hpo_plugins.storage import migration, retry, sqlite
from hpo_plugins.storage.places import is_url
from hpo_plugins.storage.redact import entrust, entrusted, redacted
from hpo_plugins.storage.retry import Outage, Unreachable

logger = logging.getLogger("hpo_plugins")

T = TypeVar("T")
Mode: TypeAlias = Literal["read", "write", "durable write", "at once"]


class Database:
    """A database that processes and threads share.

    Args:
        target: Path of a SQLite file, or a SQLAlchemy URL.

    Attributes:
        url: The URL.
        path: The SQLite file, None for other databases.
        engine: SQLAlchemy's engine.
        outage: The outages seen by this process.

    Raises:
        StorageError: The target is not a path or URL, or SQLAlchemy does not know the database.
        MissingDependency: The database's driver is not installed.
    """

    def __init__(self, target: str | os.PathLike[str]) -> None:
        """Create the engine; it connects when it is first used."""
        self.url = url_of(target)
        self.path = Path(self.url.database) if self.url.get_backend_name() == "sqlite" and self.url.database else None
        is_path = not is_url(os.fspath(target))  # which may contain characters with a meaning in a URL
        self._target = str(self.path) if is_path else self.url.render_as_string(hide_password=False)
        self._files = None if self.path is None or str(self.path).startswith("file:") else sqlite.Files(self.path)
        self._errors: tuple[type[Exception], ...] = (SQLAlchemyError, OSError, UnicodeError)
        with self.translate_errors("opened"):
            self.engine = engine_of(self.url)
        self._errors += (self.engine.dialect.loaded_dbapi.Error,)
        self.outage = Outage(str(self))
        self._lock = threading.RLock()
        self._held: list[sa.Connection] = []  # the connection that short transactions share, if it is open
        self._at_once: list[sa.Connection] = []  # one whose statements are transactions of their own
        self._is_open = False  # whether it has answered
        self._is_older: bool | None = None  # whether it has an older format; None before that is known
        weakref.finalize(self, _dispose, self.engine, (self._held, self._at_once), os.getpid())
        _databases.add(self)

    def __str__(self) -> str:
        """Return the path or the URL, without its password."""
        return redacted(self.url if self.path is None else self.path)

    @contextmanager
    def translate_errors(self, what: str) -> Iterator[None]:
        """Raise SQLAlchemy's and the system's errors as StorageError, with what to do about them."""
        try:
            yield
        except NoResultFound as error:
            raise StudyNotFound(f"The study was deleted from {self} meanwhile.") from error
        except self._errors as error:
            cause = redacted(first_line(error))
            if self.url.password:
                cause = cause.replace(str(self.url.password), "***")
            kind = Unreachable if is_outage(error, self.url) else StorageError
            raise kind(f"storage {self} could not be {what}: {cause}. {cure(cause)}") from error

    def write(
        self,
        work: Callable[..., T],
        *arguments: Any,
        patience: float | None = None,
        is_durable: bool = False,
    ) -> T:
        """Return ``work(connection, *arguments)`` from a transaction that holds the right to write from its start.

        Args:
            work: The function to call; it is called again after a lost connection.
            *arguments: Its further arguments.
            patience: Seconds to wait while the database is unreachable or locked; None for the maximum length of an
                outage.
            is_durable: Whether it must survive a power cut once it is committed, with all commits before it.

        Raises:
            StorageError: The database cannot be reached or written.
        """
        return self._patiently(patience, "durable write" if is_durable else "write", work, arguments)

    def read(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return ``work(connection, *arguments)`` from a transaction that reads one state of the data.

        Args:
            work: The function to call. It should be short, since other threads wait for the connection.
            *arguments: Its further arguments.

        Raises:
            StorageError: The database cannot be reached or read.
        """
        return self._patiently(None, "read", work, arguments)

    def write_at_once(self, work: Callable[..., T], *arguments: Any, patience: float | None = None) -> T:
        """Return ``work(connection, *arguments)``, which executes one statement: it is committed as it ends.

        Args:
            work: The function to call.
            *arguments: Its further arguments.
            patience: As in ``write``.

        Raises:
            StorageError: The database cannot be reached or written.
        """
        return self._patiently(patience, "at once", work, arguments)

    def _patiently(self, patience: float | None, mode: Mode, work: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        began = time.monotonic()
        patience = retry.MAX_OUTAGE_SECONDS if patience is None else min(patience, retry.MAX_OUTAGE_SECONDS)
        while True:
            try:
                lock_timeout = min(max(patience - self.outage.seconds, 0.0), sqlite.LOCK_TIMEOUT)
                result = self._transact(mode, work, arguments, lock_timeout)
            except Unreachable as error:
                if not self.outage.wait(error, began, patience):
                    raise
            else:
                self.outage.end()
                return result

    def _transact(self, mode: Mode, work: Callable[..., T], arguments: tuple[Any, ...], lock_timeout: float) -> T:
        # One frame, without context managers of our own: a Ctrl-C at any instant ends in the except clause, and a
        # transaction that nobody knows of, which would hold SQLite's lock, ends with its connection.
        with self._lock:
            if self._held and self._held[0].in_transaction():  # within another write
                return work(self._held[0], *arguments)
            try:
                with self.translate_errors("opened" if not self._is_open else "read" if mode == "read" else "written"):
                    self._check_files()
                    if self._is_older is not False:
                        self._is_older = self._check_format(mode, lock_timeout)
                    if mode == "at once":
                        if not self._at_once:
                            connection = self.engine.connect()
                            self._at_once.append(connection.execution_options(isolation_level="AUTOCOMMIT"))
                        return work(self._at_once[0], *arguments)
                    if not self._held:
                        self._held.append(self.engine.connect())
                    timeout = None if mode == "read" else lock_timeout
                    connection = self._held[0].execution_options(hpo_write=timeout, hpo_durable=mode == "durable write")
                    with connection.begin() as transaction:
                        if self._is_older:
                            migration.show_as_current(connection)
                        result = work(connection, *arguments)
                        if self._is_older:
                            transaction.rollback()
                    self._is_open = True
                    if self._files is not None:
                        self._files.note()
                    return result
            except BaseException:
                _close(self._held)
                _close(self._at_once)
                raise

    def _check_format(self, mode: Mode, lock_timeout: float) -> bool:
        """Return whether the database has an older format, which it has no longer if it is to be written."""
        with self.engine.connect() as connection, connection.begin():
            is_older = migration.is_older(connection)
        if not is_older or mode == "read":
            return is_older
        options = {"hpo_write": lock_timeout, "hpo_durable": True}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            done = migration.migrate(connection)
        if done is not None:
            migration.report(done, str(self))
        return False

    def _check_files(self) -> None:
        """Raise StorageError if the SQLite files are no longer those that were opened: they would be written in vain.

        If only SQLite's log was deleted, the open connection still knows its content and writes it back.
        """
        if self._files is None:
            return
        if not (self._held or self._at_once):
            self._files.forget_logs()
        if (lost := self._files.lost()) is None:
            return
        if lost.is_log and lost.is_deleted and self._held and self._write_log_back():
            logger.warning(
                "%s was deleted while it was in use; what it contained was written to %s. It belongs to the study: "
                "leave it in place while a search runs.",
                lost.path,
                self.path,
            )
            return
        raise StorageError(
            f"storage {lost.path} was {'deleted' if lost.is_deleted else 'replaced by another file'} while it was in "
            "use, and nothing is recorded any more. Put the file that was opened back, or start the script again: it "
            "continues with what is at that path then."
        )

    def _write_log_back(self) -> bool:
        """Write SQLite's log to the database and close every connection of this process; return whether that worked."""
        (connection,) = self._held
        driver: Any = connection.connection.dbapi_connection
        is_busy = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if is_busy:
            return False
        for other in list(_databases):  # SQLite keeps one log for all connections of a process
            if other.path == self.path and other._lock.acquire(timeout=1.0):  # noqa: SLF001
                try:
                    other.close()
                finally:
                    other._lock.release()  # noqa: SLF001
        return True

    @contextmanager
    def stream(self) -> Iterator[sa.Connection]:
        """Open a transaction with a connection of its own, which may read for long."""
        with (
            self.translate_errors("read"),
            self.engine.connect() as connection,
            connection.begin() as transaction,
        ):
            if self._is_older is not False:
                migration.show_as_current(connection)
            yield connection
            if self._is_older is not False:
                transaction.rollback()

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        with self._lock:
            _close(self._held)
            _close(self._at_once)
            self.engine.dispose()
            if self._files is not None:
                self._files.forget_logs()

    def now(self) -> Any:
        """Return the database's clock as an SQL expression, in seconds since 1970.

        Of other databases than SQLite and PostgreSQL, it is the value ``this_now``: the clock of the process.
        """
        match self.engine.dialect.name:
            case "sqlite":
                return (sa.func.julianday("now") - 2440587.5) * 86400.0
            case "postgresql":
                return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float(53))
            case _:
                return sa.bindparam("this_now", type_=sa.Float(53))

    def reopened(self) -> Database:
        """Return the same database with connections of its own."""
        return Database(self._target)

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same database in the process that unpickles it."""
        target = self._target
        return (_reopen, entrust(target)) if is_url(target) else (Database, (target,))


def _reopen(shown: str, variable: str) -> Database:
    return Database(entrusted(shown, variable))


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[Any] = []


def _after_fork() -> None:
    """Keep a parent's connections open and unused in a forked child: closing one would end it in the parent, too."""
    for database in list(_databases):
        for held in (database._held, database._at_once):  # noqa: SLF001
            _inherited.extend(held)
            held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _close(held: list[sa.Connection]) -> None:
    while held:
        connection = held.pop()
        with contextlib.suppress(SQLAlchemyError, OSError):
            connection.invalidate()
            connection.close()


def _dispose(engine: sa.Engine, connections: Sequence[list[sa.Connection]], pid: int) -> None:
    if pid == os.getpid():
        for held in connections:
            _close(held)
    engine.dispose(close=pid == os.getpid())  # a forked child must not close its parent's connections


def url_of(target: str | os.PathLike[str]) -> sa.URL:
    """Return the URL of a path or URL.

    Raises:
        StorageError: It is empty, not a URL, or names a database in memory.
    """
    text = os.fspath(target)
    if not text:
        raise StorageError(
            "storage must be a path or a URL, but got an empty string. Omit it to keep the study in memory."
        )
    if "\0" in text:
        raise StorageError(f"storage must be a path or a URL, but got {redacted(text)!r}, which contains NUL.")
    if text == ":memory:":
        raise StorageError("storage must be a file, but got ':memory:'. Omit storage to keep the study in memory.")
    if not is_url(text):
        return sa.URL.create("sqlite", database=os.path.realpath(os.path.expanduser(text)))  # noqa: PTH111 - as a string
    try:
        url = sa.make_url(text)
    except ArgumentError as error:
        raise StorageError(
            f"storage must be a path or a URL like postgresql+psycopg://user@host/db, but got {redacted(text)!r}."
        ) from error
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise StorageError(f"storage must be a file, but got {text!r}. Omit storage to keep the study in memory.")
    if url.get_backend_name() == "sqlite" and url.database and not url.database.startswith("file:"):
        return url.set(database=os.path.realpath(url.database))  # by a link, it is the same study
    return url


def engine_of(url: sa.URL) -> sa.Engine:
    """Return an engine; it connects when it is first used.

    Raises:
        MissingDependency: The database's driver is not installed.
        StorageError: SQLAlchemy does not know this kind of database.
    """
    try:
        if url.get_backend_name() != "sqlite":
            return sa.create_engine(url, pool_pre_ping=True)
        level = str(url.query.get("synchronous", "NORMAL")).upper()
        if level not in sqlite.SYNCHRONOUS:
            raise StorageError(
                f"synchronous must be {' or '.join(sqlite.SYNCHRONOUS)} in a URL of SQLite, but got {level!r}."
            )
        plain = url.difference_update_query(["synchronous"])
        engine = sa.create_engine(plain, connect_args={"timeout": sqlite.LOCK_TIMEOUT})
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{url.drivername} needs the package {error.name!r}. Install it with pip.", name=error.name
        ) from error
    except SQLAlchemyError as error:
        raise StorageError(
            f"storage must name a database that SQLAlchemy knows, but got {url.drivername!r}."
        ) from error
    sa.event.listen(engine, "connect", functools.partial(sqlite.configure, level))
    sa.event.listen(engine, "begin", functools.partial(sqlite.begin, level))
    return engine


_LASTING = ("password", "does not exist", "pg_hba", "host name", "resolve host", "name or service not known")
"""Parts of a server's refusal that mark it as permanent."""


def is_outage(error: BaseException, url: sa.URL) -> bool:
    """Return whether a database could not be reached or refused for now, so that trying again may succeed."""
    cause = first_line(error).casefold()
    if url.get_backend_name() == "sqlite":
        return "locked" in cause
    if any(words in cause for words in _LASTING):
        return False
    kinds = {kind.__name__ for kind in type(getattr(error, "orig", None) or error).__mro__}  # of any driver
    return not kinds.isdisjoint({"OperationalError", "InterfaceError"})


def first_line(error: BaseException) -> str:
    """Return the first line of a database's own message."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def cure(cause: str) -> str:
    """Return what to do about a database's message."""
    folded = cause.casefold()
    for words, cure in _CURES.items():
        if words in folded:
            return cure
    return "Check that the path or URL is right and that the database can be reached."


_CURES = {
    "not a database": "The file is something else: give another path, or remove it.",
    "codec": "The file is damaged: restore a copy, or give another path.",
    "malformed": "The file is damaged: restore a copy, or give another path.",
    "readonly": "Make the file and its directory writable, or give another path.",
    "read-only": "Make the file and its directory writable, or give another path.",
    "unable to open": "Check that the directory exists and may be written, or give another path.",
    "locked": "Another program holds it: close it, or give another path.",
    "full": "Free space on the disk; what was recorded before is safe.",
    "disk i/o": "Check the disk and its free space; what was recorded before is safe.",
    "password": "Check user and password in the URL.",
    "does not exist": "Make the database and the user first, or correct their names in the URL.",
    "connect": "Check host and port in the URL, and that the server runs.",
}
