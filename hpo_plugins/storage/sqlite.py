"""SQLite's settings: the write-ahead log, transactions that begin as reads or writes, and fair waits for a write."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

LOCK_TIMEOUT = 60.0
"""Seconds that a process waits for another's write to a SQLite file before it raises an error."""
_MIN_LOCK_PAUSE, _MAX_LOCK_PAUSE = 0.0005, 0.005
"""Seconds between two attempts to begin a write. SQLite's own waits grow until, of many processes that report as
fast as they can, some wait long while others never do (docs/decisions/0017)."""


SYNCHRONOUS = ("NORMAL", "FULL")
"""How a commit reaches the disk: soon, or before it is acknowledged."""


class Lost(NamedTuple):
    """A file of a database that is not the one that was opened."""

    path: str
    is_log: bool
    is_deleted: bool


class Files:
    """The files of one database: the database itself, its write-ahead log, and the log's index.

    Args:
        path: The database.
    """

    def __init__(self, path: Path) -> None:
        """Start without files."""
        self._paths = [f"{path}{suffix}" for suffix in ("", "-wal", "-shm")]
        self._known: list[tuple[int, int] | None] = [None, None, None]

    def note(self) -> None:
        """Remember the files that are there after a transaction, as far as they are not known."""
        for index, known in enumerate(self._known):
            if known is None:
                self._known[index] = _identity(self._paths[index])

    def forget_logs(self) -> None:
        """Forget the log and its index: SQLite deletes them when the last connection is closed."""
        self._known[1:] = None, None

    def lost(self) -> Lost | None:
        """Return a file that is no longer the one that was opened, None if all are."""
        for index, known in enumerate(self._known):
            if known is not None and (found := _identity(self._paths[index])) != known:
                return Lost(self._paths[index], index > 0, found is None)
        return None


def _identity(path: str) -> tuple[int, int] | None:
    """Return what identifies a file, None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - each report does this, and Path takes twice as long
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def configure(level: str, connection: Any, _record: Any) -> None:
    """Configure a new connection; called by SQLAlchemy.

    Args:
        level: How commits reach the disk, one of ``SYNCHRONOUS``.
        connection: The driver's connection.
    """
    connection.isolation_level = None  # sqlite3 would begin transactions by itself, too late
    _use_write_ahead_log(connection)
    connection.execute(f"PRAGMA synchronous={level}")


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


def begin(level: str, connection: sa.Connection) -> None:
    """Begin a transaction that reads or, with the option ``hpo_write``, one that writes; called by SQLAlchemy.

    Args:
        level: How commits reach the disk, one of ``SYNCHRONOUS``.
        connection: Its option ``hpo_write`` says for how many seconds to wait for another's write, ``hpo_durable`` that
            the commit waits for the disk in any case.
    """
    options = connection.get_execution_options()
    if (timeout := options.get("hpo_write")) is None:
        connection.exec_driver_sql("BEGIN")
        return
    # A transaction that reads first and writes later fails at once if another process wrote in between.
    driver: Any = connection.connection.dbapi_connection
    if level != "FULL":
        driver.execute(f"PRAGMA synchronous={'FULL' if options.get('hpo_durable') else level}")
    driver.execute("PRAGMA busy_timeout=0")
    try:
        _begin_immediately(driver, timeout)
    finally:
        driver.execute(f"PRAGMA busy_timeout={LOCK_TIMEOUT * 1000:.0f}")


def _begin_immediately(driver: Any, timeout: float) -> None:
    """Begin a write as soon as no other process writes."""
    until, pause = time.monotonic() + timeout, _MIN_LOCK_PAUSE
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.5, 1.0) * pause)  # noqa: S311 - so that processes do not keep step
            pause = min(1.5 * pause, _MAX_LOCK_PAUSE)
        else:
            return
