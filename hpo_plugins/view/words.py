"""Numbers and outcomes in words, as all views write them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hpo_plugins._text import printable
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.space import Params


def duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def number(value: object) -> str:
    """Return a parameter's value, short."""
    return f"{value:.4g}" if isinstance(value, float) else printable(value)


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return rows as aligned columns.

    Args:
        rows: The cells, the head included.
        right: The columns that are aligned on the right.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def configuration(params: Params, width: int | None = None) -> str:
    """Return a configuration in one line, cut at a width."""
    text = "  ".join(f"{printable(name)}={number(value)}" for name, value in params.items())
    return text if width is None else shortened(text, width)


def shortened(text: str, width: int) -> str:
    """Return text, cut at a width."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "\u2026"


def whole_reason(trial: TrialRecord) -> str:
    """Return why a trial has ended or was paused, with the arithmetic; empty if it has not."""
    return printable((trial.error if trial.state is TrialState.FAILED else trial.stop_reason) or "", lines=True)


def why(trial: TrialRecord) -> str:
    """Return why a trial has ended or was paused, in words, without the arithmetic."""
    plain = (trial.error if trial.state is TrialState.FAILED else trial.stop_rule) or ""
    return printable(plain.strip().splitlines()[0]) if plain.strip() else ""


def outcome(trial: TrialRecord) -> str:
    """Return how a trial has ended, in one line."""
    value = "" if trial.value is None else f"  {trial.value:.6g}"
    return f"trial {trial.number} {trial.state.value} after epoch {trial.epochs}{value}  {why(trial)}"


def time_left(ended: int, limit: int | None, runtime: float) -> float | None:
    """Return a guess of the seconds that are left, from the trials that have ended; None if there is none."""
    return None if limit is None or ended == 0 or ended >= limit else runtime / ended * (limit - ended)
