"""Import results from elsewhere: find out what a source is, and write its studies."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hpo_plugins._validation import choice, non_empty_string
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.exchange.foreign import ForeignStudy, Imported, write
from hpo_plugins.exchange.from_keras_tuner import keras_tuner_study
from hpo_plugins.exchange.from_mlflow import mlflow_studies
from hpo_plugins.exchange.from_optuna import optuna_studies
from hpo_plugins.exchange.from_table import rows_of, table_study
from hpo_plugins.objective import Objective
from hpo_plugins.space import Parameter
from hpo_plugins.storage import Storage
from hpo_plugins.strategies import Strategy

Kind = Literal["optuna", "keras-tuner", "mlflow", "table"]
KINDS: tuple[Kind, ...] = ("optuna", "keras-tuner", "mlflow", "table")
_TABLES = (".csv", ".json", ".jsonl", ".parquet")


def import_studies(
    source: Any,
    to: str | os.PathLike[str] | Storage,
    *,
    kind: Kind | None = None,
    objective: Objective | None = None,
    metric: str | None = None,
    study: str | None = None,
    name: str | None = None,
    params: Sequence[str] = (),
    space: Mapping[str, Parameter] | None = None,
    strategy: Strategy | None = None,
) -> list[Imported]:
    """Import studies from elsewhere, with their trials and curves.

    Args:
        source: A SQLite file, a journal file or the URL of Optuna; a project folder of KerasTuner; a tracking store of
            MLflow; a table (CSV, JSON, Parquet, or a pandas data frame), such as an export of Weights & Biases.
        to: Path of a SQLite file, a URL, or a storage.
        kind: What the source is; None to find out.
        objective: ``Minimize(metric)`` or ``Maximize(metric)``; tables and MLflow do not tell it.
        metric: The name of the objective, where the source tells the direction: another name for that of an Optuna
            study, or the metric of a KerasTuner project.
        study: The only study (experiment) of the source to import; None for all.
        name: The name of the imported study, if it is one; by default its own, or that of the file.
        params: The parameters, where the source does not tell: columns of a table, or parameters of MLflow.
        space: The search space; by default the source's, or the smallest that contains all configurations.
        strategy: The strategy that continues the search; ``Bayesian()`` by default.

    Returns:
        The studies in the order of the source, each with what could not be taken over, in words.

    Raises:
        InvalidArgument: The source is unknown, or an argument is missing.
        StorageError: The storage has a study of that name, or cannot be written.
    """
    if kind is not None:
        kind = choice("kind", kind, KINDS)
    if objective is not None and not isinstance(objective, Objective):
        raise InvalidArgument(f"objective must be Minimize(metric) or Maximize(metric), but got {objective!r}.")
    if name is not None:
        name = non_empty_string("name", name)
    found = _read(source, kind or _kind_of(source), objective, metric, study, tuple(params))
    if not found:
        raise InvalidArgument(f"{source} has no study to import.")
    if name is not None and len(found) > 1:
        names = ", ".join(repr(each.name) for each in found)
        raise InvalidArgument(f"name must be None for several studies ({names}). Choose one with study= or --study.")
    changes: dict[str, Any] = {} if name is None else {"name": name}
    changes |= {} if space is None else {"space": space}
    return [write(dataclasses.replace(each, **changes), to, strategy) for each in found]


def _read(
    source: Any, kind: str, objective: Objective | None, metric: str | None, study: str | None, params: tuple[str, ...]
) -> list[ForeignStudy]:
    own_name = Path(source).stem if isinstance(source, str | os.PathLike) else "table"
    if kind == "optuna":
        return optuna_studies(os.fspath(source), study, objective.metric if objective else metric)
    if kind == "keras-tuner":
        return [keras_tuner_study(Path(source), objective, metric, Path(source).absolute().name)]
    if objective is None:
        raise InvalidArgument(
            "objective must be given, since this source does not tell it: objective=hpo.Minimize('val_loss'), or on "
            "the command line --minimize val_loss."
        )
    if kind == "mlflow":
        return mlflow_studies(os.fspath(source), study, objective, params)
    return [table_study(rows_of(source), objective, own_name, params)]


def _kind_of(source: Any) -> Kind:
    if hasattr(source, "to_dict"):
        return "table"
    if not isinstance(source, str | os.PathLike):
        raise InvalidArgument(f"source must be a path, a URL or a data frame, but got {type(source).__name__}.")
    text = os.fspath(source)
    if text.startswith(("http://", "https://")):
        return "mlflow"
    if "://" in text:
        raise InvalidArgument(f"kind must be given for a URL: one of {', '.join(KINDS)}.")
    path = Path(text)
    if path.is_dir():
        return "keras-tuner" if any(path.glob("trial_*/trial.json")) else "mlflow"
    if not path.is_file():
        raise InvalidArgument(f"source must be a file, a folder or a URL, but there is no {text!r}.")
    if path.suffix in _TABLES:
        return "table"
    return "optuna" if "study_directions" in (tables := _tables(path)) or not tables else "mlflow"


def _tables(path: Path) -> set[str]:
    """Return the tables of a SQLite file; none for another file."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return set()
    if found and "study_directions" not in found and "experiments" not in found:
        known = ", ".join(sorted(found)[:6])
        raise InvalidArgument(f"{path} is neither Optuna's nor MLflow's database; it has the tables {known}.")
    return found
