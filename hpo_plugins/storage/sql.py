"""Studies in a database, through SQLAlchemy: a SQLite file by default, any SQLAlchemy URL.

SQLite runs with a write-ahead log and ``synchronous=NORMAL``: a commit survives the death of every process, at a
hundredth of the price of also surviving a power cut in its last instant.
"""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from hpo_plugins.errors import StorageError, StudyNotFound
from hpo_plugins.records import Assignment, Changes, ReportRow, TrialRow, TrialState, encode_metrics
from hpo_plugins.storage import engine as connecting
from hpo_plugins.storage import schema as tables
from hpo_plugins.storage.checkpoints import folder_name
from hpo_plugins.storage.protocol import LONGEST_SILENCE, Definition
from hpo_plugins.storage.retry import Outage, Unreachable, patient

_CREATING = 0x68706F
"""The number of the lock under which PostgreSQL's tables are made."""
_CHUNK = 20_000
"""Reports that are read at once, so that a large study is not in memory twice."""


class SqlStorage:
    """A database that holds studies.

    Args:
        target: A path of a SQLite file, made when it does not exist, or a SQLAlchemy URL.

    Raises:
        StorageError: The target cannot be opened, is not ours, or was written by a newer version.
    """

    def __init__(self, target: str | os.PathLike[str]) -> None:
        """Open the database and make its tables when they are missing."""
        self.url = connecting.url_of(target)
        self._path = Path(self.url.database) if self.url.get_backend_name() == "sqlite" and self.url.database else None
        with self._translated("opened"):
            self.engine = connecting.engine_of(self.url)
            self.outage = Outage(str(self))
            weakref.finalize(self, connecting.close, self.engine, os.getpid())
            self._prepare()

    def _prepare(self) -> None:
        if self._path is not None and not str(self._path).startswith("file:"):
            if self._path.is_dir():
                raise StorageError(
                    f"storage must be a file, but {self._path} is a directory. Add a file name, such as tuning.db."
                )
            if not self._path.parent.is_dir():
                raise StorageError(
                    f"storage cannot be made: the directory {self._path.parent} does not exist. Make it first."
                )
        with self.engine.connect() as connection:
            has_tables = sa.inspect(connection).has_table(tables.meta.name)
        if not has_tables:
            with self.write() as connection:
                if connection.dialect.name == "postgresql":  # else several first processes make the same tables
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATING)))
                tables.metadata.create_all(connection)
                if (
                    connection.execute(sa.select(tables.meta.c.value).where(tables.meta.c.key == "schema")).first()
                    is None
                ):
                    connection.execute(tables.meta.insert().values(key="schema", value=str(tables.SCHEMA_VERSION)))
        with self.engine.connect() as connection:
            version = int(
                connection.execute(sa.select(tables.meta.c.value).where(tables.meta.c.key == "schema")).scalar_one()
            )
        if version < tables.SCHEMA_VERSION:
            raise StorageError(
                f"{self} was written by an older version of hpo-plugins (format {version}; this one reads "
                f"{tables.SCHEMA_VERSION}). Finish it with that version, or give another path or database."
            )
        if version > tables.SCHEMA_VERSION:
            raise StorageError(
                f"{self} was written by a newer version of hpo-plugins (format {version}; this one reads up to "
                f"{tables.SCHEMA_VERSION}). Upgrade with: pip install -U hpo-plugins"
            )

    def __str__(self) -> str:
        """Name the storage without its password."""
        return str(self._path) if self._path is not None else self.url.render_as_string(hide_password=True)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            cause = connecting.cause(error)
            kind = Unreachable if connecting.is_outage(error, self.url) else StorageError
            raise kind(f"storage {self} could not be {what}: {cause}. {connecting.cure(cause)}") from error

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a transaction that holds the right to write from its start."""
        with (
            self._translated("written"),
            self.engine.connect().execution_options(hpo_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a transaction that reads one state of the data."""
        with self._translated("read"), self.engine.connect() as connection, connection.begin():
            yield connection

    def names(self) -> list[str]:
        """Return the names of the studies."""
        with self.read() as connection:
            return list(connection.execute(sa.select(tables.studies.c.name).order_by(tables.studies.c.id)).scalars())

    def open(self, name: str, definition: Definition | None) -> SqlStudyStore:
        """Return the study, made when it is new."""
        found = self._find(name)
        if found is None and definition is not None:
            try:
                with self.write() as connection:
                    values = {"name": name, "definition": json.dumps(definition), "revision": 0, "acquisitions": 0}
                    connection.execute(tables.studies.insert().values(values))
            except StorageError as error:
                if not isinstance(error.__cause__, IntegrityError):  # else another process made it just now
                    raise
            found = self._find(name)
        if found is None:
            known = ", ".join(map(repr, self.names())) or "none"
            raise StudyNotFound(f"No study {name!r} in {self}. Its studies: {known}.")
        return SqlStudyStore(self, name, *found)

    def _find(self, name: str) -> tuple[int, Definition] | None:
        with self.read() as connection:
            row = connection.execute(
                sa.select(tables.studies.c.id, tables.studies.c.definition).where(tables.studies.c.name == name)
            ).one_or_none()
        return None if row is None else (row.id, json.loads(row.definition))

    def checkpoint_root(self, name: str) -> str:
        """Return the folder beside a SQLite file, or one in the working directory for a server."""
        root = Path(f"{self._path}.checkpoints") if self._path is not None else Path("hpo-plugins.checkpoints")
        return str(root.absolute() / folder_name(name))

    def now(self) -> Any:
        """Return the database's clock as an expression, in seconds since 1970."""
        match self.engine.dialect.name:
            case "sqlite":
                return (sa.func.julianday("now") - 2440587.5) * 86400.0
            case "postgresql":
                return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float(53))
            case _:
                return sa.literal(time.time(), sa.Float(53))

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same database in the process that unpickles it."""
        return SqlStorage, (self.url.render_as_string(hide_password=False),)


class SqlStudyStore:
    """One study in a database."""

    outlives_process = True

    def __init__(self, storage: SqlStorage, name: str, study: int, definition: Definition) -> None:
        """Bind to a row of the studies' table."""
        self.definition = definition
        self._storage = storage
        self._name = name
        self._study = study
        self._lock = threading.Lock()  # one connection a process is all that SQLite can use for writing

    @property
    def reachable_since(self) -> float:
        """When the database came back from its last outage."""
        return self._storage.outage.ended

    @patient
    def define(self, definition: Definition) -> None:
        """Replace the definition."""
        with self._lock, self._storage.write() as connection:
            connection.execute(
                tables.studies.update()
                .where(tables.studies.c.id == self._study)
                .values(definition=json.dumps(definition))
            )
        self.definition = definition

    @patient
    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``."""
        now = self._storage.now().label("now")
        state = sa.select(
            tables.studies.c.revision,
            tables.studies.c.acquisitions,
            now,
            tables.studies.c.runtime,
            tables.studies.c.last_write,
        )
        with self._storage.read() as connection:
            study = connection.execute(state.where(tables.studies.c.id == self._study)).one()
            runtime = study.runtime + _counted(study.now, study.last_write)
            if study.revision <= since:
                return Changes(study.revision, study.acquisitions, study.now, (), (), runtime)
            # The study's row was read first: where reads do not share a snapshot, later rows come twice, not never.
            trials = connection.execute(
                sa.select(*tables.TRIAL_COLUMNS).where(
                    tables.trials.c.study == self._study, tables.trials.c.revision > since
                )
            )
            rows = [_trial(row) for row in trials]
            first = self._read_reports(connection, since, study.revision)
        reports = (
            first if len(first) < _CHUNK else chain(first, self._later_reports(first[-1].revision, study.revision))
        )
        made = (ReportRow._make(row[:-1]) for row in reports)
        return Changes(study.revision, study.acquisitions, study.now, rows, made, runtime)

    def _read_reports(self, connection: sa.Connection, since: int, until: int) -> Sequence[Any]:
        query = sa.select(*tables.REPORT_COLUMNS, tables.reports.c.revision).where(
            tables.reports.c.study == self._study, tables.reports.c.revision > since, tables.reports.c.revision <= until
        )
        return connection.execute(query.order_by(tables.reports.c.revision).limit(_CHUNK)).all()

    def _later_reports(self, since: int, until: int) -> Iterator[Any]:
        """Yield the rest of a large study, so that it is never in memory twice."""
        while True:
            with self._storage.read() as connection:
                rows = self._read_reports(connection, since, until)
            yield from rows
            if len(rows) < _CHUNK:
                return
            since = rows[-1].revision

    @patient
    def acquire(self, offer: Assignment, expected: int) -> bool:
        """Write the hand-out if there were ``expected`` before."""
        now = self._storage.now()
        with self._lock, self._storage.write() as connection:
            taken = connection.execute(
                tables.studies.update()
                .where(tables.studies.c.id == self._study, tables.studies.c.acquisitions == expected)
                .values(
                    acquisitions=tables.studies.c.acquisitions + 1,
                    revision=tables.studies.c.revision + 1,
                    **self._worked(),
                )
            )
            if taken.rowcount == 0:
                return False
            values = {
                "revision": self._revision(),
                "state": TrialState.RUNNING.value,
                "attempts": offer.attempt,
                "failed_attempts": offer.failed_attempts,
                "worker": offer.worker,
                "lease_until": now + offer.lease_seconds,
            }
            if offer.attempt == 1:
                key = {
                    "study": self._study,
                    "number": offer.number,
                    "params": json.dumps(offer.params),
                    "started_at": now,
                }
                connection.execute(tables.trials.insert().values(**key, **values))
            else:
                values |= {"decision": None, "stop_reason": None}
                connection.execute(tables.trials.update().where(*self._is(offer.number)).values(**values))
            return True

    @patient
    def report(self, report: ReportRow) -> int | None:
        """Append a report while the lease is held."""
        metrics = report.metrics if isinstance(report.metrics, str) else encode_metrics(report.metrics)
        with self._lock, self._storage.write() as connection:
            revision = self._advance(connection)
            values = {
                "this_study": self._study,
                "this_revision": revision,
                "this_number": report.number,
                "this_attempt": report.attempt,
                "this_epoch": report.epoch,
                "this_value": report.value,
                "this_metrics": metrics,
                "this_seconds": report.seconds,
            }
            if connection.execute(tables.APPEND_REPORT, values).rowcount == 0:
                connection.rollback()
                return None
            return revision

    @patient
    def update(self, number: int, attempt: int, **fields: Any) -> bool:
        """Rewrite fields of a trial's row while the lease is held."""
        if fields.get("ended_at"):
            fields["ended_at"] = self._storage.now()
        with self._lock, self._storage.write() as connection:
            revision = self._advance(connection, work=True)
            values = {name: value.value if isinstance(value, TrialState) else value for name, value in fields.items()}
            changed = tables.trials.update().where(*self._held(number, attempt, TrialState.RUNNING, TrialState.PAUSED))
            changed = changed.values(revision=revision, **values)
            return connection.execute(changed).rowcount == 1

    @patient
    def drop_checkpoint(self, number: int, checkpoint: str) -> bool:
        """Clear a trial's checkpoint if it is still this one."""
        with self._lock, self._storage.write() as connection:
            revision = self._advance(connection)
            cleared = tables.trials.update().where(*self._is(number), tables.trials.c.checkpoint == checkpoint)
            return connection.execute(cleared.values(revision=revision, checkpoint=None)).rowcount == 1

    def renew(self, held: Sequence[tuple[int, int]], lease: float) -> None:
        """Extend leases that are still held."""
        with self._lock, self._storage.write() as connection:
            revision = self._advance(connection, work=True)
            for number, attempt in held:
                connection.execute(
                    tables.trials.update()
                    .where(*self._held(number, attempt, TrialState.RUNNING))
                    .values(revision=revision, lease_until=self._storage.now() + lease)
                )

    def close(self) -> None:
        """Let go of connections."""
        self._storage.engine.dispose()

    def _is(self, number: int) -> tuple[Any, Any]:
        return tables.trials.c.study == self._study, tables.trials.c.number == number

    def _held(self, number: int, attempt: int, *states: TrialState) -> tuple[Any, ...]:
        state = tables.trials.c.state.in_([state.value for state in states])
        return *self._is(number), tables.trials.c.attempts == attempt, state

    def _revision(self) -> Any:
        return sa.select(tables.studies.c.revision).where(tables.studies.c.id == self._study).scalar_subquery()

    def _advance(self, connection: sa.Connection, *, work: bool = False) -> int:
        """Take the next revision; the study's row stays locked until the commit, so revisions commit in order.

        With ``work`` the runtime is added up too. Reports leave it: renewals are frequent enough, and reports hot.
        """
        study = {"this_study": self._study}
        if not work and connection.dialect.update_returning:
            revision: int = connection.execute(tables.ADVANCE, study).scalar_one()
        else:
            connection.execute(tables.NEXT_REVISION.values(**self._worked()) if work else tables.NEXT_REVISION, study)
            revision = connection.execute(tables.REVISION, study).scalar_one()
        return revision

    def _worked(self) -> dict[str, Any]:
        """Return the new values of the columns that add up the runtime."""
        now, last = self._storage.now(), tables.studies.c.last_write
        counted = sa.case(
            (last.is_(None), 0.0), (now - last > LONGEST_SILENCE, LONGEST_SILENCE), (now < last, 0.0), else_=now - last
        )
        return {"runtime": tables.studies.c.runtime + counted, "last_write": now}

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same study in the process that unpickles it."""
        return _reopen, (self._storage, self._name, self._study, self.definition)


def _reopen(storage: SqlStorage, name: str, study: int, definition: Definition) -> SqlStudyStore:
    return SqlStudyStore(storage, name, study, definition)


def _counted(now: float, last_write: float | None) -> float:
    return 0.0 if last_write is None else min(max(now - last_write, 0.0), LONGEST_SILENCE)


def _trial(row: sa.Row[Any]) -> TrialRow:
    columns = dict(row._mapping)
    verdict = columns["decision"]
    columns |= {"params": json.loads(row.params), "state": TrialState(row.state)}
    return TrialRow(**columns | {"decision": None if verdict is None else TrialState(verdict)})
