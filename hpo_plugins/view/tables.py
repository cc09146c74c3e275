"""A study as tables of pandas."""

from __future__ import annotations

import csv
import io
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hpo_plugins._text import printable
from hpo_plugins.errors import MissingDependency
from hpo_plugins.objective import Goals
from hpo_plugins.records import TrialRecord
from hpo_plugins.view.study_view import StudyView

if TYPE_CHECKING:
    import pandas as pd


def trial_rows(view: StudyView) -> list[dict[str, Any]]:
    """Return one row per trial, as plain values."""
    return [
        {"number": t.number, "state": t.state.value, "value": t.value, "epochs": t.epochs}
        | ({"std": t.std, "folds": len(t.folds)} if view.history.n_folds else {})
        | ({} if view.goals is None else _goals(view.goals, t))
        | {f"params_{name}": value for name, value in t.params.items()}
        | {"stop_reason": t.stop_reason, "error": t.error, "attempts": t.attempts, "point": t.point}
        | {"started_at": t.started_at, "ended_at": t.ended_at}
        for t in view.trials
    ]


def _goals(goals: Goals, trial: TrialRecord) -> dict[str, Any]:
    """Return a trial's values of all goals, and whether it meets the limits."""
    values = {f"values_{metric}": trial.values.get(metric) for metric in goals.metrics}
    return values | ({"feasible": trial.feasible} if goals.constraints else {})


def curve_rows(view: StudyView) -> list[dict[str, Any]]:
    """Return one row per trial, fold and epoch, as plain values."""
    return [
        {"number": number, "fold": fold, "epoch": epoch, "seconds": seconds} | metrics
        for number, trial in enumerate(view.history)
        for fold, reports in enumerate(trial.folds)
        for (epoch, metrics), seconds in zip(reports.metrics.items(), reports.seconds.values(), strict=True)
    ]


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff0b", "\uff0d", "\uff1d", "\uff20")
"""What a formula begins with in spreadsheets, the wide forms of these characters included."""


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Return rows as CSV that a spreadsheet or a terminal shows as it is: no text is a formula or an escape.

    Text that would be a formula has an apostrophe before it. Numbers stay numbers. JSON has the text unchanged.
    """
    buffer = io.StringIO()
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(_csv_cell, columns))
    writer.writerows([_csv_cell(row.get(column)) for column in columns] for row in rows)
    return buffer.getvalue().rstrip("\n")


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return printable(f"'{value}" if value.startswith(FORMULA) else value, lines=True)


def pandas() -> ModuleType:
    """Return pandas.

    Raises:
        MissingDependency: It is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise MissingDependency.of(error, "pandas", "dataframe") from error
    module: ModuleType = pd
    return module


def trials_dataframe(view: StudyView) -> pd.DataFrame:
    """Return one row per trial."""
    return pandas().DataFrame(trial_rows(view))


def curves_dataframe(view: StudyView) -> pd.DataFrame:
    """Return one row per trial, fold and epoch."""
    return pandas().DataFrame(
        curve_rows(view), columns=None if view.history else ["number", "fold", "epoch", "seconds"]
    )
