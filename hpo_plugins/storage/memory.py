"""Studies that live as long as the process: the default storage."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpo_plugins.errors import StudyNotFound
from hpo_plugins.records import Assignment, Changes, ReportRow, TrialRow, TrialState
from hpo_plugins.storage.checkpoints import folder_name
from hpo_plugins.storage.protocol import Definition
from hpo_plugins.storage.proxy import ProxyStudyStore, serve


class MemoryStudyStore:
    """One study in memory. Pickled, it becomes a proxy: the other process works on this one's data."""

    outlives_process = False
    reachable_since = -math.inf

    def __init__(self, definition: Definition) -> None:
        """Start empty."""
        self.definition = definition
        self._lock = threading.Lock()
        self._revision = 0
        self._hand_outs = 0
        self._began: float | None = None
        self._trials: list[tuple[int, TrialRow]] = []
        self._reports: list[ReportRow] = []
        self._report_revisions: list[int] = []

    def define(self, definition: Definition) -> None:
        """Replace the definition."""
        self.definition = definition

    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``."""
        with self._lock:
            now = time.time()
            runtime = 0.0 if self._began is None else now - self._began  # it is worked on as long as it lives
            if since >= self._revision:
                return Changes(self._revision, self._hand_outs, now, (), (), runtime)
            first = bisect_right(self._report_revisions, since)
            trials = [row for revision, row in self._trials if revision > since]
            return Changes(self._revision, self._hand_outs, now, trials, self._reports[first:], runtime)

    def acquire(self, offer: Assignment, expected: int) -> bool:
        """Write the hand-out if there were ``expected`` before."""
        with self._lock:
            if self._hand_outs != expected:
                return False
            now = time.time()
            self._began = now if self._began is None else self._began
            if offer.attempt == 1:
                row = TrialRow(
                    offer.number,
                    offer.params,
                    TrialState.RUNNING,
                    1,
                    offer.failed_attempts,
                    offer.worker,
                    now + offer.lease_seconds,
                    now,
                )
                self._trials.append((0, row))
            else:
                row = replace(
                    self._trials[offer.number][1],
                    state=TrialState.RUNNING,
                    attempts=offer.attempt,
                    failed_attempts=offer.failed_attempts,
                    worker=offer.worker,
                    lease_until=now + offer.lease_seconds,
                    decision=None,
                    stop_reason=None,
                )
            self._hand_outs += 1
            self._put(row)
            return True

    def report(self, report: ReportRow) -> int | None:
        """Append a report while the lease is held."""
        with self._lock:
            if not self._holds(report.number, report.attempt, TrialState.RUNNING):
                return None
            self._revision += 1
            self._reports.append(report)
            self._report_revisions.append(self._revision)
            return self._revision

    def update(self, number: int, attempt: int, **fields: Any) -> bool:
        """Rewrite fields of a trial's row while the lease is held."""
        with self._lock:
            if not self._holds(number, attempt, TrialState.RUNNING, TrialState.PAUSED):
                return False
            if fields.get("ended_at"):
                fields["ended_at"] = time.time()
            self._put(replace(self._trials[number][1], **fields))
            return True

    def drop_checkpoint(self, number: int, checkpoint: str) -> bool:
        """Clear a trial's checkpoint if it is still this one."""
        with self._lock:
            row = self._trials[number][1]
            if row.checkpoint != checkpoint:
                return False
            self._put(replace(row, checkpoint=None))
            return True

    def renew(self, held: Sequence[tuple[int, int]], lease: float) -> None:
        """Extend leases that are still held."""
        with self._lock:
            for number, attempt in held:
                if self._holds(number, attempt, TrialState.RUNNING):
                    self._put(replace(self._trials[number][1], lease_until=time.time() + lease))

    def close(self) -> None:
        """Do nothing: the data is the store."""

    def _holds(self, number: int, attempt: int, *states: TrialState) -> bool:
        row = self._trials[number][1]
        return row.attempts == attempt and row.state in states

    def _put(self, row: TrialRow) -> None:
        self._revision += 1
        self._trials[row.number] = (self._revision, row)

    def __reduce__(self) -> tuple[Any, ...]:
        """Serve this study to the process that unpickles it."""
        return ProxyStudyStore, (self.definition, serve(self))


class MemoryStorage:
    """Studies by name, gone with the process."""

    def __init__(self) -> None:
        """Start without studies."""
        self._studies: dict[str, MemoryStudyStore] = {}
        self._folder = Path(tempfile.gettempdir()) / f"hpo-plugins-{secrets.token_hex(8)}"
        weakref.finalize(self, _remove, self._folder, os.getpid())

    def names(self) -> list[str]:
        """Return the names of the studies."""
        return list(self._studies)

    def open(self, name: str, definition: Definition | None) -> MemoryStudyStore:
        """Return the study, made when it is new."""
        if name not in self._studies:
            if definition is None:
                raise StudyNotFound(
                    f"No study {name!r} in memory: it holds {', '.join(map(repr, self._studies)) or 'none'}."
                )
            self._studies[name] = MemoryStudyStore(definition)
        return self._studies[name]

    def checkpoint_root(self, name: str) -> str:
        """Return a temporary folder that goes with the storage."""
        return str(self._folder / folder_name(name))


def _remove(folder: Path, pid: int) -> None:
    if pid == os.getpid():  # not in a forked child: its parent may still use them
        shutil.rmtree(folder, ignore_errors=True)
