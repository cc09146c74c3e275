"""What a storage keeps, and the few operations it must do atomically.

A study's data is two logs with one clock. Every write takes the study's next *revision*; ``changes(since)`` returns
what has a later one, so a reader in any process keeps in step at the price of what is new. Reports are appended and
never changed: of two for the same epoch the later revision counts. A trial's row is rewritten, which moves it to the
new revision.

Two rules make many processes safe without a lock held across decisions:

* A hand-out names the number of hand-outs it was decided on (``expected``). If another came in between, nothing is
  written, and the caller looks again. So every decision has seen all the earlier ones.
* A write for a trial names the attempt it belongs to. If the trial has been handed to somebody else since, or ended
  by somebody, nothing is written, and the caller learns that its lease is lost.

Times are seconds since 1970 by the storage's own clock: clocks of workers are never compared.

A study's *runtime* is how long it has been worked on. A process that holds a trial writes at least with every renewal
of its lease; so at each write for a trial the time since the one before counts, at most ``LONGEST_SILENCE`` of it. A
night between two runs of a script counts with that much and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from hpo_plugins.records import Assignment, Changes, ReportRow

LEASE_SECONDS = 60.0
"""How long a worker may be silent before its trials go to others."""

LONGEST_SILENCE = LEASE_SECONDS / 2
"""Seconds without a write that still count as runtime: two renewals, since a busy process may be late with one."""

Definition: TypeAlias = dict[str, Any]
"""What a study was defined as, in JSON: see ``hpo_plugins.study.config``."""


class StudyStore(Protocol):
    """One study in a storage. All methods are atomic and may be called from several threads.

    Raises:
        StorageError: The storage cannot be reached, read or written; from any method.
    """

    definition: Definition
    outlives_process: bool
    """Whether other processes can go on when this one dies, so that leases must run out."""

    @property
    def reachable_since(self) -> float:
        """When the storage came back from the last outage, by ``time.monotonic()``; ``-inf`` when there was none."""

    def define(self, definition: Definition) -> None:
        """Replace the definition, for what may change between runs of a script."""

    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``; 0 for all."""

    def acquire(self, offer: Assignment, expected: int) -> bool:
        """Write the hand-out and return True, or return False when there were not ``expected`` hand-outs before.

        What judges said of an earlier attempt goes with it.
        """

    def report(self, report: ReportRow) -> int | None:
        """Append a report and return its revision, or None when the trial's lease is lost."""

    def update(self, number: int, attempt: int, **fields: Any) -> bool:
        """Rewrite fields of a running trial's row, ``ended_at=True`` for now; False when the lease is lost."""

    def drop_checkpoint(self, number: int, checkpoint: str) -> bool:
        """Clear a trial's checkpoint, whatever its state, and return True; False when it is another by now."""

    def renew(self, held: Sequence[tuple[int, int]], lease: float) -> None:
        """Extend the leases of ``(number, attempt)`` that are still held to ``lease`` seconds from now."""

    def close(self) -> None:
        """Let go of connections; the store may be used again, and opens them anew."""


class Storage(Protocol):
    """A place that holds studies by name."""

    def names(self) -> list[str]:
        """Return the names of the studies in it."""

    def open(self, name: str, definition: Definition | None) -> StudyStore:
        """Return the study of that name, made with ``definition`` if it is new.

        Raises:
            StudyNotFound: It does not exist and ``definition`` is None.
        """

    def checkpoint_root(self, name: str) -> str:
        """Return the folder under which the study's trials keep their checkpoints."""
