"""Every error that this library raises on purpose.

HpoError
├── InvalidArgument      a wrong range, scale, limit or combination            (also a ValueError)
├── InvalidReport        an epoch or a metric value that cannot be recorded    (also a ValueError)
│   └── MetricNotFound   the training run does not report the objective's metric
├── NothingReported      training runs end without reporting anything, or nothing has a value yet
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

from hpo_plugins._text import printable


class HpoError(Exception):
    """Base class of every error that this library raises on purpose.

    Any other exception from this library is a defect; please report it.
    """

    def __str__(self) -> str:
        """Return the message; names of a study in it cannot control the terminal."""
        return printable(super().__str__(), lines=True)


class InvalidArgument(HpoError, ValueError):
    """An argument is not allowed; the message names the allowed values.

    Cause: a range, a scale, a limit, a condition or a combination that cannot be used. It is raised when the object is
    created, before any training.

    What to do: correct the argument that the message names.
    """


class InvalidReport(HpoError, ValueError):
    """A report's epoch or metrics cannot be recorded; no part of the report was recorded.

    Cause: an epoch that goes backwards or is no whole number, an objective that is no number, or another training run
    that reports to the same trial: a fold, a second model, a copy in another process.

    What to do: continue the count of epochs over the phases of a training run; loop over ``trial.folds(n)`` for folds;
    train another configuration in another trial.
    """


class MetricNotFound(InvalidReport):
    """The first epoch was reported without the objective's metric, or a training run without that of a limit.

    Cause: a name that the training run does not report, or a validation that does not run.

    What to do: use one of the names that the message lists, such as the nearest one; or put the callback that computes
    the metric before ``TrialCallback``.

    Args:
        metric: The objective's metric.
        reported: The names of the metrics that were reported.
        hint: The cure, in words.
        when: The time at which it was missing, in words.
        role: Whose metric it is, in words.
    """

    def __init__(
        self,
        metric: str,
        reported: Iterable[str],
        hint: str = "",
        when: str = "after the first epoch",
        role: str = "objective's",
    ) -> None:
        """Name the metric, those that were reported, and the nearest of them."""
        names = sorted(reported)
        self.metric, self.reported = metric, tuple(names)
        nearest = nearest_name(metric, names)
        message = f"The {role} metric {metric!r} was not reported {when}. "
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
    """The first training runs of a search all ended without a report, or no trial has a value yet.

    Cause: a training run without the callback, or a request for the best trial before any trial has a value.

    What to do: pass ``TrialCallback(trial)`` to the training run, or call ``trial.report``. To skip a configuration on
    purpose, call ``trial.fail(reason)``.
    """


class CheckpointError(HpoError):
    """A checkpoint cannot be used; the trial is released unchanged, and the message says what to do.

    Cause: it is missing (a folder was moved, machines do not share it), damaged, of another model, may contain code, or
    was not passed to the framework.

    What to do: restore it, pass ``trial.resume_from`` to the training run, or train the trial from the start again:
    ``tuner.restart(number)``.
    """


class WorkerError(HpoError):
    """Workers cannot be started, or die before they train.

    Cause: a training function that cannot be pickled or imported, resources that no machine has, workers that die at
    once, or ranks that do not train the same trial.

    What to do: define the function at the top of a module, and only call it under ``if __name__ == "__main__":``; read
    the output of the workers.
    """


class StorageError(HpoError):
    """The storage cannot be opened, read or written.

    Cause: a path or URL that is wrong, a server that is away for more than five minutes, a disk that is full when a
    study is made, a file of another version or program, or one that is damaged.

    What to do: follow the message, and run the script again; no recorded result is lost.
    """


class StudyNotFound(StorageError, LookupError):
    """No study of that name is in the storage.

    Cause: a name or a path with a typing error, or a study that was deleted or renamed.

    What to do: use one of the names that the message lists.
    """


class StudyMismatch(StorageError):
    """The stored study was defined differently.

    Cause: the script has another space, objective, strategy or seed than at the study's creation.

    What to do: restore the definition to continue the study, or give another ``name=`` to start a new one. Limits
    (``max_trials``, ``max_runtime``, ``max_trial_seconds``, ``max_parallel``,
    ``stop_when``) may change.
    """


class MissingDependency(HpoError, ModuleNotFoundError):
    """A framework that an integration needs is not installed.

    Cause: the import of ``hpo_plugins.integrations.<framework>`` without that framework.

    What to do: ``pip install 'hpo-plugins[<framework>]'``, as the message says.
    """

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

    It never suggests a training metric for a validation metric, because tuning for it would be a mistake.
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
