"""The storage protocol: the stored data, and a few atomic operations.

A study's data is two logs with one clock. Every write takes the study's next *revision*, and ``changes(since)``
returns what has a later one, so a reader in any process stays up to date at the cost of what is new. Reports are
appended and never changed: of two for the same epoch, the later revision counts. A trial's row is rewritten, which
moves it to the new revision.

Two rules make many processes safe without holding a lock across decisions:

* An acquisition states how many acquisitions it was decided on (``expected``). If there was another one in the
  meantime, nothing is written and the caller decides again. Every decision therefore takes all earlier ones into
  account.
* A write for a trial states the attempt that it belongs to. If another worker has acquired the trial since, or has
  ended it, nothing is written, and the caller learns that its lease is lost.

Times are seconds since 1970 by the storage's own clock; the clocks of workers are never compared.

A study's *runtime* is the time in which any process works on it. A process that holds a lease writes at least at each
renewal. Each write for a trial therefore adds the time since the previous write, up to ``MAX_COUNTED_GAP``. A night
between two runs of a script adds that maximum only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from hpo_plugins.errors import StorageError
from hpo_plugins.records import ActionRow, Assignment, Changes, ReportRow, Written
from hpo_plugins.space import Params

T = TypeVar("T")

LEASE_SECONDS = 60.0
"""A worker that has not renewed its leases for this long loses them."""
MAX_COUNTED_GAP = LEASE_SECONDS / 2
"""Seconds between two writes that count as runtime: two renewals, since a busy process may be late with one."""
REPORT_PATIENCE = 5.0
"""Seconds for which a report waits for an unreachable or locked storage. Then the training run continues, and the next
one writes both."""

Definition: TypeAlias = dict[str, Any]
"""A study's definition as JSON: see ``hpo_plugins.study.config``."""


class StudyStore(Protocol):
    """One study in a storage. All methods are atomic and may be called from several threads.

    A store may have a method ``wait_for_changes(since, seconds)``, which returns as soon as there may be work that was
    not there at revision ``since``. Workers without work call it instead of looking again and again. It may have a
    method ``checkpoint_files()``, which returns where checkpoints are kept for other machines (``storage/remote.py``).

    Raises:
        StorageError: From any method, if the storage cannot be reached, read or written.
    """

    definition: Definition
    outlives_process: bool
    """Whether other processes can continue the study when this one dies, so that leases must expire."""

    @property
    @abstractmethod
    def where(self) -> str:
        """The study and its storage, for errors."""

    @property
    @abstractmethod
    def reachable_since(self) -> float:
        """When the last outage ended, by ``time.monotonic()``; ``-inf`` if there was none."""

    @abstractmethod
    def define(self, definition: Definition) -> None:
        """Replace the definition, for what may change between runs of a script."""

    @abstractmethod
    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``; 0 for all."""

    @abstractmethod
    def acquire(self, assignment: Assignment, expected: int) -> Written | None:
        """Write an assignment, or return None if there were not exactly ``expected`` acquisitions before.

        A new attempt clears the decision of the attempt before, and has begun no phase.
        """

    @abstractmethod
    def enqueue(self, params: Params) -> None:
        """Append a configuration, complete or partial, that is to be tried before those of the strategy."""

    @abstractmethod
    def report(self, report: ReportRow, *, is_patient: bool = False) -> int | None:
        """Append a report and return its revision, or None if the trial's lease is lost.

        Args:
            report: The report.
            is_patient: Whether to wait for as long as any write does if the storage cannot be reached. During training
                it waits for seconds only, since training must continue.
        """

    @abstractmethod
    def update(self, number: int, attempt: int, **fields: Any) -> Written | None:
        """Rewrite fields of an unfinished trial's row, or return None if its lease is lost.

        A pause gives way to an end: if the row's decision is STOPPED, COMPLETED or FAILED, an update whose ``decision``
        or ``state`` is PAUSED writes nothing and returns None. A person may have stopped the trial meanwhile.

        Args:
            number: The trial.
            attempt: The attempt that the caller holds.
            **fields: Fields of ``TrialRow`` with their new values; ``ended_at=True`` stands for now.
        """

    @abstractmethod
    def drop_checkpoint(self, number: int, checkpoint: str) -> Written | None:
        """Clear a trial's checkpoint and that of its best epoch, or return None if it has another one."""

    @abstractmethod
    def renew(self, leases: Sequence[tuple[int, int]], seconds: float) -> None:
        """Extend the leases of ``(number, attempt)`` that are not lost to ``seconds`` from now."""

    @abstractmethod
    def claim(self, key: str, owner: str, instead_of: str = "") -> str:
        """Transfer ``key`` from ``instead_of`` to ``owner``, if it belongs to ``instead_of``, and return its owner.

        Args:
            key: A task that only one process may do, such as to pass on the end of a trial.
            owner: The new owner; "" releases the key.
            instead_of: The required current owner; "" for none.
        """

    def log(self, action: str, trial: int | None, details: dict[str, Any]) -> None:  # noqa: ARG002
        """Append an action of a person to the study's log; it takes a revision, and changes no trial.

        Args:
            action: Its kind.
            trial: The trial that it concerns; None for the study.
            details: Further values, as JSON.
        """
        raise StorageError(f"{self.where} is in a storage that keeps no log of actions.")

    def actions(self, since: int = 0) -> list[ActionRow]:  # noqa: ARG002
        """Return the logged actions in order, from number ``since`` on."""
        return []

    @abstractmethod
    def exclusively(self, work: Callable[[], T]) -> T:
        """Return ``work()``, if possible while no other process writes to the study.

        Its writes are one transaction; none takes effect if it raises.
        """

    @abstractmethod
    def before_fork(self) -> None:
        """Prepare what a forked child needs to reach the study."""

    @abstractmethod
    def after_fork(self) -> StudyStore:
        """Return, in a forked child, an object that reaches the same study."""


@runtime_checkable
class Storage(Protocol):
    """A place that keeps studies by name. It can be pickled, if local workers are to use it.

    Derive from it, so that Python names a missing method when the storage is created.
    """

    @property
    def private_folder(self) -> Path | None:
        """A temporary folder above its checkpoints, which is made for this user only and removed when the process ends.

        None if checkpoints outlive the process.
        """
        return None

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of its studies."""

    @abstractmethod
    def open(self, name: str, definition: Definition | None) -> StudyStore:
        """Return the study of that name, created with ``definition`` if it is new.

        Raises:
            StudyNotFound: It does not exist and ``definition`` is None.
        """

    @abstractmethod
    def checkpoint_root(self, name: str) -> str:
        """Return the folder in which the study's trials keep their checkpoints."""


@runtime_checkable
class ManagedStorage(Storage, Protocol):
    """A storage whose studies can be counted, renamed, copied and deleted: ``hpo.studies(storage)``.

    Its ``str`` names it in errors. None of the methods touches checkpoint files.
    """

    @abstractmethod
    def counts(self, name: str) -> dict[str, int]:
        """Return how many trials of a study are in each state.

        Raises:
            StudyNotFound: There is no such study.
        """

    @abstractmethod
    def rename(self, name: str, new_name: str) -> None:
        """Give a study another name.

        Raises:
            StudyNotFound: There is no such study.
            StorageError: There is a study of the new name.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a study with its trials and reports.

        Raises:
            StudyNotFound: There is no such study.
        """

    @abstractmethod
    def copy(self, name: str, target: Storage, new_name: str) -> None:
        """Copy a study, as it is now, to another storage or name; the copy has no leases.

        Args:
            name: The study.
            target: Where to copy it to.
            new_name: Its name there.

        Raises:
            StudyNotFound: There is no such study.
            StorageError: The target has a study of that name, or is a storage of another kind.
        """
