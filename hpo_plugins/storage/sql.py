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
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from hpo_plugins.checkpoints import folder_name
from hpo_plugins.errors import MissingDependency, StorageError, StudyNotFound
from hpo_plugins.records import Changes, HandOut, ReportRow, TrialRow, TrialState, encode_metrics
from hpo_plugins.storage.base import LONGEST_SILENCE, Definition

SCHEMA_VERSION = 1
LOCK_TIMEOUT = 60.0
"""Seconds that a process waits for another's write before it gives up."""

_metadata = sa.MetaData()
_meta = sa.Table(
    "hpo_meta",
    _metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_studies = sa.Table(
    "hpo_studies",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(512), nullable=False, unique=True),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("hand_outs", sa.BigInteger, nullable=False),
    sa.Column("runtime", sa.Float(53), nullable=False, default=0.0),
    sa.Column("last_write", sa.Float(53)),  # when the runtime was last added up; None before the first hand-out
)
_trials = sa.Table(
    "hpo_trials",
    _metadata,
    sa.Column("study", sa.ForeignKey("hpo_studies.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("lost", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("lease_until", sa.Float(53), nullable=False),
    sa.Column("started_at", sa.Float(53), nullable=False),
    sa.Column("ended_at", sa.Float(53)),
    sa.Column("verdict", sa.String(16)),
    sa.Column("stop_reason", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("checkpoint", sa.Text),
    sa.Column("start_epoch", sa.BigInteger, nullable=False, default=0),
    sa.Index("hpo_trials_revision", "study", "revision"),
)
_reports = sa.Table(  # a log: appended only, in the order of its key, which is the order in which it is read
    "hpo_reports",
    _metadata,
    sa.Column("study", sa.ForeignKey("hpo_studies.id"), primary_key=True),
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Float(53)),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("seconds", sa.Float(53), nullable=False),
    sqlite_with_rowid=False,
)
_TRIAL_COLUMNS = [_trials.c[field.name] for field in fields(TrialRow)]
_REPORT_COLUMNS = [_reports.c[name] for name in ReportRow._fields]
_CHUNK = 20_000
"""Reports that are read at once, so that a large study is not in memory twice."""

# The statements on the path of every report are built once: building one takes longer than running it.
_THIS_STUDY = _studies.c.id == sa.bindparam("this_study")
_NEXT_REVISION = _studies.update().where(_THIS_STUDY).values(revision=_studies.c.revision + 1)
_ADVANCE = _NEXT_REVISION.returning(_studies.c.revision)
_REVISION = sa.select(_studies.c.revision).where(_THIS_STUDY)
_REPORT_VALUES = {
    name: sa.bindparam(f"this_{name}", type_=_reports.c[name].type)
    for name in ("study", "revision", *ReportRow._fields)
}
_APPEND_REPORT = _reports.insert().from_select(
    list(_REPORT_VALUES),
    sa.select(*_REPORT_VALUES.values()).where(
        _trials.c.study == _REPORT_VALUES["study"],
        _trials.c.number == _REPORT_VALUES["number"],
        _trials.c.attempts == _REPORT_VALUES["attempt"],
        _trials.c.state == TrialState.RUNNING.value,
    ),
)
"""Appends a report if the trial's lease is held: one row is selected then, and none otherwise."""


class SqlStorage:
    """A database that holds studies.

    Args:
        target: A path of a SQLite file, made when it does not exist, or a SQLAlchemy URL.

    Raises:
        StorageError: The target cannot be opened, is not ours, or was written by a newer version.
    """

    def __init__(self, target: str | os.PathLike[str]) -> None:
        """Open the database and make its tables when they are missing."""
        self.url = _url(target)
        self._path = Path(self.url.database) if self.url.get_backend_name() == "sqlite" and self.url.database else None
        with self._translated("opened"):
            self.engine = _engine(self.url)
            weakref.finalize(self, _close, self.engine, os.getpid())
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
            has_tables = sa.inspect(connection).has_table(_meta.name)
        if not has_tables:
            with self.write() as connection:
                _metadata.create_all(connection)
                if connection.execute(sa.select(_meta.c.value).where(_meta.c.key == "schema")).first() is None:
                    connection.execute(_meta.insert().values(key="schema", value=str(SCHEMA_VERSION)))
        with self.engine.connect() as connection:
            version = int(connection.execute(sa.select(_meta.c.value).where(_meta.c.key == "schema")).scalar_one())
        if version > SCHEMA_VERSION:
            raise StorageError(
                f"{self} was written by a newer version of hpo-plugins (format {version}; this one reads up to "
                f"{SCHEMA_VERSION}). Upgrade with: pip install -U hpo-plugins"
            )

    def __str__(self) -> str:
        """Name the storage without its password."""
        return str(self._path) if self._path is not None else self.url.render_as_string(hide_password=True)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise StorageError(
                f"storage {self} could not be {what}: {_cause(error)}. {_cure(_cause(error))}"
            ) from error

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
            return list(connection.execute(sa.select(_studies.c.name).order_by(_studies.c.id)).scalars())

    def open(self, name: str, definition: Definition | None) -> SqlStudyStore:
        """Return the study, made when it is new."""
        found = self._find(name)
        if found is None and definition is not None:
            try:
                with self.write() as connection:
                    values = {"name": name, "definition": json.dumps(definition), "revision": 0, "hand_outs": 0}
                    connection.execute(_studies.insert().values(values))
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
                sa.select(_studies.c.id, _studies.c.definition).where(_studies.c.name == name)
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

    def define(self, definition: Definition) -> None:
        """Replace the definition."""
        with self._lock, self._storage.write() as connection:
            connection.execute(
                _studies.update().where(_studies.c.id == self._study).values(definition=json.dumps(definition))
            )
        self.definition = definition

    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``."""
        now = self._storage.now().label("now")
        state = sa.select(_studies.c.revision, _studies.c.hand_outs, now, _studies.c.runtime, _studies.c.last_write)
        with self._storage.read() as connection:
            study = connection.execute(state.where(_studies.c.id == self._study)).one()
            runtime = study.runtime + _counted(study.now, study.last_write)
            if study.revision <= since:
                return Changes(study.revision, study.hand_outs, study.now, (), (), runtime)
            # The study's row was read first: where reads do not share a snapshot, later rows come twice, not never.
            trials = connection.execute(
                sa.select(*_TRIAL_COLUMNS).where(_trials.c.study == self._study, _trials.c.revision > since)
            )
            rows = [_trial(row) for row in trials]
            first = self._read_reports(connection, since, study.revision)
        reports = (
            first if len(first) < _CHUNK else chain(first, self._later_reports(first[-1].revision, study.revision))
        )
        made = (ReportRow._make(row[:-1]) for row in reports)
        return Changes(study.revision, study.hand_outs, study.now, rows, made, runtime)

    def _read_reports(self, connection: sa.Connection, since: int, until: int) -> Sequence[Any]:
        query = sa.select(*_REPORT_COLUMNS, _reports.c.revision).where(
            _reports.c.study == self._study, _reports.c.revision > since, _reports.c.revision <= until
        )
        return connection.execute(query.order_by(_reports.c.revision).limit(_CHUNK)).all()

    def _later_reports(self, since: int, until: int) -> Iterator[Any]:
        """Yield the rest of a large study, so that it is never in memory twice."""
        while True:
            with self._storage.read() as connection:
                rows = self._read_reports(connection, since, until)
            yield from rows
            if len(rows) < _CHUNK:
                return
            since = rows[-1].revision

    def hand_out(self, offer: HandOut, expected: int) -> bool:
        """Write the hand-out if there were ``expected`` before."""
        now = self._storage.now()
        with self._lock, self._storage.write() as connection:
            taken = connection.execute(
                _studies.update()
                .where(_studies.c.id == self._study, _studies.c.hand_outs == expected)
                .values(hand_outs=_studies.c.hand_outs + 1, revision=_studies.c.revision + 1, **self._worked())
            )
            if taken.rowcount == 0:
                return False
            values = {
                "revision": self._revision(),
                "state": TrialState.RUNNING.value,
                "attempts": offer.attempt,
                "lost": offer.lost,
                "worker": offer.worker,
                "lease_until": now + offer.lease,
            }
            if offer.attempt == 1:
                key = {
                    "study": self._study,
                    "number": offer.number,
                    "params": json.dumps(offer.params),
                    "started_at": now,
                }
                connection.execute(_trials.insert().values(**key, **values))
            else:
                values |= {"verdict": None, "stop_reason": None}
                connection.execute(_trials.update().where(*self._is(offer.number)).values(**values))
            return True

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
            if connection.execute(_APPEND_REPORT, values).rowcount == 0:
                connection.rollback()
                return None
            return revision

    def update(self, number: int, attempt: int, **fields: Any) -> bool:
        """Rewrite fields of a trial's row while the lease is held."""
        if fields.get("ended_at"):
            fields["ended_at"] = self._storage.now()
        with self._lock, self._storage.write() as connection:
            revision = self._advance(connection, work=True)
            values = {name: value.value if isinstance(value, TrialState) else value for name, value in fields.items()}
            changed = _trials.update().where(*self._held(number, attempt, TrialState.RUNNING, TrialState.PAUSED))
            changed = changed.values(revision=revision, **values)
            return connection.execute(changed).rowcount == 1

    def drop_checkpoint(self, number: int, checkpoint: str) -> bool:
        """Clear a trial's checkpoint if it is still this one."""
        with self._lock, self._storage.write() as connection:
            revision = self._advance(connection)
            cleared = _trials.update().where(*self._is(number), _trials.c.checkpoint == checkpoint)
            return connection.execute(cleared.values(revision=revision, checkpoint=None)).rowcount == 1

    def renew(self, held: Sequence[tuple[int, int]], lease: float) -> None:
        """Extend leases that are still held."""
        with self._lock, self._storage.write() as connection:
            revision = self._advance(connection, work=True)
            for number, attempt in held:
                connection.execute(
                    _trials.update()
                    .where(*self._held(number, attempt, TrialState.RUNNING))
                    .values(revision=revision, lease_until=self._storage.now() + lease)
                )

    def close(self) -> None:
        """Let go of connections."""
        self._storage.engine.dispose()

    def _is(self, number: int) -> tuple[Any, Any]:
        return _trials.c.study == self._study, _trials.c.number == number

    def _held(self, number: int, attempt: int, *states: TrialState) -> tuple[Any, ...]:
        state = _trials.c.state.in_([state.value for state in states])
        return *self._is(number), _trials.c.attempts == attempt, state

    def _revision(self) -> Any:
        return sa.select(_studies.c.revision).where(_studies.c.id == self._study).scalar_subquery()

    def _advance(self, connection: sa.Connection, *, work: bool = False) -> int:
        """Take the next revision; the study's row stays locked until the commit, so revisions commit in order.

        With ``work`` the runtime is added up too. Reports leave it: renewals are frequent enough, and reports hot.
        """
        study = {"this_study": self._study}
        if not work and connection.dialect.update_returning:
            revision: int = connection.execute(_ADVANCE, study).scalar_one()
        else:
            connection.execute(_NEXT_REVISION.values(**self._worked()) if work else _NEXT_REVISION, study)
            revision = connection.execute(_REVISION, study).scalar_one()
        return revision

    def _worked(self) -> dict[str, Any]:
        """Return the new values of the columns that add up the runtime."""
        now, last = self._storage.now(), _studies.c.last_write
        counted = sa.case(
            (last.is_(None), 0.0), (now - last > LONGEST_SILENCE, LONGEST_SILENCE), (now < last, 0.0), else_=now - last
        )
        return {"runtime": _studies.c.runtime + counted, "last_write": now}

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same study in the process that unpickles it."""
        return _reopen, (self._storage, self._name, self._study, self.definition)


def _reopen(storage: SqlStorage, name: str, study: int, definition: Definition) -> SqlStudyStore:
    return SqlStudyStore(storage, name, study, definition)


def _counted(now: float, last_write: float | None) -> float:
    return 0.0 if last_write is None else min(max(now - last_write, 0.0), LONGEST_SILENCE)


def _trial(row: sa.Row[Any]) -> TrialRow:
    columns = dict(row._mapping)
    verdict = columns["verdict"]
    columns |= {"params": json.loads(row.params), "state": TrialState(row.state)}
    return TrialRow(**columns | {"verdict": None if verdict is None else TrialState(verdict)})


def _url(target: str | os.PathLike[str]) -> sa.URL:
    text = os.fspath(target)
    if not text:
        raise StorageError(
            "storage must be a path or a URL, but got an empty string. Omit it to keep the study in memory."
        )
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


def _close(engine: sa.Engine, pid: int) -> None:
    engine.dispose(close=pid == os.getpid())  # a forked child must not close its parent's connections


def _engine(url: sa.URL) -> sa.Engine:
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
    connection.execute("PRAGMA journal_mode=WAL").fetchone()
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later fails at once when another writer came in between.
    write = connection.get_execution_options().get("hpo_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _cause(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def _cure(cause: str) -> str:
    """Return what to do about the database's words."""
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
    "connect": "Check host and port in the URL, and that the server runs.",
}
