"""The search of a ``TunedSearchCV``: trains and scores trials fold by fold."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np
import sklearn
from hpo_plugins.integrations._sklearn_steps import Growth, Steps, reports_until, whole
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import _safe_split  # splits precomputed kernels by rows and columns
from sklearn.utils.validation import _check_method_params

from hpo_plugins.errors import HpoError, InvalidArgument, NothingReported, StudyNotFound
from hpo_plugins.objective import Maximize
from hpo_plugins.records import TrialState
from hpo_plugins.strategies import Bayesian, Grid
from hpo_plugins.trial import Fold, Trial
from hpo_plugins.tuner import Tuner

SCORE = "test_score"
_DEFAULT_TRIALS = 20
_POLL_SECONDS = 0.05


class Search:
    """One call of ``fit``: its folds, and what is trained and scored in them.

    Args:
        owner: The ``TunedSearchCV``, whose arguments it uses.
        x: All rows.
        y: Their targets.
        splits: The positions of each fold's training and test rows.
        scorers: One scorer, or several in one object.
        decides: The name of the scorer that decides, if there are several.
        routed: The arguments of ``fit`` for the estimator, the scorer and the splitter.
        growth: How the estimator is trained in steps, None if it is trained at once.

    Attributes:
        names: The names of the scorers, if there are several.
    """

    def __init__(
        self,
        owner: Any,
        x: Any,
        y: Any,
        splits: list[tuple[Any, Any]],
        scorers: Any,
        decides: str,
        routed: Any,
        growth: Growth | None,
    ) -> None:
        """Train nothing yet."""
        self.owner, self.x, self.y, self.splits, self.scorers, self.routed = owner, x, y, splits, scorers, routed
        self.decides, self.growth = decides, growth
        self.base = clone(owner.estimator)
        self.names: tuple[str, ...] = ()
        self._first_error: Exception | None = None
        self._lock = threading.Lock()

    def open(self) -> Tuner:
        """Return the study, new or stored."""
        owner = self.owner
        strategy = Bayesian() if owner.strategy is None else owner.strategy
        n = _DEFAULT_TRIALS if owner.max_trials is None and not isinstance(strategy, Grid) else owner.max_trials
        seed = owner.random_state
        if seed is not None and not isinstance(seed, int):
            seed = int(check_random_state(seed).randint(2**31 - 1))
        return Tuner(
            owner.space,
            Maximize(SCORE, at="last"),
            strategy=strategy,
            max_trials=n,
            max_runtime=owner.max_runtime,
            early_stopping=owner.early_stopping,
            seed=seed,
            storage=owner.storage,
            name=owner.name,
            notes=None if owner.storage is None else self._notes(),
            points_to_evaluate=owner.points_to_evaluate,
            progress="auto" if owner.verbose else "off",
        )

    def _notes(self) -> dict[str, Any]:
        """Return what a stored study must have been made with.

        Raises:
            InvalidArgument: The stored study was made with something else.
        """
        owner = self.owner
        notes = {
            "data": joblib.hash((self.x, self.y)),
            "folds": joblib.hash(self.splits),
            "estimator": repr(owner.estimator),
            "scoring": repr(owner.scoring) if not callable(owner.scoring) else "a function",
        }
        try:
            known = (Tuner.load(owner.storage, owner.name).study.notes or {}).get("TunedSearchCV")
        except StudyNotFound:
            known = None
        if known is not None and known != notes:
            parts = [part for part in notes if notes[part] != known.get(part)]
            raise InvalidArgument(
                f"name must be that of a new study, since study {owner.name!r} in {os.fspath(owner.storage)!r} was "
                f"made with other {' and '.join(parts)}: its scores cannot be compared with those of this fit."
            )
        return {"TunedSearchCV": notes}

    # The search.

    def run(self, n_workers: int) -> None:
        """Train all trials, this many at the same time.

        Raises:
            ValueError: All of them failed.
        """
        tuner = self.owner.tuner_
        try:
            if n_workers == 1:
                for trial in tuner:
                    self._train(trial)
            else:
                self._run_threads(tuner, n_workers)
        except NothingReported:
            if self._first_error is None:
                raise
        if not any(trial.value is not None for trial in tuner.trials) and self._first_error is not None:
            raise ValueError(
                f"All the {len(tuner.trials)} trials failed. It is very likely that the estimator or the data are "
                f"misconfigured. The first error was {type(self._first_error).__name__}: {self._first_error}"
            ) from self._first_error

    def _run_threads(self, tuner: Tuner, n_workers: int) -> None:
        settings = sklearn.get_config()

        def work() -> None:
            with sklearn.config_context(**settings):
                try:
                    while not (tuner.done or tuner.stopped):
                        if (trial := tuner.ask()) is None:
                            time.sleep(_POLL_SECONDS)  # the results of other threads may bring more work
                            continue
                        try:
                            self._train(trial)
                        except BaseException as error:
                            trial.fail(error)
                            raise
                        trial.end()
                except BaseException:
                    tuner.stop()
                    raise

        with ThreadPoolExecutor(n_workers) as pool:
            futures = [pool.submit(work) for _ in range(n_workers)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                tuner.stop()
                raise

    def _train(self, trial: Trial) -> None:
        """Train and score a trial, fold by fold."""
        error_score = self.owner.error_score
        for fold in trial.folds(self.owner.n_splits_):
            if fold.is_done:
                continue
            train, test = self.splits[fold.number]
            try:
                self._train_fold(fold, train, test)
            except (HpoError, KeyboardInterrupt, SystemExit):
                raise
            except Exception as error:
                if error_score == "raise":
                    raise
                with self._lock:
                    self._first_error = self._first_error or error
                warnings.warn(
                    f"Trial {trial.number} failed in fold {fold.number}: {type(error).__name__}: {error}. Its score is "
                    f"error_score={error_score}.",
                    FitFailedWarning,
                    stacklevel=2,
                )
                if not np.isfinite(error_score):
                    trial.fail(error)
                    return
                fold.report(self.owner.resource_ or 1, {SCORE: error_score, "fit_time": 0.0, "score_time": 0.0})

    def _train_fold(self, fold: Fold, train: Any, test: Any) -> None:
        estimator = clone(self.base).set_params(**clone(dict(fold.params), safe=False))
        x, y = _safe_split(estimator, self.x, self.y, train)
        params = _check_method_params(self.x, params=self.routed.estimator.fit, indices=train)
        started = time.perf_counter()
        for units, trained in self._trainings(estimator, x, y, params):
            seconds = time.perf_counter() - started
            metrics = self._score(trained, train, test, is_last=units == (self.owner.resource_ or 1))
            if fold.report(units, metrics | {"fit_time": seconds}):
                return
            started = time.perf_counter() - seconds  # scoring is not training

    def _trainings(self, estimator: Any, x: Any, y: Any, params: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
        """Yield the estimator after each step of its training run, with its units."""
        if self.growth is None or self.owner.resource_ is None:
            yield 1, whole(estimator, x, y, params)
            return
        steps = Steps(estimator, self.growth, x, y, params)
        for units in reports_until(self.owner.resource_, self.growth):
            yield units, steps.to(units)

    def _score(self, estimator: Any, train: Any, test: Any, *, is_last: bool) -> dict[str, float]:
        started = time.perf_counter()
        scores = self._ask_scorers(estimator, train, test, "test")
        metrics = scores | {"score_time": time.perf_counter() - started}
        if self.owner.return_train_score and is_last:
            metrics |= self._ask_scorers(estimator, train, train, "train")
        return metrics

    def _ask_scorers(self, estimator: Any, train: Any, rows: Any, kind: str) -> dict[str, float]:
        x, y = _safe_split(estimator, self.x, self.y, rows, train)
        params = _check_method_params(self.x, params=self.routed.scorer.score, indices=rows)
        found = self.scorers(estimator, x, **params) if y is None else self.scorers(estimator, x, y, **params)
        if not isinstance(found, Mapping):
            return {f"{kind}_score": float(found)}
        for name, score in found.items():
            if isinstance(score, str):  # the traceback of one of several scorers
                raise ValueError(f"the scorer {name} failed: {score}")  # noqa: TRY004 - any error of a scorer
        self.names = tuple(found)
        decides = self.decides if self.decides in found else self.owner.refit
        value = found[decides if decides in found else self.names[0]]
        return {f"{kind}_score": float(value)} | {f"{kind}_{name}": float(score) for name, score in found.items()}

    # The results.

    def outcomes(self) -> list[dict[str, Any]]:
        """Return what scikit-learn's own search has of each fold of each trial; NaN where it was not trained whole."""
        history, out = self.owner.tuner_.history, []
        if not self.names:  # all trials come from an earlier run
            found = {name for trial in history for fold in trial.folds for row in fold.metrics.values() for name in row}
            names = sorted(name.removeprefix("test_") for name in found if name.startswith("test_"))
            self.names = tuple(name for name in names if name != "score")
        for trial in history:
            for number, (_, test) in enumerate(self.splits):
                fold = trial.folds[number] if number < len(trial.folds) else None
                metrics = {} if fold is None or not len(fold.epochs) else fold.metrics[fold.epochs[-1]]
                is_whole = bool(metrics) and fold is not None and fold.epochs[-1] == (self.owner.resource_ or 1)
                is_whole = is_whole and trial.state is not TrialState.FAILED
                out.append(self._outcome(metrics, _n_rows(test), is_whole=is_whole))
        return out

    def _outcome(self, metrics: Mapping[str, float], n_test: int, *, is_whole: bool) -> dict[str, Any]:
        def scores(kind: str) -> Any:
            found = metrics if is_whole else {}
            if self.names:
                return {name: found.get(f"{kind}_{name}", np.nan) for name in self.names}
            return found.get(f"{kind}_score", np.nan)

        outcome = {
            "test_scores": scores("test"),
            "fit_time": metrics.get("fit_time", 0.0),
            "score_time": metrics.get("score_time", 0.0),
            "n_test_samples": n_test,
            "fit_error": None,
        }
        return outcome | ({"train_scores": scores("train")} if self.owner.return_train_score else {})


def _n_rows(test: Any) -> int:
    """Return the number of rows of a fold, given by positions or as a mask."""
    rows = np.asarray(test)
    return int(rows.sum()) if rows.dtype == bool else len(rows)
