"""Gradient boosting: XGBoost as learned from public results, LightGBM and CatBoost by its rules and their defaults.

Sources and rules are in docs/decisions/0034; each rule that is not learned is a constant here.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, overload

from hpo_plugins._validation import choice, whole_number
from hpo_plugins.space import Categorical, Continuous, Integer, Params
from hpo_plugins.spaces.made import SpaceDict, believed, learned, or_portfolio, rounded

ROWS = 2_500
"""Rows of a typical data set that the depth was learned on."""
WEIGHT_OF_ROW = 4.0
"""A row counts at most 1/4 in ``min_child_weight`` with the logistic loss, and 1 with the squared one."""
COLUMNS_PER_TREE = 2
"""Columns that each tree sees at least."""
XGBOOST: dict[str, Continuous | Integer] = {
    "eta": Continuous(0.01, 0.5, scale="log"),
    "max_depth": Integer(2, 12),
    "min_child_weight": Continuous(1.0, 100.0, scale="log"),
    "subsample": Continuous(0.4, 1.0),
    "colsample_bytree": Continuous(0.3, 1.0),
    "lambda": Continuous(1e-3, 100.0, scale="log"),
    "alpha": Continuous(1e-3, 10.0, scale="log"),
    "gamma": Continuous(1e-4, 10.0, scale="log"),
}
"""The ranges that its values are learned in."""

Task = Literal["classification", "regression"]


class _Training(NamedTuple):
    """What a space is made for."""

    task: str
    rows: int
    features: int | None
    rounds: int

    @classmethod
    def checked(cls, task: object, rows: object, features: object, rounds: object) -> _Training:
        """Return it, or raise InvalidArgument."""
        return cls(
            choice("task", task, allowed=("classification", "regression")),  # type: ignore[arg-type]  # checked by it
            ROWS if rows is None else whole_number("rows", rows, at_least=1),
            None if features is None else whole_number("features", features, at_least=1),
            whole_number("num_boost_round", rounds, at_least=1),
        )

    @property
    def rate(self) -> float:
        """The best learning rate, relative to the learned one."""
        known = learned()["xgboost"]
        return float((self.rounds / known["rounds"]) ** known["rate_by_rounds"])

    @property
    def levels(self) -> float:
        """How much deeper the best trees are than the learned ones."""
        return float(learned()["xgboost"]["depth_by_rows"]) * math.log(self.rows / ROWS)

    def columns(self, name: str) -> dict[str, Continuous]:
        """Return the parameter of the share of columns that a tree sees."""
        share = 0.3 if self.features is None else min(1.0, max(0.3, COLUMNS_PER_TREE / self.features))
        return {name: Continuous(share, 1.0)}

    def moved(self, params: Params) -> dict[str, float]:
        """Return learned values of XGBoost for this training."""
        moved: dict[str, Any] = dict(params)
        moved["eta"] *= self.rate
        moved["max_depth"] += self.levels
        moved["min_child_weight"] *= WEIGHT_OF_ROW if self.task == "regression" else 1.0
        return moved


@overload
def xgboost(
    task: Task = ...,
    *,
    rows: int | None = ...,
    features: int | None = ...,
    num_boost_round: int = ...,
    portfolio: None = ...,
) -> SpaceDict: ...


@overload
def xgboost(
    task: Task = ...,
    *,
    rows: int | None = ...,
    features: int | None = ...,
    num_boost_round: int = ...,
    portfolio: int,
) -> list[Params]: ...


def xgboost(
    task: Task = "classification",
    *,
    rows: int | None = None,
    features: int | None = None,
    num_boost_round: int = 200,
    portfolio: int | None = None,
) -> SpaceDict | list[Params]:
    """Return a space for ``xgboost.train``, whose number of rounds is the resource, or configurations of it.

    The beliefs are learned from XGBoost's results on 44 data sets of OpenML (docs/decisions/0034): one configuration
    that is good on all of them, and how widely the best ones of each are spread.

    Args:
        task: ``"classification"`` or ``"regression"``, for which ``min_child_weight`` counts rows in full.
        rows: Rows that are trained on: more rows, deeper trees. None believes in the learned depth.
        features: Columns: each tree sees at least two of them. Nothing else was found to depend on it.
        num_boost_round: Rounds of a full training run: the more, the smaller ``eta``.
        portfolio: Return so many configurations for ``points_to_evaluate`` instead of the space: each adds most to
            those before it, on average over the data sets.

    Raises:
        InvalidArgument: The task is unknown, or a number is not a whole number of at least 1.
    """
    training, known = _Training.checked(task, rows, features, num_boost_round), learned()["xgboost"]
    ranges: dict[str, Any] = {**XGBOOST, **training.columns("colsample_bytree")}
    prior = training.moved(known["prior"])
    space = {name: believed(each, prior[name], _confidence(known["spread"][name])) for name, each in ranges.items()}
    first = [
        {name: rounded(each, training.moved(params)[name]) for name, each in space.items()}
        for params in known["portfolio"]
    ]
    return or_portfolio(space, portfolio, first)


def _confidence(spread: float) -> str:
    """Return the confidence whose deviation is nearest to the spread of good values, in logarithms."""
    return "high" if spread < 0.09 else "medium" if spread < 0.18 else "low"


@overload
def lightgbm(
    task: Task = ...,
    *,
    rows: int | None = ...,
    features: int | None = ...,
    num_boost_round: int = ...,
    portfolio: None = ...,
) -> SpaceDict: ...


@overload
def lightgbm(
    task: Task = ...,
    *,
    rows: int | None = ...,
    features: int | None = ...,
    num_boost_round: int = ...,
    portfolio: int,
) -> list[Params]: ...


def lightgbm(
    task: Task = "classification",
    *,
    rows: int | None = None,
    features: int | None = None,
    num_boost_round: int = 200,
    portfolio: int | None = None,
) -> SpaceDict | list[Params]:
    """Return a space for ``lightgbm.train``, whose number of rounds is the resource, or configurations of it.

    What it shares with XGBoost is believed to be as good here; leaves are believed to be LightGBM's defaults.

    Args:
        task: ``"classification"`` or ``"regression"``; the beliefs are the same.
        rows: Rows that are trained on: more rows, more leaves; no leaf is larger than a tenth of them.
        features: Columns: each tree sees at least two of them.
        num_boost_round: Rounds of a full training run: the more, the smaller ``learning_rate``.
        portfolio: Return so many configurations for ``points_to_evaluate`` instead of the space: draws of the belief.

    Raises:
        InvalidArgument: The task is unknown, or a number is not a whole number of at least 1.
    """
    training, known = _Training.checked(task, rows, features, num_boost_round), learned()["xgboost"]["prior"]
    largest_leaf = 200 if rows is None else min(200, max(4, training.rows // 10))
    space: SpaceDict = {
        "learning_rate": believed(Continuous(0.01, 0.5, scale="log"), known["eta"] * training.rate, "medium"),
        "num_leaves": believed(Integer(4, 256, scale="log"), 31 * 2**training.levels, "low"),
        "min_data_in_leaf": believed(Integer(2, largest_leaf, scale="log"), 20, "low"),
        "bagging_fraction": believed(Continuous(0.4, 1.0), known["subsample"], "low"),
        "bagging_freq": Categorical([1]),
        "feature_fraction": believed(
            training.columns("feature_fraction")["feature_fraction"], known["colsample_bytree"], "low"
        ),
        "lambda_l2": believed(Continuous(1e-3, 100.0, scale="log"), known["lambda"], "low"),
        "lambda_l1": believed(Continuous(1e-3, 10.0, scale="log"), known["alpha"], "low"),
    }
    return or_portfolio(space, portfolio)


@overload
def catboost(
    task: Task = ..., *, rows: int | None = ..., iterations: int = ..., portfolio: None = ...
) -> SpaceDict: ...


@overload
def catboost(task: Task = ..., *, rows: int | None = ..., iterations: int = ..., portfolio: int) -> list[Params]: ...


def catboost(
    task: Task = "classification",
    *,
    rows: int | None = None,
    iterations: int = 200,
    portfolio: int | None = None,
) -> SpaceDict | list[Params]:
    """Return a space for CatBoost's models, whose number of iterations is the resource, or configurations of it.

    The beliefs are CatBoost's defaults; ``learning_rate`` follows the number of iterations as XGBoost's does.

    Args:
        task: ``"classification"`` or ``"regression"``; the beliefs are the same.
        rows: Rows that are trained on: more rows, deeper trees.
        iterations: Trees of a full training run: the more, the smaller ``learning_rate``.
        portfolio: Return so many configurations for ``points_to_evaluate`` instead of the space: draws of the belief.

    Raises:
        InvalidArgument: The task is unknown, or a number is not a whole number of at least 1.
    """
    whole_number("iterations", iterations, at_least=1)
    training, known = _Training.checked(task, rows, None, iterations), learned()["xgboost"]["prior"]
    space: SpaceDict = {
        "learning_rate": believed(Continuous(0.01, 0.5, scale="log"), known["eta"] * training.rate, "medium"),
        "depth": believed(Integer(2, 10), 6 + training.levels, "low"),
        "l2_leaf_reg": believed(Continuous(0.1, 100.0, scale="log"), 3.0, "low"),
        "random_strength": believed(Continuous(0.01, 10.0, scale="log"), 1.0, "low"),
        "bootstrap_type": Categorical(["MVS"]),
        "subsample": believed(Continuous(0.4, 1.0), 0.8, "low"),
    }
    return or_portfolio(space, portfolio)
