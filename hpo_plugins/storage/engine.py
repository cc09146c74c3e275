"""A database: its URL, its engine, its transactions and clock, and what its errors mean for the user.

SQLite runs with a write-ahead log and ``synchronous=NORMAL``: a commit survives the death of every process, at a
hundredth of the cost of also surviving a power cut at that moment.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoResultFound, OperationalError, SQLAlchemyError

from hpo_plugins.errors import MissingDependency, StorageError, StudyNotFound
from hpo_plugins.storage.retry import Outage, Unreachable

LOCK_TIMEOUT = 60.0
"""Seconds that a process waits for another's write before it gives up."""


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
        with self.translate_errors("opened"):
            self.engine = engine_of(self.url)
        self.outage = Outage(str(self))
        weakref.finalize(self, _dispose, self.engine, os.getpid())

    def __str__(self) -> str:
        """Return the path or the URL, without its password."""
        return str(self.path) if self.path is not None else self.url.render_as_string(hide_password=True)

    @contextmanager
    def translate_errors(self, what: str) -> Iterator[None]:
        """Raise SQLAlchemy's and the system's errors as StorageError, with what to do about them."""
        try:
            yield
        except NoResultFound as error:
            raise StudyNotFound(f"The study was deleted from {self} meanwhile.") from error
        except (SQLAlchemyError, OSError) as error:
            cause = first_line(error)
            kind = Unreachable if is_outage(error, self.url) else StorageError
            raise kind(f"storage {self} could not be {what}: {cause}. {cure(cause)}") from error

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a transaction that holds the right to write from its start."""
        with (
            self.translate_errors("written"),
            self.engine.connect().execution_options(hpo_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that reads one state of the data."""
        with self.translate_errors("read"), self.engine.connect() as connection, connection.begin():
            yield connection

    def now(self) -> Any:
        """Return the database's clock as an SQL expression, in seconds since 1970."""
        match self.engine.dialect.name:
            case "sqlite":
                return (sa.func.julianday("now") - 2440587.5) * 86400.0
            case "postgresql":
                return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float(53))
            case _:
                return sa.literal(time.time(), sa.Float(53))

    def reopened(self) -> Database:
        """Return the same database with connections of its own."""
        return Database(self.url.render_as_string(hide_password=False))

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same database in the process that unpickles it."""
        return Database, (self.url.render_as_string(hide_password=False),)


def _dispose(engine: sa.Engine, pid: int) -> None:
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
    if text == ":memory:":
        raise StorageError("storage must be a file, but got ':memory:'. Omit storage to keep the study in memory.")
    if "://" not in text:
        return sa.URL.create("sqlite", database=os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111 - keeps links
    try:
        url = sa.make_url(text)
    except ArgumentError as error:
        raise StorageError(
            f"storage must be a path or a URL like postgresql+psycopg://user@host/db, but got {text!r}."
        ) from error
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise StorageError(f"storage must be a file, but got {text!r}. Omit storage to keep the study in memory.")
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
        engine = sa.create_engine(url, connect_args={"timeout": LOCK_TIMEOUT})
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{url.drivername} needs the package {error.name!r}. Install it with pip.", name=error.name
        ) from error
    except SQLAlchemyError as error:
        raise StorageError(
            f"storage must name a database that SQLAlchemy knows, but got {url.drivername!r}."
        ) from error
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions by itself, too late
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous=NORMAL")


def _use_write_ahead_log(connection: Any) -> None:
    """Turn on the write-ahead log.

    If several processes create one file at the same time, SQLite refuses all but one at once, whatever their timeout.
    """
    until = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later fails at once if another process wrote in between.
    write = connection.get_execution_options().get("hpo_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def is_outage(error: BaseException, url: sa.URL) -> bool:
    """Return whether a server could not be reached or refused for now, so that trying again may succeed."""
    if url.get_backend_name() == "sqlite" or not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


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
    "malformed": "The file is damaged: restore a copy, or give another path.",
    "readonly": "Make the file and its directory writable, or give another path.",
    "read-only": "Make the file and its directory writable, or give another path.",
    "unable to open": "Check that the directory exists and may be written, or give another path.",
    "locked": f"Another program has held it for {LOCK_TIMEOUT:.0f} s: close it, or give another path.",
    "full": "Free space on the disk; what was recorded before is safe.",
    "disk i/o": "Check the disk and its free space; what was recorded before is safe.",
    "password": "Check user and password in the URL.",
    "does not exist": "Make the database and the user first, or correct their names in the URL.",
    "connect": "Check host and port in the URL, and that the server runs.",
}
