"""Studies in a database: a SQLite file, or any database that SQLAlchemy reaches by a URL."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from hpo_plugins.errors import StorageError, StudyNotFound
from hpo_plugins.storage import migration, schema
from hpo_plugins.storage.checkpoints import folder_name
from hpo_plugins.storage.damage import damaged
from hpo_plugins.storage.engine import Database
from hpo_plugins.storage.protocol import Definition, Storage
from hpo_plugins.storage.redact import redacted
from hpo_plugins.storage.sql_study import SqlStudyStore

_CHUNK_SIZE = 5_000
"""Rows that are copied at a time."""


class SqlStorage:
    """A database that holds studies.

    Args:
        target: Path of a SQLite file, created if it does not exist; a SQLAlchemy URL; or a database.

    Raises:
        StorageError: The target cannot be opened, is not ours, or was written by another version.
    """

    private_folder = None

    def __init__(self, target: str | os.PathLike[str] | Database) -> None:
        """Open the database, and create its tables if they are missing."""
        self.database = target if isinstance(target, Database) else Database(target)
        with self.database.translate_errors("opened"):
            self._check_path()
        if not self.database.read(_has_tables):
            self.database.write(schema.create_tables)
        self._check_version(self.database.read(_version))

    def _check_path(self) -> None:
        path = self.database.path
        if path is None or str(path).startswith("file:"):
            return
        if path.is_dir():
            raise StorageError(
                f"storage must be a file, but {redacted(path)} is a directory. Add a file name, such as tuning.db."
            )
        if not path.parent.is_dir():
            raise StorageError(
                f"storage cannot be created: the directory {redacted(path.parent)} does not exist. Create it first."
            )

    def _check_version(self, version: int) -> None:
        if version < schema.SCHEMA_VERSION and not migration.is_supported(version, self.database.engine.dialect.name):
            raise StorageError(
                f"{self.database} was written by an older version of hpo-plugins (format {version}; this one reads "
                f"{schema.SCHEMA_VERSION}). Finish its studies with that version, or give another path or database."
            )
        if version > schema.SCHEMA_VERSION:
            raise StorageError(
                f"{self.database} was written by a newer version of hpo-plugins (format {version}; this one reads up "
                f"to {schema.SCHEMA_VERSION}). Upgrade with: pip install -U hpo-plugins"
            )

    def names(self) -> list[str]:
        """Return the names of the studies."""
        return self.database.read(_names)

    def open(self, name: str, definition: Definition | None) -> SqlStudyStore:
        """Return the study, created if it is new."""
        found = self.database.read(_find, name)
        if found is None and definition is not None:
            try:
                self.database.write(_insert, name, json.dumps(definition))
            except StorageError as error:
                if not isinstance(error.__cause__, IntegrityError):  # otherwise another process has just created it
                    raise
            found = self.database.read(_find, name)
        if found is None:
            raise self._not_found(name)
        return SqlStudyStore(self.database, name, *found)

    def _not_found(self, name: str) -> StudyNotFound:
        known = ", ".join(map(repr, self.names())) or "none"
        return StudyNotFound(f"No study {name!r} in {self.database}. Its studies: {known}.")

    def _key(self, name: str) -> int:
        """Return a study's key, even if its definition is damaged."""
        key = self.database.read(_find_key, name)
        if key is None:
            raise self._not_found(name)
        return key

    def counts(self, name: str) -> dict[str, int]:
        """Return how many trials of a study are in each state.

        Raises:
            StudyNotFound: There is no such study.
        """
        return self.database.read(_counts, self._key(name))

    def rename(self, name: str, new_name: str) -> None:
        """Rename a study; its checkpoint files stay.

        Raises:
            StudyNotFound: There is no such study.
            StorageError: There is a study of the new name.
        """
        key = self._key(name)
        try:
            self.database.write(_rename, key, new_name)
        except StorageError as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
            raise StorageError(f"{self.database} has a study {new_name!r} already.") from error

    def delete(self, name: str) -> None:
        """Delete a study with its trials and reports; its checkpoint files stay.

        Raises:
            StudyNotFound: There is no such study.
        """
        self.database.write(_delete, self._key(name))

    def copy(self, name: str, target: Storage, new_name: str) -> None:
        """Copy a study, as it is now, to another storage or name; its checkpoint files stay where they are.

        Args:
            name: The study.
            target: Where to copy it to.
            new_name: Its name there.

        Raises:
            StudyNotFound: There is no such study.
            StorageError: The target has a study of that name, or is no database.
        """
        if not isinstance(target, SqlStorage):
            raise StorageError(
                f"{self.database} copies studies to a path or the URL of a database, but the target is {target}."
            )
        study = self.open(name, None).study
        if new_name in target.names():
            raise StorageError(f"{target.database} has a study {new_name!r} already. Give the copy another name.")
        target.database.write(schema.create_tables)  # one that is older may lack a table
        with self.database.stream() as source:
            try:
                target.database.write(_copy, _Source(self.database, source, study), new_name)
            except StorageError as error:
                if not isinstance(error.__cause__, IntegrityError) or new_name in target.names():
                    raise
                raise damaged(str(self.database), f"study {name!r}", error.__cause__.orig or error) from error

    def checkpoint_root(self, name: str) -> str:
        """Return the folder beside a SQLite file, or one in the working directory for a server."""
        path = self.database.path
        root = Path("hpo-plugins.checkpoints") if path is None else Path(f"{path}.checkpoints")
        return str(root.absolute() / folder_name(name))

    def __str__(self) -> str:
        """Return what names the database in errors."""
        return str(self.database)

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same database in the process that unpickles it."""
        return SqlStorage, (self.database,)


def _has_tables(connection: sa.Connection) -> bool:
    return sa.inspect(connection).has_table(schema.meta.name)


def _version(connection: sa.Connection) -> int:
    version = connection.execute(schema.VERSION).scalar_one_or_none()
    if not str(version).isdecimal():
        raise StorageError(
            f"{redacted(connection.engine.url)} has tables of hpo-plugins, but no version that can be read: "
            f"{version!r}. It is damaged: restore a copy, or give another path or database."
        )
    return int(str(version))


def _names(connection: sa.Connection) -> list[str]:
    names = list(connection.execute(sa.select(schema.studies.c.name).order_by(schema.studies.c.id)).scalars())
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise damaged(str(redacted(connection.engine.url)), "the table of studies", f"a name is {wrong[0]!r}")
    return names


def _find_key(connection: sa.Connection, name: str) -> int | None:
    return connection.execute(sa.select(schema.studies.c.id).where(schema.studies.c.name == name)).scalar_one_or_none()


def _find(connection: sa.Connection, name: str) -> tuple[int, Definition] | None:
    columns = schema.studies.c.id, schema.studies.c.definition
    row = connection.execute(sa.select(*columns).where(schema.studies.c.name == name)).one_or_none()
    if row is None:
        return None
    try:
        return row.id, json.loads(row.definition)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(f"Study {name!r} in {redacted(connection.engine.url)}", "its definition", error) from error


def _insert(connection: sa.Connection, name: str, definition: str) -> None:
    values = {"name": name, "definition": definition, "revision": 0, "acquisitions": 0}
    connection.execute(schema.studies.insert().values(values))


def _counts(connection: sa.Connection, study: int) -> dict[str, int]:
    state = schema.trials.c.state
    query = sa.select(state, sa.func.count()).where(schema.trials.c.study == study).group_by(state).order_by(state)
    return {str(state): int(count) for state, count in connection.execute(query)}


def _rename(connection: sa.Connection, study: int, name: str) -> None:
    connection.execute(schema.studies.update().where(schema.studies.c.id == study).values(name=name))


def _delete(connection: sa.Connection, study: int) -> None:
    for table in schema.tables_of_studies(connection):
        connection.execute(table.delete().where(table.c.study == study))
    connection.execute(schema.studies.delete().where(schema.studies.c.id == study))


class _Source(NamedTuple):
    """A study that is copied: what cannot be read is an error of its database, not of the one that is written to."""

    database: Database
    connection: sa.Connection
    study: int

    def row(self) -> dict[str, Any]:
        """Return the study's own row, without its key."""
        query = sa.select(schema.studies).where(schema.studies.c.id == self.study)
        with self.database.translate_errors("read"):
            row = dict(self.connection.execute(query).one()._mapping)
        del row["id"]
        self._check(schema.studies, [row])
        return row

    def parts(self, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of a table that belong to the study, some at a time."""
        with self.database.translate_errors("read"):
            rows = self.connection.execute(sa.select(table).where(table.c.study == self.study))
        while True:
            with self.database.translate_errors("read"):
                part = [dict(row._mapping) for row in rows.fetchmany(_CHUNK_SIZE)]
            if not part:
                return
            self._check(table, part)
            yield part

    def _check(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        """Raise StorageError if a value is of another type than its column: SQLite keeps whatever it is given."""
        for name in rows[0]:
            kind = table.c[name].type.python_type
            allowed = float | int | None if kind is float else kind | None
            wrong = next((row[name] for row in rows if not isinstance(row[name], allowed)), None)
            if wrong is not None:
                raise damaged(str(self.database), f"the column {name} of {table.name}", f"a value is {wrong!r}")


def _copy(connection: sa.Connection, source: _Source, new_name: str) -> None:
    values = source.row() | {"name": new_name}
    copied = connection.execute(schema.studies.insert().values(values).returning(schema.studies.c.id)).scalar_one()
    for table in schema.tables_of_studies(source.connection):
        for part in source.parts(table):
            connection.execute(table.insert(), [row | {"study": copied} for row in part])
    trials = schema.trials.c  # no worker trains the copy's trials
    connection.execute(schema.trials.update().where(trials.study == copied).values(lease_until=None))
