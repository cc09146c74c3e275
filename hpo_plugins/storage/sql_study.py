"""One study in a database, through SQLAlchemy."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import sqlalchemy as sa

from hpo_plugins.records import Assignment, Changes, ReportRow, TrialRow, TrialState, Written, encode_metrics
from hpo_plugins.storage import schema
from hpo_plugins.storage.engine import Database
from hpo_plugins.storage.protocol import MAX_COUNTED_GAP, Definition
from hpo_plugins.storage.retry import retrying

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
        self._lock = threading.Lock()  # SQLite allows one writing connection anyway

    @property
    def study(self) -> int:
        """The study's key in the table of studies."""
        return self._study

    @property
    def reachable_since(self) -> float:
        """When the database's last outage ended."""
        return self._database.outage.ended

    @retrying
    def define(self, definition: Definition) -> None:
        """Replace the definition."""
        with self._lock, self._database.write() as connection:
            connection.execute(
                schema.studies.update()
                .where(schema.studies.c.id == self._study)
                .values(definition=json.dumps(definition))
            )
        self.definition = definition

    @retrying
    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``."""
        now = self._database.now().label("now")
        state = sa.select(
            schema.studies.c.revision,
            schema.studies.c.acquisitions,
            now,
            schema.studies.c.runtime,
            schema.studies.c.last_write,
        )
        with self._database.read() as connection:
            study = connection.execute(state.where(schema.studies.c.id == self._study)).one()
            runtime = study.runtime + _counted_gap(study.now, study.last_write)
            if study.revision <= since:
                return Changes(study.revision, study.acquisitions, study.now, (), (), runtime)
            # The study's row is read first: if reads do not share a snapshot, later rows come twice rather than never.
            trials = connection.execute(
                sa.select(*schema.TRIAL_COLUMNS).where(
                    schema.trials.c.study == self._study, schema.trials.c.revision > since
                )
            )
            rows = [_trial(row) for row in trials]
            first = self._read_reports(connection, since, study.revision)
        reports = (
            first if len(first) < _CHUNK_SIZE else chain(first, self._later_reports(first[-1].revision, study.revision))
        )
        records = (ReportRow._make(row[:-1]) for row in reports)
        return Changes(study.revision, study.acquisitions, study.now, rows, records, runtime)

    def _read_reports(self, connection: sa.Connection, since: int, until: int) -> Sequence[Any]:
        query = sa.select(*schema.REPORT_COLUMNS, schema.reports.c.revision).where(
            schema.reports.c.study == self._study, schema.reports.c.revision > since, schema.reports.c.revision <= until
        )
        return connection.execute(query.order_by(schema.reports.c.revision).limit(_CHUNK_SIZE)).all()

    def _later_reports(self, since: int, until: int) -> Iterator[Any]:
        """Yield the rest of a large study, chunk by chunk."""
        while True:
            with self._database.read() as connection:
                rows = self._read_reports(connection, since, until)
            yield from rows
            if len(rows) < _CHUNK_SIZE:
                return
            since = rows[-1].revision

    @retrying
    def acquire(self, assignment: Assignment, expected: int) -> Written | None:
        """Write an assignment if there were ``expected`` acquisitions before."""
        now, studies = self._database.now(), schema.studies.c
        with self._lock, self._database.write() as connection:
            counted = connection.execute(
                schema.studies.update()
                .where(studies.id == self._study, studies.acquisitions == expected)
                .values(acquisitions=studies.acquisitions + 1, revision=studies.revision + 1, **self._runtime_values())
            )
            if counted.rowcount == 0:
                return None
            revision: int = connection.execute(schema.REVISION, {"this_study": self._study}).scalar_one()
            values = {
                "revision": revision,
                "state": TrialState.RUNNING.value,
                "attempts": assignment.attempt,
                "failed_attempts": assignment.failed_attempts,
                "worker": assignment.worker,
                "lease_until": now + assignment.lease_seconds,
            }
            if assignment.attempt == 1:
                values |= {
                    "study": self._study,
                    "number": assignment.number,
                    "params": json.dumps(assignment.params),
                    "started_at": now,
                }
                connection.execute(schema.trials.insert().values(values))
            else:
                values |= {"decision": None, "stop_reason": None, "phase": 0}
                connection.execute(schema.trials.update().where(*self._is(assignment.number)).values(values))
            return Written(revision, self._read_trial(connection, assignment.number))

    @retrying
    def report(self, report: ReportRow) -> int | None:
        """Append a report while the lease is held."""
        metrics = report.metrics if isinstance(report.metrics, str) else encode_metrics(report.metrics)
        with self._lock, self._database.write() as connection:
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
                "this_fold": report.fold,
                "this_writer": report.writer,
            }
            if connection.execute(schema.APPEND_REPORT, values).rowcount == 0:
                connection.rollback()
                return None
            return revision

    @retrying
    def update(self, number: int, attempt: int, **fields: Any) -> Written | None:
        """Rewrite fields of a trial's row while the lease is held."""
        if fields.get("ended_at"):
            fields["ended_at"] = self._database.now()
        values = {name: value.value if isinstance(value, TrialState) else value for name, value in fields.items()}
        if "phases" in values:
            values["phases"] = json.dumps(values["phases"])
        unfinished = self._is_held(number, attempt, TrialState.RUNNING, TrialState.PAUSED)
        return self._rewrite(number, unfinished, values, counts_as_work=True)

    @retrying
    def drop_checkpoint(self, number: int, checkpoint: str) -> Written | None:
        """Clear a trial's checkpoint if it is still this one."""
        same = (*self._is(number), schema.trials.c.checkpoint == checkpoint)
        return self._rewrite(number, same, {"checkpoint": None}, counts_as_work=False)

    def _rewrite(
        self, number: int, condition: tuple[Any, ...], values: dict[str, Any], *, counts_as_work: bool
    ) -> Written | None:
        with self._lock, self._database.write() as connection:
            revision = self._advance(connection, counts_as_work=counts_as_work)
            statement = schema.trials.update().where(*condition).values(revision=revision, **values)
            if connection.execute(statement).rowcount == 0:
                return None
            return Written(revision, self._read_trial(connection, number))

    def _read_trial(self, connection: sa.Connection, number: int) -> TrialRow:
        return _trial(connection.execute(sa.select(*schema.TRIAL_COLUMNS).where(*self._is(number))).one())

    def renew(self, leases: Sequence[tuple[int, int]], seconds: float) -> None:
        """Extend leases that are still held."""
        with self._lock, self._database.write() as connection:
            revision = self._advance(connection, counts_as_work=True)
            for number, attempt in leases:
                connection.execute(
                    schema.trials.update()
                    .where(*self._is_held(number, attempt, TrialState.RUNNING))
                    .values(revision=revision, lease_until=self._database.now() + seconds)
                )

    @retrying
    def claim(self, key: str, owner: str) -> bool:
        """Return whether ``owner`` is the first that claims ``key``."""
        studies, claims = schema.studies.c, schema.claims
        with self._lock, self._database.write() as connection:
            # The study's row is locked as by any write, so that two processes cannot both find no claim.
            connection.execute(sa.select(studies.id).where(studies.id == self._study).with_for_update()).one()
            known = sa.select(claims.c.owner).where(claims.c.study == self._study, claims.c.key == key)
            first = connection.execute(known).scalar_one_or_none()
            if first is None:
                connection.execute(claims.insert().values(study=self._study, key=key, owner=owner))
            return first in (None, owner)

    def before_fork(self) -> None:
        """Do nothing: the child opens its own connections."""

    def after_fork(self) -> SqlStudyStore:
        """Return the study with connections of the child's own."""
        return SqlStudyStore(self._database.reopened(), self._name, self._study, self.definition)

    def _is(self, number: int) -> tuple[Any, Any]:
        return schema.trials.c.study == self._study, schema.trials.c.number == number

    def _is_held(self, number: int, attempt: int, *states: TrialState) -> tuple[Any, ...]:
        state = schema.trials.c.state.in_([state.value for state in states])
        return *self._is(number), schema.trials.c.attempts == attempt, state

    def _advance(self, connection: sa.Connection, *, counts_as_work: bool = False) -> int:
        """Take the next revision; the study's row stays locked until the commit, so revisions commit in order.

        Args:
            connection: A transaction.
            counts_as_work: Whether to update the runtime. Reports do not: renewals are frequent enough, and every
                report would pay for it.
        """
        study = {"this_study": self._study}
        if not counts_as_work and connection.dialect.update_returning:
            return int(connection.execute(schema.ADVANCE, study).scalar_one())
        next_revision = schema.NEXT_REVISION
        connection.execute(next_revision.values(**self._runtime_values()) if counts_as_work else next_revision, study)
        return int(connection.execute(schema.REVISION, study).scalar_one())

    def _runtime_values(self) -> dict[str, Any]:
        """Return the new values of the columns that keep the runtime."""
        now, last = self._database.now(), schema.studies.c.last_write
        counted = sa.case(
            (last.is_(None), 0.0), (now - last > MAX_COUNTED_GAP, MAX_COUNTED_GAP), (now < last, 0.0), else_=now - last
        )
        return {"runtime": schema.studies.c.runtime + counted, "last_write": now}

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same study in the process that unpickles it."""
        return SqlStudyStore, (self._database, self._name, self._study, self.definition)


def _counted_gap(now: float, last_write: float | None) -> float:
    return 0.0 if last_write is None else min(max(now - last_write, 0.0), MAX_COUNTED_GAP)


def _trial(row: sa.Row[Any]) -> TrialRow:
    columns = dict(row._mapping)
    decision = columns["decision"]
    columns |= {
        "params": json.loads(row.params),
        "state": TrialState(row.state),
        "phases": tuple(json.loads(row.phases)),
    }
    return TrialRow(**columns | {"decision": None if decision is None else TrialState(decision)})
