"""What is written down of a search: trials and epochs as a storage keeps them, and the record that users read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from hpo_plugins.errors import InvalidReport
from hpo_plugins.space import Params


class TrialState(StrEnum):
    """Where a trial is in its life."""

    RUNNING = "running"
    """Handed out; its body runs, or ran in a process that is gone."""
    PAUSED = "paused"
    """Frozen with a checkpoint; it may go on later."""
    COMPLETED = "completed"
    """Trained to its end."""
    STOPPED = "stopped"
    """Ended early by the strategy or an early-stopping rule."""
    FAILED = "failed"
    """Ended by an error, a metric that is not finite, or the loss of its worker."""

    @property
    def is_final(self) -> bool:
        """Whether the trial is over for good."""
        return self in (TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED)


@dataclass(frozen=True)
class TrialRecord:
    """What is known of a trial.

    Attributes:
        number: Its place in the search, from 0.
        params: Its configuration.
        state: Where it is in its life.
        value: The objective at its best or last epoch, as the objective says; None before the first epoch and for
            a failed trial.
        epochs: The last epoch that was reported, 0 before the first.
        curve: Epoch to objective value, its last finite one.
        metrics: Epoch to ``{name: value}``, everything that was reported.
        checkpoint: The checkpoint it can go on from, or None.
        stop_reason: Why it ended or was paused, in words.
        error: The error that made it fail, with its type.
        started_at: Seconds since 1970, by the storage's clock, of the first hand-out.
        ended_at: The same of its end, None while it runs.
        attempts: How often it was handed out: 1, and 1 more each time it went on.
        definition: Which training definition it belongs to, where the search has several.
        parent: The study it was trained in, when it comes from an earlier one (``warm_start``).
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


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial as stored.

    Attributes:
        attempts: How often it was handed out; the token of the present lease.
        lost: How many of these ended with a worker that vanished.
        worker: Who holds the lease.
        lease_until: When the lease runs out unless renewed; 0 when it was given back.
        verdict: What the judges said while it ran: the state it takes when its body is over.
        start_epoch: Epochs that the next attempt need not train again; those before its pause.
    """

    number: int
    params: Params
    state: TrialState
    attempts: int
    lost: int
    worker: str
    lease_until: float
    started_at: float
    ended_at: float | None = None
    verdict: TrialState | None = None
    stop_reason: str | None = None
    error: str | None = None
    checkpoint: str | None = None
    start_epoch: int = 0


class ReportRow(NamedTuple):
    """An epoch: ``value`` is the objective, None when missing or not finite; ``metrics`` are all, as dict or JSON."""

    number: int
    attempt: int
    epoch: int
    value: float | None
    metrics: dict[str, float] | str
    seconds: float


class Changes(NamedTuple):
    """What is new since a revision; reports in the order in which they were written, to be read once.

    ``runtime`` is how long the study has been worked on, in seconds, up to ``now``.
    """

    revision: int
    hand_outs: int
    now: float
    trials: Sequence[TrialRow]
    reports: Iterable[ReportRow]
    runtime: float = 0.0


@dataclass(frozen=True, slots=True)
class HandOut:
    """A decision to let a worker train a trial: a new one (``attempt == 1``) or one that goes on."""

    number: int
    params: Params
    attempt: int
    lost: int
    worker: str
    lease: float
    """How long the lease lasts from now, in seconds."""


class Metrics(Mapping[int, dict[str, float]]):
    """All reported metrics of a trial: epoch to ``{name: value}``; stored ones are decoded when they are read."""

    def __init__(self, epochs: Sequence[int], metrics: Sequence[dict[str, float] | str]) -> None:
        """Keep the metrics, one entry an epoch."""
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
        """Show the metrics as the dict they stand for."""
        return repr(dict(self))


def encode_metrics(metrics: Mapping[str, float]) -> str:
    """Return metrics as strict JSON; NaN and infinities, which JSON lacks, become the strings that ``float`` reads."""
    return json.dumps({name: value if math.isfinite(value) else str(value) for name, value in metrics.items()})


def decode_metrics(metrics: dict[str, float] | str) -> dict[str, float]:
    """Return metrics, in a dict of the caller's own, from that form or from their JSON."""
    if isinstance(metrics, str):
        return {name: float(value) for name, value in json.loads(metrics).items()}
    return dict(metrics)


def plain_metrics(metrics: object) -> dict[str, float]:
    """Return metrics as Python floats.

    Args:
        metrics: Name to a Python or numpy number, or a tensor of one element of any framework.

    Raises:
        InvalidReport: It is not a mapping, a name is not a string, or a value is not one number.
    """
    if not isinstance(metrics, Mapping):
        raise InvalidReport(f"metrics must map names to numbers, but got metrics={metrics!r}.")
    return {_name(name): _number(name, value) for name, value in metrics.items()}


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidReport(f"metrics must have non-empty strings as names, but got {name!r}.")
    return name


def _number(name: object, value: Any) -> float:
    if type(value) is float:  # the usual case, on the path of every epoch
        return value
    message = f"metrics[{name!r}] must be one number, but got {value!r} of type {type(value).__name__}."
    if isinstance(value, str | bytes):  # not converted: a formatted number has lost digits
        raise InvalidReport(message)
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidReport(message) from error
