"""Train estimators of scikit-learn in steps, so that a training run can be judged before it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sklearn.base import clone, is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils.multiclass import unique_labels

from hpo_plugins.errors import InvalidArgument

_CONTINUED = {"xgboost": "xgb_model", "lightgbm": "init_model", "catboost": "init_model"}
"""The argument of ``fit`` that takes the model to continue, by the package of the estimator."""
_ROUNDS = {"catboost": "iterations"}
_GROWTH = 1.25
"""The next report comes after this many times the units so far: the reports of a training run grow with its
logarithm, since an estimator that is trained further costs a call of ``fit`` and a prediction."""


@dataclass(frozen=True)
class Growth:
    """How an estimator is trained further.

    Attributes:
        kind: ``"epochs"``: ``partial_fit`` with all rows is an epoch; ``"warm_start"``: more trees are added by ``fit``
            of the same object; ``"continued"``: by ``fit`` with the model so far.
        unit: The parameter that counts the units: trees, rounds or epochs.
        continues_by: The argument of ``fit`` that takes the model so far, for ``"continued"``.
    """

    kind: Literal["epochs", "warm_start", "continued"]
    unit: str
    continues_by: str = ""

    @property
    def prefix(self) -> str:
        """The beginning of the names of its parameters within a pipeline."""
        return self.unit[: self.unit.rfind("__") + 2] if "__" in self.unit else ""


def growth_of(estimator: Any, prefix: str = "") -> Growth | None:
    """Return how an estimator can be trained further, None if it is trained all at once.

    Args:
        estimator: The estimator; of a pipeline, the last step counts.
        prefix: The beginning of the names of its parameters.
    """
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return growth_of(last, f"{prefix}{name}__")
    if not (is_classifier(estimator) or is_regressor(estimator)):
        return None
    names, package = estimator.get_params(deep=False), type(estimator).__module__.partition(".")[0]
    if package in _CONTINUED:
        return Growth("continued", prefix + _ROUNDS.get(package, "n_estimators"), _CONTINUED[package])
    is_boosting = type(estimator).__name__.startswith("HistGradientBoosting")
    if "warm_start" in names and ("n_estimators" in names or is_boosting):
        return Growth("warm_start", prefix + ("max_iter" if is_boosting else "n_estimators"))
    if hasattr(estimator, "partial_fit") and "max_iter" in names:
        return Growth("epochs", prefix + "max_iter")
    return None


def reports_until(total: int, growth: Growth) -> list[int]:
    """Return after how many units a training run reports: after each epoch, or ever less often."""
    if growth.kind == "epochs":
        return list(range(1, total + 1))
    units = [1]
    while units[-1] < total:
        units.append(min(max(units[-1] + 1, int(units[-1] * _GROWTH)), total))
    return units


def whole(estimator: Any, x: Any, y: Any, params: Mapping[str, Any]) -> Any:
    """Train an estimator all at once, and return it."""
    return estimator.fit(x, **params) if y is None else estimator.fit(x, y, **params)


class Steps:
    """An estimator that is trained step by step.

    Args:
        estimator: The estimator, with the parameters of the trial; it is trained in place.
        growth: How it is trained further.
        x: The rows to train with.
        y: Their targets.
        params: Arguments of ``fit`` for these rows.
    """

    def __init__(self, estimator: Any, growth: Growth, x: Any, y: Any, params: Mapping[str, Any]) -> None:
        """Prepare the training run; transformers of a pipeline learn from these rows only."""
        self._growth, self._x, self._y, self._params = growth, x, y, dict(params)
        self._estimator, self._trained = estimator, 0
        if growth.kind == "warm_start":
            estimator.set_params(**{f"{growth.prefix}warm_start": True})
        if growth.kind == "epochs":
            self._prepare_epochs()

    def _prepare_epochs(self) -> None:
        """Fit the transformers of a pipeline, once, as its own ``fit`` would."""
        self._last = self._estimator
        prefix, allowed = self._growth.prefix, f"{self._growth.prefix}sample_weight"
        if others := self._params.keys() - {allowed}:
            raise InvalidArgument(
                f"fit must be given no other arguments than {allowed} if {type(self._estimator).__name__} is trained "
                f"by epochs, but got {sorted(others)}. Use a strategy without max_resource, which trains all at once."
            )
        self._params = {name.removeprefix(prefix): value for name, value in self._params.items()}
        while isinstance(self._last, Pipeline):
            before, self._last = self._last[:-1], self._last.steps[-1][1]
            if len(before.steps):
                self._x = before.fit_transform(self._x, self._y)
        if self._last.get_params().get("early_stopping"):
            raise InvalidArgument(
                f"{type(self._last).__name__} must have early_stopping=False if the strategy judges it by epochs, "
                "since scikit-learn's partial_fit has no early stopping. Or use a strategy without max_resource."
            )
        if is_classifier(self._last):
            self._params["classes"] = unique_labels(self._y)

    def to(self, units: int) -> Any:
        """Train until the estimator has this many units, and return it."""
        growth = self._growth
        if growth.kind == "epochs":
            for _ in range(units - self._trained):
                self._last.partial_fit(self._x, self._y, **self._params)
                self._params.pop("classes", None)
        elif growth.kind == "warm_start":
            whole(self._estimator.set_params(**{growth.unit: units}), self._x, self._y, self._params)
        else:
            self._continue(units)
        self._trained = units
        return self._estimator

    def _continue(self, units: int) -> None:
        """Train a new object with the model so far, since CatBoost changes no parameter of a trained one."""
        growth, more = self._growth, {}
        if self._trained:
            last = self._estimator
            while isinstance(last, Pipeline):
                last = last.steps[-1][1]
            model = last.get_booster() if growth.continues_by == "xgb_model" else last
            more = {growth.prefix + growth.continues_by: model}
        estimator = clone(self._estimator).set_params(**{growth.unit: units - self._trained})
        self._estimator = whole(estimator, self._x, self._y, self._params | more)


def train_to(estimator: Any, growth: Growth | None, total: int, x: Any, y: Any, params: Mapping[str, Any]) -> Any:
    """Train an estimator as the search has: with so many units, or all at once."""
    if growth is None:
        return whole(estimator, x, y, params)
    if growth.kind == "epochs":
        return Steps(estimator, growth, x, y, params).to(total)
    return whole(clone(estimator).set_params(**{growth.unit: total}), x, y, params)
