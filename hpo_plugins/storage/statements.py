"""The statements of every loop iteration, built and compiled once for each kind of database.

Building a statement and finding its compiled form in SQLAlchemy's cache takes much longer than executing it
(docs/decisions/0017).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from hpo_plugins.records import ActionRow, ReportRow, TrialState
from hpo_plugins.storage.protocol import MAX_COUNTED_GAP
from hpo_plugins.storage.schema import (
    PROGRESS,
    REPORT_COLUMNS,
    TRIAL_COLUMNS,
    actions,
    claims,
    points,
    reports,
    studies,
    trials,
)


class Statement:
    """A statement with named values that is compiled when it is first executed, and executed by the driver itself.

    Args:
        statement: The statement; its values are bound parameters.
    """

    def __init__(self, statement: Any) -> None:
        """Defer compilation."""
        self._statement = statement
        self._compiled: dict[str, tuple[str, dict[str, Any], Sequence[str] | None]] = {}

    def __call__(self, connection: sa.Connection, **values: Any) -> Result:
        """Execute it."""
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled = self._statement.compile(dialect=dialect)
            names = compiled.positiontup if compiled.positional else None
            self._compiled[dialect.name] = str(compiled), compiled.params, names
        text, constants, names = self._compiled[dialect.name]
        given = constants | values
        driver: Any = connection.connection.dbapi_connection
        cursor = driver.cursor()
        if names is None:
            cursor.execute(text, {name: given[name] for name in constants})
        else:
            cursor.execute(text, [given[name] for name in names])
        return Result(cursor.rowcount, cursor.fetchall() if cursor.description is not None else None)


class Result(NamedTuple):
    """The result of a statement: the number of changed rows, and the returned rows if any."""

    rowcount: int
    rows: list[Any] | None

    def first(self) -> Any:
        """Return the first row, None if there is none."""
        return self.rows[0] if self.rows else None


def _value(name: str) -> Any:
    return sa.bindparam(f"this_{name}")


_IS_STUDY = studies.c.id == _value("study")
_IS_TRIAL = (trials.c.study == _value("study"), trials.c.number == _value("number"))
_IS_HELD = (*_IS_TRIAL, trials.c.attempts == _value("attempt"))

REVISION = Statement(sa.select(studies.c.revision).where(_IS_STUDY))
TRIAL = Statement(sa.select(*TRIAL_COLUMNS).where(*_IS_TRIAL))
CHANGED_TRIALS = Statement(
    sa.select(*TRIAL_COLUMNS).where(trials.c.study == _value("study"), trials.c.revision > _value("since"))
)
CHANGED_REPORTS = Statement(
    sa.select(*REPORT_COLUMNS, reports.c.revision)
    .where(
        reports.c.study == _value("study"),
        reports.c.revision > _value("since"),
        reports.c.revision <= _value("until"),
    )
    .order_by(reports.c.revision)
    .limit(_value("limit"))
)
_IS_POINT_OF_STUDY = points.c.study == _value("study")
CHANGED_POINTS = Statement(
    sa.select(points.c.number, points.c.params)
    .where(_IS_POINT_OF_STUDY, points.c.revision > _value("since"))
    .order_by(points.c.number)
)
N_POINTS = Statement(sa.select(sa.func.count()).where(_IS_POINT_OF_STUDY))
ENQUEUE = Statement(
    points.insert().values(
        study=_value("study"), number=_value("number"), revision=_value("revision"), params=_value("params")
    )
)
_IS_ACTION_OF_STUDY = actions.c.study == _value("study")
N_ACTIONS = Statement(sa.select(sa.func.count()).where(_IS_ACTION_OF_STUDY))
ACTIONS = Statement(
    sa.select(*(actions.c[name] for name in ActionRow._fields))
    .where(_IS_ACTION_OF_STUDY, actions.c.number >= _value("since"))
    .order_by(actions.c.number)
)
LOG = Statement(actions.insert().values({name: _value(name) for name in ("study", *ActionRow._fields)}))
DEFINE = Statement(studies.update().where(_IS_STUDY).values(definition=_value("definition")))
LOCK_STUDY = Statement(sa.select(studies.c.id).where(_IS_STUDY).with_for_update())
CLAIMED = Statement(sa.select(claims.c.owner).where(claims.c.study == _value("study"), claims.c.key == _value("key")))
CLAIM = Statement(claims.insert().values(study=_value("study"), key=_value("key"), owner=_value("owner")))
DROP_CHECKPOINT = Statement(
    trials.update()
    .where(*_IS_TRIAL, trials.c.checkpoint == _value("checkpoint"))
    .values(checkpoint=None, best_checkpoint=None, best_checkpoint_epoch=None, revision=_value("revision"))
)
RECLAIM = Statement(
    claims.update()
    .where(claims.c.study == _value("study"), claims.c.key == _value("key"))
    .values(owner=_value("owner"))
)
_REPORT_VALUES = {
    name: sa.bindparam(f"this_{name}", type_=reports.c[name].type) for name in ("study", "revision", *ReportRow._fields)
}
APPEND_REPORT = Statement(
    reports.insert().from_select(
        list(_REPORT_VALUES),
        sa.select(*_REPORT_VALUES.values()).where(*_IS_HELD, trials.c.state == TrialState.RUNNING.value),
    )
)
"""Appends a report if the trial's lease is held: then one row is selected, otherwise none."""


def _report_at_once() -> Statement:
    taken = studies.update().where(_IS_STUDY).values(revision=studies.c.revision + 1).returning(studies.c.revision)
    revision = taken.cte("taken")
    values = {name: value for name, value in _REPORT_VALUES.items() if name != "revision"}
    row = sa.select(*values.values(), revision.c.revision).where(*_IS_HELD, trials.c.state == TrialState.RUNNING.value)
    # Locked, the trial's row is read as it is after the wait for the study's, not as it was when the statement began.
    row = row.with_for_update(read=True, of=trials)
    appended = reports.insert().from_select([*values, "revision"], row).returning(reports.c.revision).cte("appended")
    return Statement(sa.select(appended.c.revision))


REPORT_AT_ONCE = _report_at_once()
"""Takes a revision and appends a report in one statement, for PostgreSQL: then the study's row, which all reports wait
for, is not locked while the client's process waits for a core."""


@functools.cache
def update_trial(fields: frozenset[str], *, pauses: bool = False) -> Statement:
    """Return the statement that rewrites these columns of an unfinished trial that an attempt holds.

    Args:
        fields: The columns; their values are those of the same names.
        pauses: Whether the trial is to be paused, which it is not if its end was decided.
    """
    conditions = [sa.or_(trials.c.decision.is_(None), trials.c.decision == TrialState.PAUSED.value)] if pauses else []
    unfinished = sa.or_(*(trials.c.state == state.value for state in (TrialState.RUNNING, TrialState.PAUSED)))
    return Statement(trials.update().where(*_IS_HELD, unfinished, *conditions).values(_columns(fields)))


def _columns(names: Iterable[str]) -> dict[str, Any]:
    return {name: sa.bindparam(f"new_{name}", type_=trials.c[name].type) for name in names}


class TimedStatements:
    """The statements that read a database's clock.

    Args:
        dialect: The kind of database.
        now: Its clock, in seconds since 1970; other databases receive this process's time as ``this_now``.

    Attributes:
        state: Reads a study's revision, acquisitions, clock and runtime.
        advance: Takes the next revision, and counts the time since the last write as runtime.
        advance_only: Takes the next revision.
        acquire: Takes the next revision if there were ``this_expected`` acquisitions.
        start: Inserts a trial.
        resume: Assigns a trial to its next attempt.
        renew: Extends a lease.
        now: Reads the clock.
    """

    def __init__(self, dialect: sa.Dialect, now: Any) -> None:
        """Build the statements."""
        self.now = Statement(sa.select(now))
        self.state = Statement(
            sa.select(
                studies.c.revision, studies.c.acquisitions, now.label("now"), studies.c.runtime, studies.c.last_write
            ).where(_IS_STUDY)
        )
        next_revision = {"revision": studies.c.revision + 1}
        work = next_revision | _runtime(now)
        advance = studies.update().where(_IS_STUDY)
        acquire = advance.where(studies.c.acquisitions == _value("expected"))
        acquisition = work | {"acquisitions": studies.c.acquisitions + 1}
        returns = [studies.c.revision] if dialect.update_returning else []

        def taking(statement: Any) -> Statement:
            return Statement(statement.returning(*returns) if returns else statement)

        self.advance = taking(advance.values(work))
        self.advance_only = taking(advance.values(next_revision))
        self.acquire = taking(acquire.values(acquisition))
        lease = {"lease_until": now + _value("seconds")}
        attempt = _columns(["revision", "state", "attempts", "failed_attempts", "worker"]) | lease
        self.start = Statement(
            trials.insert().values(
                attempt | _columns(["study", "number", "params", "phase", "point", *PROGRESS]) | {"started_at": now}
            )
        )
        again: dict[str, Any] = {"decision": None, "rule": None, "detail": None, "phase": 0}
        self.resume = Statement(trials.update().where(*_IS_TRIAL).values(attempt | again))
        held = (*_IS_HELD, trials.c.state == TrialState.RUNNING.value)
        self.renew = Statement(trials.update().where(*held).values(lease | {"revision": _value("revision")}))


def _runtime(now: Any) -> dict[str, Any]:
    """Return the new values of the columns that keep the runtime."""
    last = studies.c.last_write
    counted = sa.case(
        (last.is_(None), 0.0), (now - last > MAX_COUNTED_GAP, MAX_COUNTED_GAP), (now < last, 0.0), else_=now - last
    )
    return {"runtime": studies.c.runtime + counted, "last_write": now}
