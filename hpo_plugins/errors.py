"""Every error this library raises on purpose.

HpoError
├── InvalidArgument      a wrong range, scale, limit or combination            (also a ValueError)
├── InvalidReport        an epoch or a metric value that cannot be recorded    (also a ValueError)
│   └── MetricNotFound   the training does not report the objective's metric
├── NothingReported      trainings end without reporting anything
├── CheckpointError      a checkpoint cannot be used: missing, damaged, of another model, or left out
├── WorkerError          workers cannot be started, or die before they train
├── StorageError         the storage cannot be opened, read or written
│   ├── StudyNotFound    no study of that name is stored                       (also a LookupError)
│   └── StudyMismatch    the stored study was defined differently
└── MissingDependency    an optional framework is not installed                (also a ModuleNotFoundError)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HpoError(Exception):
    """Base class of every error that this library raises on purpose."""


class InvalidArgument(HpoError, ValueError):
    """An argument is outside what is allowed; the message says what is."""


class InvalidReport(HpoError, ValueError):
    """A report's epoch or metrics cannot be recorded; nothing of that report was."""


class MetricNotFound(InvalidReport):
    """The first epoch was reported without the objective's metric."""

    def __init__(self, metric: str, reported: Iterable[str], hint: str = "") -> None:
        """Name the metric that was looked for, those that came, and the nearest of them."""
        names = sorted(reported)
        self.metric, self.has_reports = metric, tuple(names)
        nearest = nearest_name(metric, names)
        message = f"The objective's metric {metric!r} was not reported after the first epoch. "
        message += f"Reported: {', '.join(map(repr, names))}. " if names else "No metric was reported. "
        if nearest is not None:
            message += f"Did you mean {nearest!r}? "
        super().__init__((message + (hint or "Give the objective one of the names that the training reports.")).strip())

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way between processes: an exception is rebuilt from its message."""
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class NothingReported(HpoError):
    """The first trainings of a search all ended without reporting anything."""


class CheckpointError(HpoError):
    """A checkpoint cannot be used; the trial is given back unharmed, and the message names the ways out."""


class WorkerError(HpoError):
    """Workers cannot be started, or die before they train anything."""


class StorageError(HpoError):
    """The storage cannot be opened, read or written."""


class StudyNotFound(StorageError, LookupError):
    """No study of that name is in the storage."""


class StudyMismatch(StorageError):
    """The stored study has another space, objective or strategy."""


class MissingDependency(HpoError, ModuleNotFoundError):
    """A framework that an integration needs is not installed."""

    @classmethod
    def of(cls, error: ModuleNotFoundError, framework: str, extra: str) -> ModuleNotFoundError:
        """Return the error to raise when importing ``framework`` raised ``error``.

        A framework that is installed and broken keeps its own cause: only its absence is translated.
        """
        if error.name is None or error.name.partition(".")[0] != framework:
            return error
        message = f"{framework} is not installed. Install it with: pip install 'hpo-plugins[{extra}]'"
        return cls(message, name=error.name)


def nearest_name(wanted: str, names: Iterable[str]) -> str | None:
    """Return the name that a typing error most likely meant, or None when none is near."""
    by_folded = {name.casefold().replace("-", "_"): name for name in names}
    folded = wanted.casefold().replace("-", "_")
    near = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    if near:
        return by_folded[near[0]]
    return next((name for key, name in by_folded.items() if folded in key or key in folded), None)


def _rebuild(cls: type[Exception], args: tuple[object, ...], state: dict[str, object]) -> Exception:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
