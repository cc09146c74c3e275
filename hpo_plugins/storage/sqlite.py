"""What SQLite needs: the write-ahead log, transactions that begin as reads or writes, and fair waits for a write."""

from __future__ import annotations

import random
import sqlite3
import time
from typing import Any

import sqlalchemy as sa

LOCK_TIMEOUT = 60.0
"""Seconds that a process waits for another's write to a SQLite file before it says so."""
_MIN_LOCK_PAUSE, _MAX_LOCK_PAUSE = 0.0005, 0.005
"""Seconds between two attempts to begin a write. SQLite's own waits grow until, of many processes that report as
fast as they can, some wait long while others never do (docs/decisions/0017)."""


def configure(connection: Any, _record: Any) -> None:
    """Configure a new connection; called by SQLAlchemy."""
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


def begin(connection: sa.Connection) -> None:
    """Begin a transaction that reads or, with the option ``hpo_write``, one that writes; called by SQLAlchemy."""
    if not connection.get_execution_options().get("hpo_write", False):
        connection.exec_driver_sql("BEGIN")
        return
    # A transaction that reads first and writes later fails at once if another process wrote in between.
    driver: Any = connection.connection.dbapi_connection
    driver.execute("PRAGMA busy_timeout=0")
    try:
        _begin_immediately(driver)
    finally:
        driver.execute(f"PRAGMA busy_timeout={LOCK_TIMEOUT * 1000:.0f}")


def _begin_immediately(driver: Any) -> None:
    """Begin a write as soon as no other process writes."""
    until, pause = time.monotonic() + LOCK_TIMEOUT, _MIN_LOCK_PAUSE
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
