"""Tune an estimator of scikit-learn by cross-validation, as ``GridSearchCV`` and ``RandomizedSearchCV`` do.

    search = TunedSearchCV(make_pipeline(StandardScaler(), SVC()), {"svc__C": hpo.Continuous(1e-2, 1e3, scale="log")})
    search.fit(x, y).predict(x_new)

The data are split once for each ``fit``, so all trials have the same folds, and no fold's estimator ever sees its test
rows. With a strategy that has ``max_resource``, or with ``early_stopping``, bad configurations are also stopped within
a fold. A score in ``cv_results_`` is always that of an estimator after its whole training run, never that of its best
epoch on the test rows.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpo_plugins.errors import (
    InvalidArgument,
    MissingDependency,
    nearest_name,
)
from hpo_plugins.space import Parameter
from hpo_plugins.strategies import StoppingRule, Strategy

try:
    from sklearn.base import clone, is_classifier
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "sklearn", "sklearn") from error

import joblib
from hpo_plugins.integrations._sklearn_search import Search
from hpo_plugins.integrations._sklearn_steps import Growth, growth_of, train_to
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import (
    BaseSearchCV,
)  # GridSearchCV's base class; scikit-learn exports no name of it
from sklearn.utils.validation import _check_method_params, indexable

__all__ = ["TunedSearchCV"]


class TunedSearchCV(BaseSearchCV):  # type: ignore[misc]  # scikit-learn has no types
    """Search over the parameters of an estimator by cross-validation, with any strategy.

    It has the attributes and methods of ``GridSearchCV``: ``cv_results_``, ``best_estimator_``, ``best_params_``,
    ``best_score_``, ``best_index_``, ``refit_time_``, ``n_splits_``, ``scorer_``, ``predict`` and so on. Arguments are
    checked by ``fit``, as scikit-learn does.

    Args:
        estimator: The estimator or pipeline.
        space: Names of its parameters to parameters of a search space, such as ``{"clf__C": hpo.Continuous(0.1, 10)}``.
        strategy: The strategy; ``Bayesian()`` by default. A strategy with ``max_resource``, such as
            ``Hyperband(max_resource=81)``, stops bad configurations within a fold; ``max_resource`` is then the number
            of trees, rounds or epochs (``n_estimators``, ``max_iter``), also of ``best_estimator_``.
        max_trials: Number of configurations; 20 by default, and with ``Grid()`` all of them.
        early_stopping: A rule such as ``MedianRule()``, for a strategy that stops nothing itself.
        cv: Folds, as in ``GridSearchCV``.
        scoring: Scorer or several, as in ``GridSearchCV``. The search maximizes the one that ``refit`` names, or the
            first one.
        refit: Whether to train ``best_estimator_`` with all rows; with several scorers, the name of the one that
            decides. A function of ``cv_results_`` may return the best index.
        n_jobs: Number of trials to train at the same time, in threads of this process; -1 for all cores.
        error_score: The score of a fold whose ``fit`` or scorer raises an exception: NaN fails the trial, a number is
            its score, ``"raise"`` raises the exception.
        return_train_score: Whether ``cv_results_`` has scores of the training rows, too.
        storage: Path of a SQLite file or a URL: then a search that was killed continues, and several processes share
            it. None: each ``fit`` is a new search.
        name: The study's name in the storage. A study belongs to one data set, estimator and ``cv``.
        max_runtime: Maximum seconds of the search.
        points_to_evaluate: Configurations to try first.
        random_state: Seed of the strategy. Give the estimator and ``cv`` their own.
        verbose: 0 shows nothing; from 1 on, the progress of the search.

    Attributes:
        tuner_: The study: ``search.tuner_.plot.history()``, ``.summary()`` and others. A pickle does not contain it.
        resource_: Units of a whole training run if the strategy judges within folds, otherwise None.
    """

    def __init__(
        self,
        estimator: Any,
        space: Mapping[str, Parameter],
        *,
        strategy: Strategy | None = None,
        max_trials: int | None = None,
        early_stopping: StoppingRule | None = None,
        cv: Any = None,
        scoring: Any = None,
        refit: Any = True,
        n_jobs: int | None = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        storage: Any = None,
        name: str = "default",
        max_runtime: float | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] = (),
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        """Store the arguments unchanged; ``fit`` checks them."""
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.space = space
        self.strategy = strategy
        self.max_trials = max_trials
        self.early_stopping = early_stopping
        self.storage = storage
        self.name = name
        self.max_runtime = max_runtime
        self.points_to_evaluate = points_to_evaluate
        self.random_state = random_state

    def _run_search(self, evaluate_candidates: Any) -> None:
        """Unused: ``fit`` runs the search, since candidates are judged fold by fold."""
        raise NotImplementedError("TunedSearchCV.fit runs the search.")

    def fit(self, X: Any, y: Any = None, **params: Any) -> TunedSearchCV:  # noqa: N803 - scikit-learn's name
        """Search, and train the best configuration with all rows.

        Args:
            X: The rows.
            y: Their targets.
            params: Arguments of the estimator's ``fit``, the scorer and the splitter, as in ``GridSearchCV``.

        Raises:
            InvalidArgument: An argument is wrong, the estimator lacks a parameter of the space, or the strategy judges
                training runs and the estimator cannot be trained in steps.
            ValueError: All trials failed; the first error is its cause.
        """
        self._validate_params()
        self._check_space()
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(X, y)  # noqa: N806
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self.n_splits_ = cv.get_n_splits(X, y, **routed.splitter.split)
        splits = list(cv.split(X, y, **routed.splitter.split))  # once: a shuffled cv would split otherwise each time
        if len(splits) != self.n_splits_:
            raise ValueError(
                f"cv.split and cv.get_n_splits return inconsistent results. Expected {self.n_splits_} splits, got "
                f"{len(splits)}"
            )
        growth, self.resource_ = self._growth()
        search = Search(self, X, y, splits, scorers, refit_metric, routed, growth)
        self.tuner_ = search.open()
        search.run(int(joblib.effective_n_jobs(self.n_jobs)))
        self._collect(search, refit_metric)
        if self.refit:
            self._refit(X, y, routed.estimator.fit, growth)
        self.scorer_ = getattr(scorers, "_scorers", scorers)
        return self

    def _check_space(self) -> None:
        if not isinstance(self.space, Mapping) or not self.space:
            raise InvalidArgument(
                f"space must map names of the estimator's parameters to parameters, but got space={self.space!r}."
            )
        known = self.estimator.get_params()
        for name in self.space:
            if name not in known and not self._takes(name):
                nearest = nearest_name(name, known)
                hint = f" Did you mean {nearest!r}?" if nearest else ""
                raise InvalidArgument(f"space has {name!r}, which {type(self.estimator).__name__} lacks.{hint}")

    def _takes(self, name: str) -> bool:
        """Return whether the estimator takes a parameter that it does not list, as CatBoost's classes do."""
        try:
            clone(self.estimator).set_params(**{name: None})
        except ValueError:
            return False
        return True

    def _growth(self) -> tuple[Growth | None, int | None]:
        """Return how the estimator is trained in steps, and to how many units; None if it is trained at once."""
        strategy = self.strategy
        if strategy is not None and getattr(strategy, "pauses", False):
            raise InvalidArgument(
                "strategy must not pause trials here, since estimators have no checkpoints. Use pause=False."
            )
        total = getattr(strategy, "max_resource", None)
        if total is None and self.early_stopping is None and not getattr(strategy, "stops_trainings", False):
            return None, None
        growth, kind = growth_of(self.estimator), type(self.estimator).__name__
        if total is None and growth is not None and growth.kind != "epochs":
            total = self.estimator.get_params().get(growth.unit)
        if growth is None or total is None:
            if total is None and self.early_stopping is not None:
                return None, None  # it judges between folds
            raise InvalidArgument(
                f"strategy must not judge training runs within a fold, since {kind} is trained at once: it has neither "
                "warm_start with n_estimators nor partial_fit with max_iter. Use Random(), Bayesian() without "
                "max_resource, or Grid()."
            )
        if growth.unit in self.space:
            raise InvalidArgument(
                f"space must not have {growth.unit!r}, which the strategy judges: max_resource is its value."
            )
        return growth, int(total)

    def _collect(self, search: Search, refit_metric: str) -> None:
        """Set ``cv_results_`` and the best trial from the study."""
        trials = self.tuner_.trials
        out = search.outcomes()
        self.multimetric_ = bool(search.names)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="One or more of the (test|train) scores", category=UserWarning)
            results = self._format_results([dict(trial.params) for trial in trials], self.n_splits_, out)
        results["trial"] = np.array([trial.number for trial in trials])
        results["state"] = np.array([trial.state.value for trial in trials], dtype=object)
        results["epochs"] = np.array([trial.epochs for trial in trials])
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(dict.fromkeys(search.names))
            refit_metric = self.refit
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, refit_metric, results)
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{refit_metric}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]
        self.cv_results_ = results

    def _refit(self, x: Any, y: Any, params: Mapping[str, Any], growth: Growth | None) -> None:
        started = time.perf_counter()
        estimator = clone(self.estimator).set_params(**clone(self.best_params_, safe=False))
        self.best_estimator_ = train_to(estimator, growth, self.resource_ or 0, x, y, params)
        self.refit_time_ = time.perf_counter() - started
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    def __getstate__(self) -> dict[str, Any]:
        """Leave the study out: it may be a file, or in the memory of this process."""
        return {name: value for name, value in super().__getstate__().items() if name != "tuner_"}
