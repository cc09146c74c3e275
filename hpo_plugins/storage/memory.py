"""Studies that live as long as the process: the default storage."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

from hpo_plugins.errors import StudyNotFound
from hpo_plugins.records import ActionRow, Assignment, Changes, PointRow, ReportRow, TrialRow, TrialState, Written
from hpo_plugins.space import Params
from hpo_plugins.storage import temporary
from hpo_plugins.storage.checkpoints import folder_name
from hpo_plugins.storage.protocol import Definition
from hpo_plugins.storage.proxy import Address, ProxyStudyStore, serve

T = TypeVar("T")
Clock: TypeAlias = Callable[[], float]


class _Entry(NamedTuple):
    """One write, and the number of acquisitions after it."""

    row: TrialRow | ReportRow | PointRow | ActionRow
    acquisitions: int


class MemoryStudyStore:
    """One study in memory. Pickled, it becomes a proxy, by which the other process works on this process's data.

    The study is one log, whose length is its revision. A write appends one entry in a single step, and all other data
    are derived from the log. Therefore, a Ctrl-C at any instant leaves a write complete or not begun.
    """

    where = "The study in memory"
    outlives_process = False
    reachable_since = -math.inf

    def __init__(self, definition: Definition, clock: Clock = time.time) -> None:
        """Create an empty study."""
        self.definition = definition
        self._clock = clock
        self._lock = threading.Lock()
        self._log: list[_Entry] = []
        self._applied = 0  # entries of the log that _rows reflects
        self._rows: dict[int, TrialRow] = {}
        self._claims: dict[str, str] = {}
        self._began: float | None = None
        self._address: Address | None = None
        self._why_unreachable = ""

    def define(self, definition: Definition) -> None:
        """Replace the definition."""
        self.definition = definition

    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``."""
        with self._lock:
            now = self._clock()
            runtime = 0.0 if self._began is None else now - self._began  # it is worked on as long as it lives
            trials: dict[int, TrialRow] = {}
            reports: list[ReportRow] = []
            points: list[PointRow] = []
            for row, _ in self._log[since:]:
                if isinstance(row, ReportRow):
                    reports.append(row)
                elif isinstance(row, PointRow):
                    points.append(row)
                elif isinstance(row, TrialRow):
                    trials[row.number] = row
            return Changes(len(self._log), self._acquisitions, now, list(trials.values()), reports, runtime, points)

    def acquire(self, assignment: Assignment, expected: int) -> Written | None:
        """Write an assignment if there were ``expected`` acquisitions before."""
        with self._lock:
            if self._acquisitions != expected:
                return None
            now = self._clock()
            self._began = now if self._began is None else self._began
            lease_until = now + assignment.lease_seconds
            if assignment.attempt == 1:
                row = TrialRow(
                    number=assignment.number,
                    params=assignment.params,
                    state=TrialState.RUNNING,
                    attempts=1,
                    failed_attempts=assignment.failed_attempts,
                    worker=assignment.worker,
                    lease_until=lease_until,
                    started_at=now,
                    point=assignment.point,
                )
            else:
                row = replace(
                    self._row(assignment.number),
                    state=TrialState.RUNNING,
                    attempts=assignment.attempt,
                    failed_attempts=assignment.failed_attempts,
                    worker=assignment.worker,
                    lease_until=lease_until,
                    decision=None,
                    rule=None,
                    detail=None,
                    phase=0,
                )
            return self._write(row, acquisitions=expected + 1)

    def enqueue(self, params: Params) -> None:
        """Append a configuration to be tried."""
        with self._lock:
            number = sum(isinstance(entry.row, PointRow) for entry in self._log)
            self._log.append(_Entry(PointRow(number, params), self._acquisitions))

    def report(self, report: ReportRow, *, is_patient: bool = False) -> int | None:  # noqa: ARG002
        """Append a report while the lease is held."""
        with self._lock:
            row = self._row(report.number)
            if row.attempts != report.attempt or row.state is not TrialState.RUNNING:
                return None
            log = self._log
            log.append(_Entry(report, log[-1].acquisitions))
            self._applied += 1  # a report changes no row
            return len(log)

    def update(self, number: int, attempt: int, **fields: Any) -> Written | None:
        """Rewrite fields of a trial's row while the lease is held."""
        with self._lock:
            if not self._is_held(number, attempt, TrialState.RUNNING, TrialState.PAUSED):
                return None
            decided = self._row(number).decision
            if TrialState.PAUSED in (fields.get("decision"), fields.get("state")) and decided and decided.is_final:
                return None
            if fields.get("ended_at"):
                fields["ended_at"] = self._clock()
            return self._write(replace(self._row(number), **fields))

    def drop_checkpoint(self, number: int, checkpoint: str) -> Written | None:
        """Clear a trial's checkpoint if it is still this one."""
        with self._lock:
            row = self._row(number)
            if row.progress.checkpoint != checkpoint:
                return None
            return self._write(replace(row, progress=row.progress.without_checkpoints()))

    def renew(self, leases: Sequence[tuple[int, int]], seconds: float) -> None:
        """Extend leases that are still held."""
        with self._lock:
            for number, attempt in leases:
                if self._is_held(number, attempt, TrialState.RUNNING):
                    self._write(replace(self._row(number), lease_until=self._clock() + seconds))

    def claim(self, key: str, owner: str, instead_of: str = "") -> str:
        """Transfer ``key`` from ``instead_of`` to ``owner``."""
        with self._lock:
            if self._claims.get(key, "") == instead_of:
                self._claims[key] = owner
            return self._claims.get(key, "")

    def log(self, action: str, trial: int | None, details: dict[str, Any]) -> None:
        """Append an action to the log."""
        with self._lock:
            row = ActionRow(len(self._actions()), self._clock(), action, trial, details)
            self._log.append(_Entry(row, self._acquisitions))

    def actions(self, since: int = 0) -> list[ActionRow]:
        """Return the log from number ``since`` on."""
        with self._lock:
            return self._actions()[since:]

    def _actions(self) -> list[ActionRow]:
        return [entry.row for entry in self._log if isinstance(entry.row, ActionRow)]

    def exclusively(self, work: Callable[[], T]) -> T:
        """Return ``work()``: its acquisition may still be refused, which costs microseconds here."""
        return work()

    def before_fork(self) -> None:
        """Serve this study, since a forked child's copy of it would diverge."""
        try:
            self._address = serve(self)
        except OSError as error:  # Python drops exceptions of fork hooks, so the child raises it
            self._address = None
            self._why_unreachable = f": {error}"

    def after_fork(self) -> ProxyStudyStore:
        """Return a proxy of the parent's study."""
        return ProxyStudyStore(self.definition, self._address, self._why_unreachable)

    @property
    def _acquisitions(self) -> int:
        return self._log[-1].acquisitions if self._log else 0

    def _write(self, row: TrialRow, *, acquisitions: int | None = None) -> Written:
        self._log.append(_Entry(row, self._acquisitions if acquisitions is None else acquisitions))
        return Written(len(self._log), row)

    def _row(self, number: int) -> TrialRow:
        """Return the current row of a trial."""
        while self._applied < len(self._log):
            row = self._log[self._applied].row
            if isinstance(row, TrialRow):
                self._rows[row.number] = row
            self._applied += 1
        return self._rows[number]

    def _is_held(self, number: int, attempt: int, *states: TrialState) -> bool:
        row = self._row(number)
        return row.attempts == attempt and row.state in states

    def __reduce__(self) -> tuple[Any, ...]:
        """Serve this study to the process that unpickles it."""
        return ProxyStudyStore, (self.definition, serve(self))


class MemoryStorage:
    """Studies by name; they vanish with the process.

    Args:
        clock: Returns the time, in seconds since 1970.

    Attributes:
        private_folder: The temporary folder of its checkpoints, which only this user may enter.
    """

    def __init__(self, clock: Clock = time.time) -> None:
        """Create it without studies."""
        self._clock = clock
        self._studies: dict[str, MemoryStudyStore] = {}
        self.private_folder = temporary.new_folder()
        temporary.sweep(os.getpid())
        weakref.finalize(self, temporary.remove, self.private_folder, os.getpid())

    def names(self) -> list[str]:
        """Return the names of the studies."""
        return list(self._studies)

    def open(self, name: str, definition: Definition | None) -> MemoryStudyStore:
        """Return the study, created if it is new."""
        if name not in self._studies:
            if definition is None:
                raise StudyNotFound(
                    f"No study {name!r} in memory: it holds {', '.join(map(repr, self._studies)) or 'none'}."
                )
            self._studies[name] = MemoryStudyStore(definition, self._clock)
        return self._studies[name]

    def checkpoint_root(self, name: str) -> str:
        """Return a temporary folder that is deleted with the storage."""
        return str(self.private_folder / folder_name(name))
