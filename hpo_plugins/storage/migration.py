"""Databases of older formats: read without a change, and migrated before the first write.

A transaction that reads an older database begins with temporary views, which have the names of today's tables and
hide the stored ones, and ends with a rollback, which removes the views. A migration is one transaction, so that a kill
leaves the old database or the new one; a SQLite file is copied first, while no other process may write.

The formats (docs/decisions/0042): 5 had no enqueued configurations and no checkpoint of the best epoch; 6 is that of
version 0.2.0; 7 splits the reason of an end into a rule and its detail.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from hpo_plugins.errors import StorageError
from hpo_plugins.records import TrialState
from hpo_plugins.storage import schema
from hpo_plugins.storage.checkpoints import sync_folder
from hpo_plugins.storage.places import replace
from hpo_plugins.storage.processes import is_running
from hpo_plugins.storage.redact import redacted

logger = logging.getLogger("hpo_plugins")

OLDEST = 5
"""The oldest format that can be read."""
_DIALECTS = ("sqlite", "postgresql")
"""Databases that change tables within a transaction and have temporary views."""
STEPS = {
    5: "adds the table of enqueued configurations, and which of them a trial tries",
    6: "splits the reason why a trial ended or paused into a rule and its detail",
}
"""What the migration from a format to the next one does."""
_SPLIT = {
    "rule": "CASE WHEN {at} > 0 THEN substr({reason}, 1, {at} - 1) ELSE {reason} END",
    "detail": "CASE WHEN {at} > 0 THEN substr({reason}, {at} + 2) END",
}


class Plan(NamedTuple):
    """The migration that a database needs.

    Attributes:
        version: Its format; ``SCHEMA_VERSION`` if it needs none.
        steps: What each step does.
        copy: Where the copy of a SQLite file is written; None for other databases.
    """

    version: int
    steps: tuple[str, ...]
    copy: Path | None


def is_supported(version: int, dialect: str) -> bool:
    """Return whether a database of this format and kind can be read and migrated."""
    return OLDEST <= version <= schema.SCHEMA_VERSION and (dialect in _DIALECTS or version == schema.SCHEMA_VERSION)


def version_of(connection: sa.Connection) -> int | None:
    """Return the format of a database; None without tables, or with a format that cannot be read."""
    if not sa.inspect(connection).has_table(schema.meta.name):
        return None
    version = str(connection.execute(schema.VERSION).scalar())
    return int(version) if version.isdecimal() else None


def is_older(connection: sa.Connection) -> bool:
    """Return whether a database has an older format that can be migrated."""
    version = version_of(connection)
    return version not in (None, schema.SCHEMA_VERSION) and is_supported(version or 0, connection.dialect.name)


def show_as_current(connection: sa.Connection) -> None:
    """Let the tables of an older database look like today's until the transaction is rolled back."""
    if connection.dialect.name == "postgresql":  # a migration by another process now waits for this transaction
        connection.exec_driver_sql(f"LOCK TABLE {schema.trials.name} IN ACCESS SHARE MODE")
    if not is_older(connection):
        return
    place = _place(connection)
    columns = ", ".join(f"{text} AS {name}" for name, text in _current_columns(connection).items())
    connection.exec_driver_sql(
        f"CREATE TEMPORARY VIEW {schema.trials.name} AS SELECT {columns} FROM {place}.{schema.trials.name}"
    )
    if not sa.inspect(connection).has_table(schema.points.name):
        nothing = ", ".join(f"{_null(column, connection)} AS {column.name}" for column in schema.points.c)
        connection.exec_driver_sql(f"CREATE TEMPORARY VIEW {schema.points.name} AS SELECT {nothing} WHERE 1 = 0")


def _place(connection: sa.Connection) -> str:
    """Return the schema in which the stored tables are."""
    if connection.dialect.name == "sqlite":
        return "main"
    query = f"SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('{schema.trials.name}')"
    return str(connection.exec_driver_sql(query).scalar_one())


def _current_columns(connection: sa.Connection) -> dict[str, str]:
    """Return an expression for each of today's columns of the trials."""
    stored, split = _stored_columns(connection), _split(connection, "stop_reason")
    return {
        column.name: column.name if column.name in stored else split.get(column.name, _null(column, connection))
        for column in schema.trials.c
    }


def _stored_columns(connection: sa.Connection) -> set[str]:
    return {column["name"] for column in sa.inspect(connection).get_columns(schema.trials.name)}


def _split(connection: sa.Connection, reason: str) -> dict[str, str]:
    """Return the expressions that split a reason, ``rule: detail``, where a colon is first followed by a space."""
    find = "instr" if connection.dialect.name == "sqlite" else "strpos"
    return {name: text.format(at=f"{find}({reason}, ': ')", reason=reason) for name, text in _SPLIT.items()}


def _null(column: sa.Column[Any], connection: sa.Connection) -> str:
    return f"CAST(NULL AS {column.type.compile(connection.dialect)})"


def plan(connection: sa.Connection) -> Plan:
    """Return what a migration would do.

    Raises:
        StorageError: The database has no tables of this package.
    """
    version = version_of(connection)
    if version is None:
        raise StorageError(f"{redacted(connection.engine.url)} has no studies of hpo-plugins.")
    steps = tuple(
        f"format {step} to {step + 1}: {STEPS[step]}" for step in range(max(version, OLDEST), schema.SCHEMA_VERSION)
    )
    path = _file_of(connection)
    return Plan(version, steps, None if path is None or not steps else _free_name(path, version))


def migrate(connection: sa.Connection) -> Plan | None:
    """Migrate a database to the current format; None if it has it already.

    Args:
        connection: In a transaction that holds the right to write.

    Returns:
        What was done.

    Raises:
        StorageError: A process of an older version may be training a trial.
    """
    if connection.dialect.name == "postgresql":  # of several processes that open it, one migrates, the others wait
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(schema.LOCK)))
    if not is_older(connection):
        return None
    done = plan(connection)
    _check_idle(connection)
    if done.copy is not None:
        _copy(connection, done.copy)
    _change(connection)
    return done


def report(done: Plan, where: str) -> None:
    """Tell in the log what a migration has done."""
    way_back = (
        "For the way back, restore your own backup" if done.copy is None else f"The file before it is {done.copy}"
    )
    logger.warning("%s was migrated from format %d to %d. %s.", where, done.version, schema.SCHEMA_VERSION, way_back)


def _check_idle(connection: sa.Connection) -> None:
    """Raise StorageError if an older version of this package may be writing to the database."""
    now = "(julianday('now') - 2440587.5) * 86400.0"
    if connection.dialect.name == "postgresql":
        now = "extract(epoch FROM clock_timestamp())"
    trials = schema.trials.c
    left = (trials.lease_until - sa.literal_column(now)).label("left")
    query = sa.select(trials.number, trials.worker, left).where(trials.state == TrialState.RUNNING.value, left > 0)
    for number, worker, seconds in connection.execute(query):
        if is_running(worker) is not False:
            raise StorageError(
                f"{redacted(connection.engine.url)} has an older format and cannot be migrated while an older version "
                f"of hpo-plugins trains trial {number} (worker {worker}). End that process and try again. Without a "
                f"sign of life, it counts as dead in {seconds:.0f} s."
            )


def _change(connection: sa.Connection) -> None:
    """Change the tables, whatever their format lacks."""
    name, stored = schema.trials.name, _stored_columns(connection)
    if "rule" not in stored:
        connection.exec_driver_sql(f"ALTER TABLE {name} RENAME COLUMN stop_reason TO rule")
        stored |= {"rule"}
    for column in schema.trials.c:
        if column.name not in stored:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {column.name} {kind}")
    if "detail" not in stored:
        split = ", ".join(f"{column} = {text}" for column, text in _split(connection, "rule").items())
        connection.exec_driver_sql(f"UPDATE {name} SET {split} WHERE rule IS NOT NULL")
    if connection.dialect.name == "postgresql":  # SQLite ignores lengths
        owner = schema.claims.c.owner.type.compile(connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {schema.claims.name} ALTER COLUMN owner TYPE {owner}")
    schema.create_tables(connection)
    connection.execute(
        schema.meta.update().where(schema.meta.c.key == "schema").values(value=str(schema.SCHEMA_VERSION))
    )


def _file_of(connection: sa.Connection) -> Path | None:
    """Return the file of a SQLite database."""
    if connection.dialect.name != "sqlite":
        return None
    return next(Path(row[2]) for row in connection.exec_driver_sql("PRAGMA database_list") if row[1] == "main")


def _free_name(path: Path, version: int) -> Path:
    """Return where to copy a file to: no earlier copy is overwritten."""
    names = (Path(f"{path}.bak-{version}{again}") for again in _suffixes())
    return next(name for name in names if not name.exists())


def _suffixes() -> Iterator[str]:
    yield ""
    number = 2
    while True:
        yield f"-{number}"
        number += 1


def _copy(connection: sa.Connection, target: Path) -> None:
    """Copy a SQLite file that nobody else may write to; a copy has its name once it is complete."""
    part = Path(f"{target}.part")
    part.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(str(_file_of(connection)))) as source,
        contextlib.closing(sqlite3.connect(part)) as copy,
    ):
        source.backup(copy)
    replace(part, target)
    sync_folder(target.parent)
