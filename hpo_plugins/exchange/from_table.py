"""Read trials from a table: one row per trial, or one per trial and epoch.

Exports of Weights & Biases, MLflow, Optuna and of this package are recognized by their columns.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpo_plugins.coordination.adding import FinishedTrial
from hpo_plugins.errors import InvalidArgument, nearest_name
from hpo_plugins.exchange.foreign import ForeignStudy
from hpo_plugins.exchange.spaces import guessed, is_number, with_conditions
from hpo_plugins.objective import Objective
from hpo_plugins.records import TrialState
from hpo_plugins.view.tables import pandas

PREFIXES = ("params_", "param_", "params.", "config.", "config/")
"""What the names of parameters begin with in exports of this package, Optuna, scikit-learn, MLflow and W&B."""
METRIC_PREFIXES = ("metrics.", "summary.", "summary/")
_EPOCH = ("epoch", "step", "_step")
_TRIAL = ("trial", "number", "run_id", "ID", "id", "Name")
_FAILED = {"failed", "fail", "crashed", "killed"}
_STOPPED = {"stopped", "pruned", "paused"}
_OTHERS = {
    "state", "status", "State", "Notes", "User", "Tags", "Created", "Runtime", "Sweep", "Group", "Job Type", "Updated",
    "fold", "seconds", "epochs", "std", "folds", "stop_reason", "error", "attempts", "point", "started_at", "ended_at",
    "datetime_start", "datetime_complete", "duration", "experiment_id", "start_time", "end_time", "artifact_uri",
}  # fmt: skip
"""Columns of those exports that are neither parameters nor metrics."""
_EMPTY = (None, "", "NaN", "nan")


def table_study(
    rows: Sequence[Mapping[str, Any]], objective: Objective, name: str, params: Sequence[str] = ()
) -> ForeignStudy:
    """Return the study in a table.

    Args:
        rows: The rows. Rows of the same trial are the epochs of its curve if there is a column ``epoch`` or ``step``.
        objective: The objective; its metric is a column.
        name: The name of the study.
        params: The columns with parameters. By default those that begin with ``params_``, ``params.``, ``config.`` and
            so on; if there is none, all columns but the metric and those of known exports.

    Raises:
        InvalidArgument: A column is missing, or there is no parameter.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    metric = _column(objective.metric, columns, METRIC_PREFIXES)
    epoch = next((each for each in _EPOCH if each in columns), None)
    key = next((each for each in _TRIAL if each in columns), None)
    chosen = _parameters(columns, params, {metric, epoch, key} | {"value"})
    typed = {column: _typed(row.get(column) for row in rows) for column in chosen}
    groups: dict[Any, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(row[key] if key is not None and epoch is not None else place, []).append(place)
    trials = []
    for places in groups.values():
        values = {chosen[column]: typed[column][places[0]] for column in chosen}
        configuration = {name: value for name, value in values.items() if value is not None}
        trials.append(_trial([rows[place] for place in places], configuration, metric, epoch))
    whole = [trial.params for trial in trials if trial.state is not TrialState.FAILED]
    space = {
        name: guessed(value for value in typed[column] if value is not None)
        for column, name in chosen.items()
        if any(value is not None for value in typed[column])
    }
    return ForeignStudy(name, with_conditions(space, whole), objective, trials, notes={"from": "table"})


def _column(wanted: str, columns: Sequence[str], prefixes: Sequence[str] = ()) -> str:
    for column in (wanted, *(prefix + wanted for prefix in prefixes)):
        if column in columns:
            return column
    nearest = nearest_name(wanted, columns)
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    raise InvalidArgument(f"the table has no column {wanted!r}, but {', '.join(map(repr, columns))}.{hint}")


def _parameters(columns: Sequence[str], given: Sequence[str], taken: Iterable[str | None]) -> dict[str, str]:
    """Return the columns with parameters, and their names."""
    if given:
        return {_column(name, columns, PREFIXES): name for name in given}
    for prefix in PREFIXES:
        found = {column: column.removeprefix(prefix) for column in columns if column.startswith(prefix)}
        if found:
            return found
    taken = {*taken, *_TRIAL, *_EPOCH, *_OTHERS}
    found = {column: column for column in columns if column not in taken and not column.startswith(METRIC_PREFIXES)}
    if not found:
        raise InvalidArgument("the table has no column with a parameter: name them with params= or --param.")
    return found


def _typed(cells: Iterable[Any]) -> list[Any]:
    """Return the cells of a column as values of one type, None where they are empty."""
    values = [_plain(cell) for cell in cells]
    known = [value for value in values if value is not None]
    if all(isinstance(value, float) and value == int(value) for value in known) and any(
        value is None for value in values
    ):
        return [None if value is None else int(value) for value in values]  # pandas stores gaps in whole numbers so
    if len({type(value) for value in known}) == 1 or all(is_number(value) for value in known):
        return values
    return [None if value is None else str(value) for value in values]


def _plain(cell: Any) -> Any:
    """Return a cell as a Python value; text that is a number or a truth value becomes one."""
    if hasattr(cell, "item"):
        cell = cell.item()
    if cell in _EMPTY or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if not isinstance(cell, str):
        return cell
    if cell in ("True", "False", "true", "false"):
        return cell in ("True", "true")
    for kind in (int, float):
        try:
            number = kind(cell)
        except ValueError:
            continue
        return number if math.isfinite(number) else cell
    return cell.removeprefix("'")


def _trial(rows: Sequence[Mapping[str, Any]], params: dict[str, Any], metric: str, epoch: str | None) -> FinishedTrial:
    curve: dict[int, float] = {}
    for place, row in enumerate(rows, 1):
        value = _plain(row.get(metric))
        if isinstance(value, int | float):
            at = place if epoch is None else _plain(row[epoch])
            curve[int(at)] = float(value)
    if curve and min(curve) < 1:
        curve = {at + 1 - min(curve): value for at, value in curve.items()}
    state = next((str(row[name]).lower() for row in rows for name in ("state", "status", "State") if row.get(name)), "")
    curve = dict(sorted(curve.items()))
    if state in _FAILED or not curve:
        reason = next((str(row["error"]) for row in rows if row.get("error")), "it failed elsewhere")
        return FinishedTrial(params, curve, TrialState.FAILED, "failed elsewhere", reason)
    if state in _STOPPED:
        return FinishedTrial(params, curve, TrialState.STOPPED, "stopped elsewhere")
    return FinishedTrial(params, curve, TrialState.COMPLETED, "completed elsewhere")


def rows_of(source: Any) -> list[dict[str, Any]]:
    """Return the rows of a CSV, JSON or Parquet file, or of a data frame.

    Raises:
        InvalidArgument: It is something else, or is empty.
    """
    if hasattr(source, "to_dict"):
        rows = source.to_dict("records")
    else:
        path = Path(source)
        try:
            rows = _read(path)
        except (ValueError, UnicodeDecodeError, csv.Error) as error:
            raise InvalidArgument(f"{path} cannot be read as a table: {error}.") from error
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise InvalidArgument("the table has no rows.")
    return [{str(column): value for column, value in row.items()} for row in rows]


def _read(path: Path) -> Any:
    if path.suffix == ".parquet":
        return pandas().read_parquet(path).to_dict("records")
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return list(csv.DictReader(text.splitlines()))
