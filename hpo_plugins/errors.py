"""Every error that this library raises on purpose.

HpoError
├── InvalidArgument      a wrong range, scale, limit or combination            (also a ValueError)
├── InvalidReport        an epoch or a metric value that cannot be recorded    (also a ValueError)
│   └── MetricNotFound   the training does not report the objective's metric
├── NothingReported      trainings end without reporting anything, or nothing has a value yet
├── CheckpointError      a checkpoint cannot be used: missing, damaged, of another model, or not passed on
├── WorkerError          workers cannot be started, or die before they train
├── StorageError         the storage cannot be opened, read or written
│   ├── StudyNotFound    no study of that name is stored                       (also a LookupError)
│   └── StudyMismatch    the stored study was defined differently
└── MissingDependency    an optional framework is not installed                (also a ModuleNotFoundError)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class HpoError(Exception):
    """Base class of every error that this library raises on purpose."""


class InvalidArgument(HpoError, ValueError):
    """An argument is not allowed; the message says what is."""


class InvalidReport(HpoError, ValueError):
    """A report's epoch or metrics cannot be recorded; nothing of the report was."""


class MetricNotFound(InvalidReport):
    """The first epoch was reported without the objective's metric.

    Args:
        metric: The objective's metric.
        reported: The names of the metrics that were reported.
        hint: What to do about it.
        when: When it was not reported.
    """

    def __init__(
        self, metric: str, reported: Iterable[str], hint: str = "", when: str = "after the first epoch"
    ) -> None:
        """Name the metric, those that were reported, and the nearest of them."""
        names = sorted(reported)
        self.metric, self.reported = metric, tuple(names)
        nearest = nearest_name(metric, names)
        message = f"The objective's metric {metric!r} was not reported {when}. "
        message += f"Reported: {', '.join(map(repr, names))}. " if names else "No metric was reported. "
        if nearest is not None:
            message += f"Did you mean {nearest!r}? "
        super().__init__(
            (message + (hint or "Use one of the names that the training reports for the objective.")).strip()
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild the exception from its message in the process that unpickles it."""
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class NothingReported(HpoError):
    """The first trainings of a search all ended without a report, or no trial has a value yet."""


class CheckpointError(HpoError):
    """A checkpoint cannot be used; the trial is released unchanged, and the message says what to do."""


class WorkerError(HpoError):
    """Workers cannot be started, or die before they train."""


class StorageError(HpoError):
    """The storage cannot be opened, read or written."""


class StudyNotFound(StorageError, LookupError):
    """No study of that name is in the storage."""


class StudyMismatch(StorageError):
    """The stored study was defined differently."""


class MissingDependency(HpoError, ModuleNotFoundError):
    """A framework that an integration needs is not installed."""

    @classmethod
    def of(cls, error: ModuleNotFoundError, framework: str, extra: str) -> ModuleNotFoundError:
        """Return the error to raise when importing a framework has raised ``error``.

        Only the absence of the framework is translated: an installed but broken one keeps its own error.

        Args:
            error: The error of the import.
            framework: The framework's name.
            extra: The extra of this package that installs it.
        """
        if error.name is None or error.name.partition(".")[0] != framework:
            return error
        message = f"{framework} is not installed. Install it with: pip install 'hpo-plugins[{extra}]'"
        return cls(message, name=error.name)


def nearest_name(wanted: str, names: Iterable[str]) -> str | None:
    """Return the name that was most likely meant, None if none is similar.

    A metric of the validation is never taken for one of the training: tuning for it would be a mistake.
    """
    by_folded = {name.casefold().replace("-", "_"): name for name in names}
    folded = wanted.casefold().replace("-", "_")
    if is_validation := bool(_VALIDATION.match(folded)):
        by_folded = {key: name for key, name in by_folded.items() if _VALIDATION.match(key)}
    extended = [name for key, name in sorted(by_folded.items()) if key.startswith((f"{folded}/", f"{folded}_"))]
    if extended:  # such as val_loss/dataloader_idx_0
        return extended[0]
    near = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    if near:
        return by_folded[near[0]]
    bare = _VALIDATION.sub("", folded) if is_validation else folded
    return next((name for key, name in by_folded.items() if bare in key or key in folded), None)


_VALIDATION = re.compile(r"(val|valid|validation|eval|test|dev)(_\d+)?[_:/.]+")


def _rebuild(cls: type[Exception], args: tuple[object, ...], state: dict[str, object]) -> Exception:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
