"""Data derived from a history, updated incrementally for changed trials.

Without it, each decision would scan all trials (docs/decisions/0016).
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Derived(Protocol):
    """Data that are computed from the trials of one history."""

    def update(self, changed: Iterable[int]) -> None:
        """Update the trials of these numbers, whose rows or reports are new or have changed."""


D = TypeVar("D", bound=Derived)


@dataclass(slots=True)
class _Known:
    """Derived data and their position in the log of changes, counted with and without repeats in a row."""

    derived: Derived
    n_changes: int = -1
    n_followed: int = 0


class DerivedData:
    """The data derived from one history, and the log of changes that they follow."""

    def __init__(self) -> None:
        """Derive nothing yet."""
        self._changes = array("q")  # numbers of trials, in the order in which they changed, repeats in a row once
        self._n_changes = 0  # with those repeats
        self._known: dict[Hashable, _Known] = {}
        self._lock = threading.RLock()  # one may be computed from another

    def mark_changed(self, number: int) -> None:
        """Note that the row or the reports of a trial have changed."""
        changes = self._changes
        self._n_changes += 1
        if not changes or changes[-1] != number:
            changes.append(number)

    def get(self, key: Hashable, make: Callable[[], D]) -> D:
        """Return the data of a key, up to date.

        Args:
            key: Identifies the data.
            make: Creates the data without trials.
        """
        with self._lock:
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = _Known(make())
            if known.n_changes != self._n_changes:
                n_changes, changes = self._n_changes, self._changes
                # The last one that was followed may have changed again.
                known.derived.update(set(changes[max(known.n_followed - 1, 0) :]))
                known.n_changes, known.n_followed = n_changes, len(changes)
            return known.derived  # type: ignore[return-value]  # what ``make`` has made
