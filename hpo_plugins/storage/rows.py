"""Rows as they are read from a database, checked: a file may come from a stranger, or from a damaged disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from hpo_plugins.records import MAX_EPOCH, MAX_FOLDS, WHOLE_TRIAL, ActionRow, PointRow, ReportRow, TrialRow
from hpo_plugins.storage.damage import damaged
from hpo_plugins.storage.schema import PROGRESS, TRIAL_COLUMNS

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
_Counter = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Epoch = Annotated[int, msgspec.Meta(ge=WHOLE_TRIAL, le=MAX_EPOCH)]
_Report = tuple[
    _Count, _Count, _Epoch, float | None, str, float, Annotated[int, msgspec.Meta(ge=0, lt=MAX_FOLDS)], str, int
]
_Study = tuple[_Counter, _Counter, float, float, float | None]
_METRICS = msgspec.json.Decoder(dict[str, float | str])
_NAMES = [str(column.name) for column in TRIAL_COLUMNS]


def trial_of(row: Sequence[Any], where: str) -> TrialRow:
    """Return a trial's row.

    Args:
        row: The columns ``TRIAL_COLUMNS``.
        where: The study and its storage, for errors.

    Raises:
        StorageError: A column has another type, or a value that it cannot have.
    """
    columns = dict(zip(_NAMES, row, strict=True))
    try:
        columns["params"] = json.loads(columns["params"])
        columns["phases"] = json.loads(columns["phases"])
        columns["progress"] = {name: columns.pop(name) for name in PROGRESS}
        trial = msgspec.convert(columns, TrialRow)
    except (ValueError, TypeError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise damaged(where, f"trial {columns['number']!r}", error) from error
    if not (0 <= trial.number < 2**31 and trial.attempts >= 1 and 0 <= trial.progress.start_epoch <= MAX_EPOCH):
        raise damaged(where, f"trial {trial.number}", "a number is out of its range")
    if trial.point is not None and not 0 <= trial.point < 2**31:
        raise damaged(where, f"trial {trial.number}", f"point {trial.point}")
    if trial.folds in (0, 1) or not 0 <= trial.progress.fold <= (trial.folds or 0) <= MAX_FOLDS:
        raise damaged(where, f"trial {trial.number}", f"fold {trial.progress.fold} of {trial.folds}")
    return trial


def action_of(row: Sequence[Any], where: str) -> ActionRow:
    """Return a logged action.

    Args:
        row: Its fields, the details as JSON.
        where: The study and its storage, for errors.

    Raises:
        StorageError: A column has another type, or a value that it cannot have.
    """
    try:
        return msgspec.convert((*row[:4], json.loads(row[4])), ActionRow)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(where, f"action {row[0]!r}", error) from error


def point_of(row: Sequence[Any], where: str) -> PointRow:
    """Return a configuration that was enqueued.

    Args:
        row: Its number and its values.
        where: The study and its storage, for errors.

    Raises:
        StorageError: A column has another type.
    """
    number, text = row
    try:
        return msgspec.convert((number, json.loads(text)), PointRow)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(where, f"point {number!r}", error) from error


def study_of(row: Sequence[Any], where: str) -> tuple[int, int, float, float, float | None]:
    """Return a study's revision, acquisitions, clock, runtime and time of the last write.

    Args:
        row: These columns.
        where: The study and its storage, for errors.

    Raises:
        StorageError: A column has another type.
    """
    try:
        study: tuple[int, int, float, float, float | None] = msgspec.convert(row, _Study)
    except msgspec.ValidationError as error:
        raise damaged(where, "its row", error) from error
    return study


def reports_of(rows: Sequence[Sequence[Any]], where: str) -> list[ReportRow]:
    """Return reports.

    Args:
        rows: The columns ``REPORT_COLUMNS`` and the revision.
        where: The study and its storage, for errors.

    Raises:
        StorageError: A column has another type, or a value that it cannot have.
    """
    try:
        return _reports(rows)
    except (ValueError, TypeError):
        for row in rows:  # all at once is faster; one by one, the error can be named
            try:
                _reports([row])
            except (ValueError, TypeError) as error:
                raise damaged(where, f"a report of trial {row[0]!r}, epoch {row[2]!r}", error) from error
        raise


def _reports(rows: Sequence[Sequence[Any]]) -> list[ReportRow]:
    make, decode = ReportRow._make, _METRICS.decode
    reports = [make(row[:-1]) for row in msgspec.convert(rows, list[_Report])]
    for report in reports:
        if report.epoch == WHOLE_TRIAL and report.value is not None:
            raise ValueError("metrics of a trial as a whole have no value of the objective")
        for value in decode(str(report.metrics)).values():
            float(value)
    return reports
