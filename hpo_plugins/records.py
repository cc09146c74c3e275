"""The records of a study: the rows that a storage keeps, and the frozen records that users read."""

from __future__ import annotations

import json
import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from html import escape
from typing import Any, NamedTuple

from hpo_plugins._text import printable
from hpo_plugins._validation import is_text
from hpo_plugins.errors import InvalidReport
from hpo_plugins.space import Params

MAX_EPOCH = 2**53
"""The last epoch that can be reported: every storage and every float holds it exactly."""
WHOLE_TRIAL = 0
"""The epoch of a report whose metrics are those of the trial as a whole (``Trial.record``)."""
OUT_OF_MEMORY = "out of memory"
"""The rule of a failed trial for which there was too little memory."""
MAX_FOLDS = 1_000
"""The most folds of a trial."""


class TrialState(StrEnum):
    """The state of a trial."""

    RUNNING = "running"
    """A worker trains it, or has died while training it."""
    PAUSED = "paused"
    """Not being trained; it may be resumed from a checkpoint."""
    COMPLETED = "completed"
    """Trained to its end."""
    STOPPED = "stopped"
    """Ended early by the strategy, an early-stopping rule or a limit."""
    FAILED = "failed"
    """Ended by an error, by a metric that is not finite, or because its workers died."""

    @property
    def is_final(self) -> bool:
        """Whether the trial has ended for good."""
        return self in (TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED)


@dataclass(frozen=True)
class TrialRecord:
    """The record of a trial.

    Attributes:
        number: Its number in the study, from 0.
        params: Its configuration.
        state: Its state.
        value: The objective at its best or last epoch, as the objective defines; None before the first report and for
            a failed trial.
        epochs: The last epoch that was reported, 0 before the first.
        curve: Epoch to the objective's value, where it is finite.
        metrics: Epoch to ``{name: value}``, all reported metrics.
        checkpoint: Path of the checkpoint to resume from, or None.
        best_epoch: The epoch of ``value``; None without a value.
        best_checkpoint: Path of the checkpoint of that epoch; None if none was saved (``Tuner(checkpoints="best")``).
        stop_reason: Why it ended or was paused, in words: the rule and, after a colon, its reason.
        error: The error that made it fail, with its type.
        started_at: When it was started, in seconds since 1970 by the storage's clock.
        ended_at: When it ended, by the same clock; None until then.
        attempts: Number of acquisitions: 1, plus 1 for each resume or retry.
        definition: Its training definition, if the study has several.
        parent: The study that it was trained in, if it comes from an earlier one (``warm_start``).
        folds: The curve of each fold, if it was trained in folds (``Trial.folds``): then ``curve``, ``metrics`` and
            ``value`` are means over them, and ``metrics`` contains the standard deviations as ``<name>-std``.
        std: The standard deviation of ``value`` over the folds; None without folds.
        seconds: Epoch to the seconds of training up to it, over all attempts; with folds, those of the first.
        point: Which of the user's own configurations it tries, from 0: those of ``points_to_evaluate``, then those of
            ``Tuner.enqueue``; None if the strategy has chosen it.
        stop_rule: The rule in ``stop_reason``.
        expected: The value to expect if its configuration is trained again as far. The best of many noisy values is
            partly luck, so this is usually worse than ``value``. Only ``best_trial`` has it, and only if at least six
            trials were trained about as far.
        expected_std: The standard deviation of that value, the noise of the new training run included: ``expected``
            plus and minus 1.645 times this is a 90 % interval. It is 0 if training runs seem to repeat exactly.
        recorded: Its metrics as a whole (``Trial.record``).
        values: The metrics of all objectives and limits at ``best_epoch``, as far as they are known: with several
            objectives, that is the last epoch that no other one is at least as good as in all of them. With limits,
            epochs that meet them come first. A metric that was not reported there has its last value before, or its
            first one after it. Empty for one objective without limits.
        feasible: Whether it meets all limits there; None without limits, or if a limited metric is not known.
    """

    number: int
    params: Params
    state: TrialState
    value: float | None
    epochs: int
    curve: dict[int, float]
    metrics: Mapping[int, dict[str, float]] = field(repr=False)
    checkpoint: str | None
    stop_reason: str | None
    error: str | None
    started_at: float
    ended_at: float | None
    attempts: int
    definition: str | None = None
    parent: str | None = None
    folds: tuple[dict[int, float], ...] = ()
    std: float | None = None
    seconds: Mapping[int, float] = field(default_factory=dict, repr=False)
    point: int | None = None
    best_epoch: int | None = None
    best_checkpoint: str | None = None
    stop_rule: str | None = None
    expected: float | None = field(default=None, compare=False)  # depends on other trials, too
    expected_std: float | None = field(default=None, compare=False)
    recorded: dict[str, float] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    feasible: bool | None = None

    def _repr_html_(self) -> str:
        value = "" if self.value is None else f"{self.value:.6g} at epoch {self.best_epoch}"
        again = expected_text(self, "\u00b1")
        rows = {
            "trial": self.number,
            "state": self.state.value,
            "value": value,
            **({} if again is None else {"expected if trained again": again}),
            **self.params,
        }
        reason = self.error or self.stop_reason
        rows |= {} if reason is None else {"reason": reason}
        shown = [(escape(printable(name)), escape(printable(cell, lines=True))) for name, cell in rows.items()]
        cells = "".join(f"<tr><th>{name}</th><td>{cell}</td></tr>" for name, cell in shown)
        return f"<table>{cells}</table>"


def expected_text(record: TrialRecord, sign: str = "+-") -> str | None:
    """Return the value to expect and its standard deviation in words; None if unknown, or if runs repeat exactly.

    Args:
        record: The trial.
        sign: The sign between the two.
    """
    value, std = record.expected, record.expected_std
    if value is None or not std:
        return None
    decimals = 1 - math.floor(math.log10(std))  # two digits of the deviation
    return f"{value:.{decimals}f} {sign} {std:.{decimals}f}" if 0 <= decimals <= 6 else f"{value:.6g} {sign} {std:.2g}"


class Decision(NamedTuple):
    """The decision on a training run after an epoch, or on a trial.

    Attributes:
        state: The state that the trial takes. PAUSED: it keeps its checkpoint, and the strategy may resume it. STOPPED:
            it has ended early, permanently. COMPLETED and FAILED: it has ended, too.
        rule: The rule that has decided, in a few words; the summary counts trials by it.
        detail: The rule's reason in words and numbers; may be empty.
    """

    state: TrialState
    rule: str
    detail: str = ""

    @property
    def reason(self) -> str:
        """The rule and, after a colon, its reason."""
        return reason_of(self.rule, self.detail)


def reason_of(rule: str, detail: str | None) -> str:
    """Return a reason in words."""
    return f"{rule}: {detail}" if detail else rule


@dataclass(frozen=True, slots=True)
class Progress:
    """The saved progress of a trial, from which its next attempt begins.

    ``Progress()`` is a trial that starts from scratch.

    Attributes:
        fold: Number of its ended folds, which is the index of the fold that the other fields describe.
        start_epoch: The epoch that the next attempt resumes from.
        checkpoint: The checkpoint of that epoch, relative to the root of the checkpoints.
        best_checkpoint: The checkpoint of its best epoch, if such are kept.
        best_checkpoint_epoch: The epoch of that checkpoint.
        phases: The epoch after which each phase of the current fold began, in the order in which they began; empty if
            there is one phase, from the first epoch.
    """

    fold: int = 0
    start_epoch: int = 0
    checkpoint: str | None = None
    best_checkpoint: str | None = None
    best_checkpoint_epoch: int | None = None
    phases: tuple[int, ...] = ()

    def without_checkpoints(self) -> Progress:
        """Return the progress of a trial whose checkpoints were deleted."""
        return replace(self, checkpoint=None, best_checkpoint=None, best_checkpoint_epoch=None)


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial as stored.

    Attributes:
        attempts: Number of acquisitions; identifies the current lease.
        failed_attempts: Number of attempts that ended with the death of a worker, or with an exception to retry on.
        worker: The worker that holds the lease.
        lease_until: When the lease expires unless it is renewed; None once it was released.
        decision: The state that the trial takes when the current attempt ends, as decided while it ran.
        rule: The rule by which it has ended, was paused or is to end; None before.
        detail: The rule's reason.
        folds: Number of its folds, None without folds.
        phase: How many phases the current attempt has begun, as far as it is stored: 0 may also be the only one.
        point: Which of the points that users have given it tries, None if its configuration is the strategy's.
        progress: Its saved progress.
    """

    number: int
    params: Params
    state: TrialState
    attempts: int
    failed_attempts: int
    worker: str
    lease_until: float | None
    started_at: float
    ended_at: float | None = None
    decision: TrialState | None = None
    rule: str | None = None
    detail: str | None = None
    error: str | None = None
    folds: int | None = None
    phase: int = 0
    point: int | None = None
    progress: Progress = Progress()

    @property
    def stop_reason(self) -> str | None:
        """Why it has ended, was paused or is to end, in words."""
        return None if self.rule is None else reason_of(self.rule, self.detail)


class ReportRow(NamedTuple):
    """One reported epoch of a trial.

    Attributes:
        epoch: The epoch; ``WHOLE_TRIAL`` if the metrics are those of the trial as a whole.
        value: The objective's metric, None if it is missing or not finite.
        metrics: All metrics, as a dict or in their JSON form.
        seconds: Seconds of training since the attempt began.
        fold: The fold, 0 if there are none.
        writer: Identifies the process that reports, if it is not the one that has acquired the trial.
    """

    number: int
    attempt: int
    epoch: int
    value: float | None
    metrics: dict[str, float] | str
    seconds: float
    fold: int = 0
    writer: str = ""


class PointRow(NamedTuple):
    """A configuration that a user has enqueued.

    Attributes:
        number: Its number among the enqueued ones, from 0.
        params: Its values, complete or partial.
    """

    number: int
    params: Params


class ActionRow(NamedTuple):
    """An action of a person on a study, as logged.

    Attributes:
        number: Its number in the study's log, from 0.
        at: When it was logged, in seconds since 1970 by the storage's clock.
        action: Its kind, such as ``"stop"`` or ``"note"``.
        trial: The trial that it concerns; None for the study.
        details: Further values, as JSON.
    """

    number: int
    at: float
    action: str
    trial: int | None
    details: dict[str, Any]


@dataclass(frozen=True)
class Annotation:
    """What people have written about a trial or a study.

    Attributes:
        note: Their note.
        tags: Their tags.
    """

    note: str = ""
    tags: tuple[str, ...] = ()


class Changes(NamedTuple):
    """The changes of a study since a revision.

    Attributes:
        revision: The study's current revision.
        acquisitions: Number of acquisitions so far.
        now: The storage's clock, in seconds since 1970.
        trials: The rows that have changed.
        reports: The new reports, in the order in which they were written; iterate over them once only.
        runtime: The study's runtime in seconds, up to ``now``.
        points: The enqueued configurations, in order.
    """

    revision: int
    acquisitions: int
    now: float
    trials: Sequence[TrialRow]
    reports: Iterable[ReportRow]
    runtime: float = 0.0
    points: Sequence[PointRow] = ()


class Written(NamedTuple):
    """A trial's row as a write has left it, and the revision of that write."""

    revision: int
    row: TrialRow


@dataclass(frozen=True, slots=True)
class Assignment:
    """The assignment of a trial to a worker: a new one (``attempt == 1``), or one to resume or retry.

    Attributes:
        lease_seconds: Lifetime of the lease from its write, in seconds.
        point: Which of the points that users have given a new trial tries.
    """

    number: int
    params: Params
    attempt: int
    failed_attempts: int
    worker: str
    lease_seconds: float
    point: int | None = None


class Metrics(Mapping[int, dict[str, float]]):
    """All reported metrics of a trial, epoch to ``{name: value}``; the JSON form is decoded when it is read."""

    def __init__(self, epochs: Sequence[int], metrics: Sequence[dict[str, float] | str]) -> None:
        """Keep the metrics, one entry per epoch."""
        self._entries = dict(zip(epochs, metrics, strict=True))

    def __getitem__(self, epoch: int) -> dict[str, float]:
        """Return the metrics of one epoch."""
        return decode_metrics(self._entries[epoch])

    def __iter__(self) -> Iterator[int]:
        """Iterate over the epochs that were reported."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self._entries)

    def __repr__(self) -> str:
        """Return the representation of the equivalent dict."""
        return repr(dict(self))


class EpochSeconds(Mapping[int, float]):
    """Epoch to seconds of training, in two arrays, which take far less memory than dicts (docs/decisions/0016)."""

    def __init__(self, epochs: array[int], seconds: array[float]) -> None:
        """Copy the columns; the epochs ascend."""
        self._epochs, self._seconds = epochs[:], seconds[:]

    def __getitem__(self, epoch: int) -> float:
        """Return the seconds up to one epoch."""
        index = bisect_left(self._epochs, epoch)
        if index == len(self._epochs) or self._epochs[index] != epoch:
            raise KeyError(epoch)
        return self._seconds[index]

    def __iter__(self) -> Iterator[int]:
        """Iterate over the epochs."""
        return iter(self._epochs)

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self._epochs)

    def __repr__(self) -> str:
        """Return the representation of the equivalent dict."""
        return repr(dict(self))


def encode_metrics(metrics: Mapping[str, float]) -> str:
    """Return metrics as strict JSON; NaN and infinities become strings that ``float`` parses."""
    return json.dumps({name: value if math.isfinite(value) else str(value) for name, value in metrics.items()})


def decode_metrics(metrics: dict[str, float] | str) -> dict[str, float]:
    """Return metrics as a new dict, from a dict or from their JSON form."""
    if isinstance(metrics, str):
        return {name: float(value) for name, value in json.loads(metrics).items()}
    return dict(metrics)


def plain_metrics(metrics: object, objective: str) -> tuple[dict[str, float], dict[str, str]]:
    """Return metrics as Python floats, and by name the reasons why other values are left out.

    Args:
        metrics: Name to a Python or numpy number, or a tensor of one element of any framework.
        objective: The metric that must be a number.

    Raises:
        InvalidReport: It is not a mapping, a name is not a string, or the objective is not one number.
    """
    if not isinstance(metrics, Mapping):
        raise InvalidReport(f"metrics must map names to numbers, but got metrics={metrics!r}.")
    numbers: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for name, value in metrics.items():
        if type(name) is not str or not name or not name.isascii():
            _name(name)
        if type(value) is float:
            numbers[name] = value
            continue
        try:
            numbers[name] = _number(name, value)
        except InvalidReport as error:
            if name == objective:
                raise
            left_out[name] = str(error)
    return numbers, left_out


def _name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidReport(f"metrics must have non-empty strings as names, but got {name!r}.")
    if not is_text(name):
        raise InvalidReport(f"metrics must have names without lone surrogates, but got {name!r}.")


def _number(name: object, value: Any) -> float:
    message = f"metrics[{name!r}] must be one number, but got {value!r} of type {type(value).__name__}."
    if isinstance(value, str | bytes):  # not converted, since formatted numbers have lost digits
        raise InvalidReport(message)
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidReport(message) from error
