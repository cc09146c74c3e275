"""One study in a database, through SQLAlchemy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import NoResultFound

from hpo_plugins.records import (
    ActionRow,
    Assignment,
    Changes,
    Progress,
    ReportRow,
    TrialRow,
    TrialState,
    Written,
    encode_metrics,
)
from hpo_plugins.space import Params
from hpo_plugins.storage import schema, sqlite, statements
from hpo_plugins.storage.damage import damaged
from hpo_plugins.storage.engine import Database
from hpo_plugins.storage.protocol import MAX_COUNTED_GAP, REPORT_PATIENCE, Definition
from hpo_plugins.storage.rows import action_of, point_of, reports_of, study_of, trial_of
from hpo_plugins.storage.statements import Result, Statement, TimedStatements

T = TypeVar("T")

_CHUNK_SIZE = 20_000
"""Reports that are read at a time, so that a large study is never in memory twice."""


class SqlStudyStore:
    """One study in a database."""

    outlives_process = True

    def __init__(self, database: Database, name: str, study: int, definition: Definition) -> None:
        """Bind to a row of the table of studies."""
        self.definition = definition
        self._database = database
        self._name = name
        self._study = study
        self._timed = TimedStatements(database.engine.dialect, database.now())

    @property
    def where(self) -> str:
        """The study and its storage, for errors."""
        return f"Study {self._name!r} in {self._database}"

    @property
    def study(self) -> int:
        """The study's key in the table of studies."""
        return self._study

    @property
    def reachable_since(self) -> float:
        """When the database's last outage ended."""
        return self._database.outage.ended

    def define(self, definition: Definition) -> None:
        """Replace the definition."""
        self._database.write(self._execute, statements.DEFINE, {"this_definition": json.dumps(definition)})
        self.definition = definition

    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``."""
        study, rows, first, points = self._database.read(self._read_changes, since)
        revision, acquisitions, now, runtime, last_write = study
        reports: Iterable[ReportRow] = reports_of(first, self.where)
        if len(first) == _CHUNK_SIZE:
            reports = chain(reports, self._later_reports(first[-1][-1], revision))
        runtime += _counted_gap(now, last_write)
        trials = [trial_of(row, self.where) for row in rows]
        enqueued = [point_of(row, self.where) for row in points]
        return Changes(revision, acquisitions, now, trials, reports, runtime, enqueued)

    def _read_changes(
        self, connection: sa.Connection, since: int
    ) -> tuple[Any, Sequence[Any], Sequence[Any], Sequence[Any]]:
        # Read the study's row first; if reads do not share a snapshot, later rows then come twice instead of never.
        study = self._execute(connection, self._timed.state).first()
        if study is None:
            raise NoResultFound
        study = study_of(study, self.where)
        if study[0] <= since:
            return study, (), (), ()
        trials = self._execute(connection, statements.CHANGED_TRIALS, {"this_since": since}).rows or []
        points = self._execute(connection, statements.CHANGED_POINTS, {"this_since": since}).rows or []
        return study, trials, self._read_reports(connection, since, study[0]), points

    def _read_reports(self, connection: sa.Connection, since: int, until: int) -> Sequence[Any]:
        values = {"this_since": since, "this_until": until, "this_limit": _CHUNK_SIZE}
        return self._execute(connection, statements.CHANGED_REPORTS, values).rows or []

    def _later_reports(self, since: int, until: int) -> Iterator[ReportRow]:
        """Yield the rest of a large study, chunk by chunk."""
        while True:
            rows = self._database.read(self._read_reports, since, until)
            yield from reports_of(rows, self.where)
            if len(rows) < _CHUNK_SIZE:
                return
            since = rows[-1][-1]

    def acquire(self, assignment: Assignment, expected: int) -> Written | None:
        """Write an assignment if there were ``expected`` acquisitions before."""
        return self._database.write(self._acquire, assignment, expected)

    def _acquire(self, connection: sa.Connection, assignment: Assignment, expected: int) -> Written | None:
        revision = self._take_revision(connection, self._timed.acquire, {"this_expected": expected})
        if revision is None:
            return None
        values = {
            "this_number": assignment.number,
            "this_seconds": assignment.lease_seconds,
            "new_revision": revision,
            "new_state": TrialState.RUNNING.value,
            "new_attempts": assignment.attempt,
            "new_failed_attempts": assignment.failed_attempts,
            "new_worker": assignment.worker,
        }
        if assignment.attempt == 1:
            values |= {"new_study": self._study, "new_number": assignment.number}
            values |= {"new_params": json.dumps(assignment.params), "new_phase": 0, "new_point": assignment.point}
            values |= {f"new_{name}": value for name, value in _columns_of(Progress()).items()}
            self._execute(connection, self._timed.start, values)
        else:
            self._execute(connection, self._timed.resume, values)
        return Written(revision, self._read_trial(connection, assignment.number))

    def enqueue(self, params: Params) -> None:
        """Append a configuration to be tried."""
        self._database.write(self._enqueue, json.dumps(params))

    def _enqueue(self, connection: sa.Connection, params: str) -> None:
        revision = self._take_revision(connection, self._timed.advance_only)
        number = self._execute(connection, statements.N_POINTS).first()[0]
        values = {"this_number": number, "this_revision": revision, "this_params": params}
        self._execute(connection, statements.ENQUEUE, values)

    def report(self, report: ReportRow, *, is_patient: bool = False) -> int | None:
        """Append a report while the lease is held."""
        patience = None if is_patient else REPORT_PATIENCE
        if self._database.engine.dialect.name == "postgresql":
            return self._database.write_at_once(self._report_at_once, report, patience=patience)
        return self._database.write(self._report, report, patience=patience)

    def _report_at_once(self, connection: sa.Connection, report: ReportRow) -> int | None:
        row = self._execute(connection, statements.REPORT_AT_ONCE, _report_values(report)).first()
        return None if row is None else int(row[0])

    def _report(self, connection: sa.Connection, report: ReportRow) -> int | None:
        values = _report_values(report)
        # Reports do not count as work: renewals are frequent enough, and every report would pay for it.
        revision = self._take_revision(connection, self._timed.advance_only)
        is_written = self._execute(connection, statements.APPEND_REPORT, values | {"this_revision": revision}).rowcount
        return revision if is_written else None

    def update(self, number: int, attempt: int, **fields: Any) -> Written | None:
        """Rewrite fields of a trial's row while the lease is held."""
        is_durable = "progress" in fields  # older checkpoints are deleted next
        return self._database.write(self._update, number, attempt, dict(fields), is_durable=is_durable)

    def _update(self, connection: sa.Connection, number: int, attempt: int, fields: dict[str, Any]) -> Written | None:
        if (progress := fields.pop("progress", None)) is not None:
            fields |= _columns_of(progress)
        values = {
            f"new_{name}": value.value if isinstance(value, TrialState) else value for name, value in fields.items()
        }
        if fields.get("ended_at"):
            values["new_ended_at"] = self._execute(connection, self._timed.now).first()[0]
        revision = self._take_revision(connection, self._timed.advance)
        values |= {"this_number": number, "this_attempt": attempt, "new_revision": revision}
        pauses = TrialState.PAUSED in (fields.get("decision"), fields.get("state"))
        statement = statements.update_trial(frozenset((*fields, "revision")), pauses=pauses)
        if not self._execute(connection, statement, values).rowcount:
            return None
        return Written(revision or 0, self._read_trial(connection, number))

    def drop_checkpoint(self, number: int, checkpoint: str) -> Written | None:
        """Clear a trial's checkpoint if it is still this one."""
        return self._database.write(self._drop_checkpoint, number, checkpoint)

    def _drop_checkpoint(self, connection: sa.Connection, number: int, checkpoint: str) -> Written | None:
        revision = self._take_revision(connection, self._timed.advance_only)
        values = {"this_number": number, "this_checkpoint": checkpoint, "this_revision": revision}
        if not self._execute(connection, statements.DROP_CHECKPOINT, values).rowcount:
            return None
        return Written(revision or 0, self._read_trial(connection, number))

    def _read_trial(self, connection: sa.Connection, number: int) -> TrialRow:
        row = self._execute(connection, statements.TRIAL, {"this_number": number}).first()
        if row is None:  # its index is damaged: it was written just now
            raise damaged(self.where, f"trial {number}", "its row cannot be found")
        return trial_of(row, self.where)

    def renew(self, leases: Sequence[tuple[int, int]], seconds: float) -> None:
        """Extend leases that are still held."""
        self._database.write(self._renew, leases, seconds, patience=REPORT_PATIENCE)

    def _renew(self, connection: sa.Connection, leases: Sequence[tuple[int, int]], seconds: float) -> None:
        revision = self._take_revision(connection, self._timed.advance)
        for number, attempt in leases:
            values = {"this_number": number, "this_attempt": attempt, "this_revision": revision}
            self._execute(connection, self._timed.renew, values | {"this_seconds": seconds})

    def claim(self, key: str, owner: str, instead_of: str = "") -> str:
        """Transfer ``key`` from ``instead_of`` to ``owner``."""
        return self._database.write(self._claim, {"this_key": key, "this_owner": owner}, instead_of)

    def _claim(self, connection: sa.Connection, claim: dict[str, str], instead_of: str) -> str:
        # The study's row is locked as by any write, so that two processes cannot both find no claim.
        self._execute(connection, statements.LOCK_STUDY)
        row = self._execute(connection, statements.CLAIMED, claim).first()
        now = "" if row is None else str(row[0])
        if now != instead_of:
            return now
        self._execute(connection, statements.CLAIM if row is None else statements.RECLAIM, claim)
        return claim["this_owner"]

    def log(self, action: str, trial: int | None, details: dict[str, Any]) -> None:
        """Append an action to the log; its table is created if it is missing."""
        self._database.write(self._append_action, action, trial, json.dumps(details))

    def _append_action(self, connection: sa.Connection, action: str, trial: int | None, details: str) -> None:
        self._take_revision(connection, self._timed.advance_only)  # first: all lock the study's row, then the tables
        if not schema.has_actions(connection):
            schema.create_tables(connection)
        number = self._execute(connection, statements.N_ACTIONS).first()[0]
        at = self._execute(connection, self._timed.now).first()[0]
        values = {"this_number": number, "this_at": at, "this_action": action, "this_trial": trial}
        self._execute(connection, statements.LOG, values | {"this_details": details})

    def actions(self, since: int = 0) -> list[ActionRow]:
        """Return the log from number ``since`` on."""
        return [action_of(row, self.where) for row in self._database.read(self._read_actions, since)]

    def _read_actions(self, connection: sa.Connection, since: int) -> Sequence[Any]:
        if not schema.has_actions(connection):
            return ()
        return self._execute(connection, statements.ACTIONS, {"this_since": since}).rows or ()

    def exclusively(self, work: Callable[[], T]) -> T:
        """Return ``work()`` from one transaction that holds the study's row."""

        def locked(connection: sa.Connection) -> T:
            self._execute(connection, statements.LOCK_STUDY)
            return work()

        return self._database.write(locked, patience=sqlite.LOCK_TIMEOUT)

    def before_fork(self) -> None:
        """Do nothing: the child opens its own connections."""

    def after_fork(self) -> SqlStudyStore:
        """Return the study with connections of the child's own."""
        return SqlStudyStore(self._database.reopened(), self._name, self._study, self.definition)

    def _execute(self, connection: sa.Connection, statement: Statement, values: dict[str, Any] | None = None) -> Result:
        """Execute a statement about this study."""
        return statement(connection, this_study=self._study, this_now=time.time(), **(values or {}))

    def _take_revision(
        self, connection: sa.Connection, statement: Statement, values: dict[str, Any] | None = None
    ) -> int | None:
        """Take the next revision; the study's row stays locked until the commit, so revisions commit in order.

        Returns:
            The revision, or None if the statement's condition is not met.

        Raises:
            NoResultFound: The study was deleted.
        """
        result = self._execute(connection, statement, values)
        if result.rows is None and result.rowcount:  # the database cannot return what it updates
            result = self._execute(connection, statements.REVISION)
        row = result.first()
        if row is None and values is None:
            raise NoResultFound
        return None if row is None else int(row[0])

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same study in the process that unpickles it."""
        return SqlStudyStore, (self._database, self._name, self._study, self.definition)


def _columns_of(progress: Progress) -> dict[str, Any]:
    return asdict(progress) | {"phases": json.dumps(progress.phases)}


def _report_values(report: ReportRow) -> dict[str, Any]:
    values = {f"this_{name}": value for name, value in zip(ReportRow._fields, report, strict=True)}
    if not isinstance(report.metrics, str):
        values["this_metrics"] = encode_metrics(report.metrics)
    return values


def _counted_gap(now: float, last_write: float | None) -> float:
    return 0.0 if last_write is None else min(max(now - last_write, 0.0), MAX_COUNTED_GAP)
