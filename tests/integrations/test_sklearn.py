import pickle
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import hpo_plugins as hpo

sklearn = pytest.importorskip("sklearn")
from hpo_plugins.integrations.sklearn import TunedSearchCV  # noqa: E402
from sklearn.base import BaseEstimator, TransformerMixin, clone  # noqa: E402
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import FitFailedWarning  # noqa: E402
from sklearn.linear_model import LogisticRegression, SGDClassifier, SGDRegressor  # noqa: E402
from sklearn.metrics import accuracy_score, make_scorer  # noqa: E402
from sklearn.model_selection import (  # noqa: E402
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer, StandardScaler  # noqa: E402
from sklearn.svm import SVC, SVR  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

C = {"C": hpo.Continuous(1e-2, 1e2, scale="log")}
HYPERBAND = hpo.Hyperband(max_resource=9, search="random")


@pytest.fixture(scope="module")
def data():
    return load_iris(return_X_y=True)


def search_for(estimator=None, space=C, **arguments):
    given = {"strategy": hpo.Random(), "max_trials": 4, "cv": 3, "random_state": 0} | arguments
    return TunedSearchCV(LogisticRegression(max_iter=500) if estimator is None else estimator, space, **given)


@parametrize_with_checks(
    [
        TunedSearchCV(
            estimator, {name: hpo.Categorical([0.1, 1.0])}, strategy=hpo.Random(), max_trials=2, cv=2, random_state=0,
            error_score="raise",
        )
        for estimator, name in ((LogisticRegression(), "C"), (SVR(), "C"))
    ]
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_it_is_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


# The results are GridSearchCV's.


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"return_train_score": True},
        {"scoring": ["accuracy", "f1_macro"], "refit": "f1_macro"},
        {"scoring": ["accuracy", "f1_macro"], "refit": False},
        {
            "scoring": {"a": "accuracy", "b": "f1_macro"},
            "refit": lambda results: int(np.argmax(results["mean_test_b"])),
        },
        {"cv": KFold(4, shuffle=True, random_state=3)},
        {"scoring": lambda estimator, x, y: estimator.score(x, y)},
    ],
    ids=["defaults", "train scores", "two metrics", "no refit", "refit by a function", "own splits", "own score"],
)
def test_grid_search_has_the_same_results(arguments, data):
    values = [0.01, 1.0, 100.0]
    ours = search_for(space={"C": hpo.Categorical(values)}, **{"strategy": hpo.Grid(), "max_trials": None} | arguments)
    theirs = GridSearchCV(LogisticRegression(max_iter=500), {"C": values}, **{"cv": 3} | arguments)
    found, expected = ours.fit(*data).cv_results_, theirs.fit(*data).cv_results_
    assert expected.keys() <= found.keys()
    for name, column in expected.items():
        if not name.endswith("_time"):
            assert list(found[name]) == list(column), name
    for name in ("best_index_", "best_params_", "best_score_", "n_splits_", "multimetric_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None), name
    if arguments.get("refit", True) is not False:
        assert np.array_equal(ours.predict(data[0]), theirs.predict(data[0]))


def test_score_of_a_precomputed_kernel_is_that_of_cross_val_score(data):
    x, y = data
    kernel = x @ x.T
    search = search_for(SVC(kernel="precomputed"), max_trials=2).fit(kernel, y)
    assert search.best_score_ == cross_val_score(search.best_estimator_, kernel, y, cv=3).mean()


def test_groups_and_weights_reach_the_splitter_and_the_estimator(data):
    x, y = data
    groups, weights = np.arange(len(x)) % 5, np.linspace(0.1, 2, len(x))
    search = search_for(cv=GroupKFold(5)).fit(x, y, groups=groups, sample_weight=weights)
    theirs = GridSearchCV(LogisticRegression(max_iter=500), {"C": [search.best_params_["C"]]}, cv=GroupKFold(5))
    assert search.best_score_ == theirs.fit(x, y, groups=groups, sample_weight=weights).best_score_


def test_metadata_are_routed(data):
    x, y = data
    weights = np.linspace(0.1, 2, len(x))
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = LogisticRegression(max_iter=500).set_fit_request(sample_weight=True)
        scoring = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        search = search_for(estimator, n_jobs=2, scoring=scoring).fit(x, y, sample_weight=weights)
        theirs = GridSearchCV(estimator, {"C": [search.best_params_["C"]]}, cv=3, scoring=scoring)
        assert search.best_score_ == theirs.fit(x, y, sample_weight=weights).best_score_


def test_conditional_parameters_are_masked(data):
    kernel = {"kernel": hpo.Categorical(["linear", "rbf"])}
    search = search_for(SVC(), kernel | {"gamma": hpo.Continuous(0.1, 1, when={"kernel": "rbf"})}, max_trials=6)
    results = search.fit(*data).cv_results_
    assert list(results["param_gamma"].mask) == [params["kernel"] == "linear" for params in results["params"]]


def test_a_search_is_nested_in_a_cross_validation_and_cloned(data):
    search = search_for(make_pipeline(StandardScaler(), SVC()), {"svc__C": C["C"]}, max_trials=3)
    scores = cross_validate(search, *data, cv=3, return_estimator=True)
    assert len({id(each.tuner_) for each in scores["estimator"]}) == 3
    assert all(len(each.tuner_.trials) == 3 for each in scores["estimator"])  # each fit is a search of its own
    assert clone(search).get_params().keys() == search.get_params().keys()
    assert cross_val_predict(search, *data, cv=3).shape == data[1].shape


def test_pickled_search_predicts(data):
    search = search_for().fit(*data)
    loaded = pickle.loads(pickle.dumps(search))
    assert np.array_equal(loaded.predict(data[0]), search.predict(data[0]))
    assert loaded.best_params_ == search.best_params_
    assert not hasattr(loaded, "tuner_")


def test_seed_fixes_the_search(data):
    first, second = (search_for(strategy=None).fit(*data).cv_results_["params"] for _ in range(2))
    assert first == second


# Within a fold.

GROWN = [
    (HistGradientBoostingClassifier(random_state=0, max_leaf_nodes=4), {"learning_rate": hpo.Continuous(0.01, 1)}),
    (RandomForestClassifier(random_state=0), {"max_depth": hpo.Integer(1, 6)}),
    (GradientBoostingClassifier(random_state=0, max_depth=2), {"learning_rate": hpo.Continuous(0.01, 1)}),
    (BaggingClassifier(random_state=0), {"max_features": hpo.Continuous(0.3, 1.0)}),
    (make_pipeline(StandardScaler(), RandomForestClassifier(random_state=0)),
     {"randomforestclassifier__max_depth": hpo.Integer(1, 6)}),
]  # fmt: skip


@pytest.mark.parametrize(("estimator", "space"), GROWN, ids=lambda each: type(each).__name__)
def test_grown_estimators_have_the_score_of_cross_val_score(estimator, space, data):
    search = search_for(estimator, space, strategy=HYPERBAND, max_trials=5).fit(*data)
    assert search.resource_ == 9
    assert search.best_score_ == cross_val_score(search.best_estimator_, *data, cv=3).mean()
    name = next(name for name in search.best_estimator_.get_params() if name.endswith(("n_estimators", "max_iter")))
    assert search.best_estimator_.get_params()[name] == 9


@pytest.mark.parametrize(
    ("estimator", "space"),
    [
        (SGDClassifier(random_state=0), {"alpha": hpo.Continuous(1e-6, 1e-1, scale="log")}),
        (make_pipeline(StandardScaler(), MLPClassifier((8,), random_state=0)),
         {"mlpclassifier__learning_rate_init": hpo.Continuous(1e-5, 1e-1, scale="log")}),
        (SGDRegressor(random_state=0), {"alpha": hpo.Continuous(1e-6, 1e-1, scale="log")}),
    ],
    ids=["SGDClassifier", "pipeline", "SGDRegressor"],
)  # fmt: skip
def test_epochs_are_reported_one_by_one(estimator, space, data):
    search = search_for(estimator, space, strategy=HYPERBAND, max_trials=5).fit(*data)
    best = search.tuner_.trials[search.best_index_]
    assert [list(curve) for curve in best.folds] == [list(range(1, 10))] * 3
    assert best.value == search.best_score_


def test_stopped_trials_have_no_score_and_are_ranked_last(data):
    search = search_for(*GROWN[0], strategy=HYPERBAND, max_trials=9).fit(*data)
    results = search.cv_results_
    stopped = results["state"] == "stopped"
    assert stopped.any()
    assert np.isnan(results["mean_test_score"][stopped]).all()
    assert results["rank_test_score"][stopped].min() > results["rank_test_score"][~stopped].max()
    assert results["epochs"][stopped].min() < 9


class Watching(SGDClassifier):
    """Remembers the rows that it was trained with."""

    def partial_fit(self, x, y, classes=None, sample_weight=None):
        self.seen_ = getattr(self, "seen_", set()) | set(x[:, 0])
        return super().partial_fit(x, y, classes, sample_weight)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_no_test_row_is_ever_trained_with(n_jobs):
    x, y = np.arange(60.0).reshape(-1, 1), np.arange(60) % 2
    seen = []

    def score(estimator, x, y):
        assert estimator.seen_.isdisjoint(x[:, 0])
        seen.append(tuple(sorted(x[:, 0])))
        return estimator.score(x, y)

    shuffled = KFold(3, shuffle=True, random_state=np.random.RandomState(0))
    search = search_for(Watching(), {"alpha": hpo.Continuous(1e-5, 1)}, strategy=HYPERBAND, max_trials=4, scoring=score,
                        cv=shuffled, error_score="raise", refit=False, n_jobs=n_jobs)  # fmt: skip
    search.fit(x, y)
    assert len(set(seen)) == 3  # the same folds in all trials


class Leaky(TransformerMixin, BaseEstimator):
    """Gives the rows that it learns from other values than later ones, as TargetEncoder does."""

    def fit(self, x, y=None):
        self.rows_ = set(x[:, 0])
        return self

    def transform(self, x):
        assert self.rows_.isdisjoint(x[:, 0])
        return np.ones((len(x), 1))

    def fit_transform(self, x, y=None):
        self.fit(x)
        return np.asarray(y, float).reshape(-1, 1)


def test_transformers_learn_from_the_training_rows_only():
    x, y = np.arange(60.0).reshape(-1, 1), np.arange(60) % 3
    pipeline = Pipeline([("leaky", Leaky()), ("network", MLPClassifier((4,), random_state=0))])
    space = {"network__alpha": hpo.Categorical([0.1])}
    strategy = hpo.Hyperband(max_resource=3, search="random")
    search = search_for(pipeline, space, strategy=strategy, max_trials=1, refit=False, error_score="raise").fit(x, y)
    assert search.best_score_ == pytest.approx(1 / 3)


def test_score_is_that_of_the_last_epoch_not_of_the_best(data):
    search = search_for(SGDClassifier(random_state=0), {"alpha": hpo.Continuous(1e-6, 1e-1)}, strategy=HYPERBAND)
    search.fit(*data)
    best = search.tuner_.trials[search.best_index_]
    assert search.best_score_ == pytest.approx(np.mean([curve[9] for curve in best.folds]))
    assert any(max(curve.values()) > curve[9] for trial in search.tuner_.trials for curve in trial.folds if 9 in curve)


def test_median_rule_stops_within_and_between_folds(data):
    rule = hpo.MedianRule()
    for estimator, space in (GROWN[1], (LogisticRegression(max_iter=500), C)):
        search = search_for(estimator, space, early_stopping=rule, max_trials=8).fit(*data)
        assert search.best_score_ > 0.8
    assert search.resource_ is None


@pytest.mark.parametrize(
    ("package", "name", "fixed"),
    [
        ("xgboost", "XGBClassifier", {"n_jobs": 1}),
        ("lightgbm", "LGBMClassifier", {"n_jobs": 1, "verbosity": -1}),
        ("catboost", "CatBoostClassifier", {"thread_count": 1, "verbose": False, "allow_writing_files": False}),
    ],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_boosting_of_other_libraries_is_continued(package, name, fixed, data):
    estimator = getattr(pytest.importorskip(package), name)(max_depth=3, **fixed)
    space = {"learning_rate": hpo.Continuous(0.05, 1.0, scale="log")}
    search = search_for(estimator, space, strategy=HYPERBAND, max_trials=4).fit(*data)
    whole = cross_val_score(search.best_estimator_, *data, cv=3).mean()
    assert search.best_score_ == pytest.approx(whole, abs=0.02)
    assert {trial.epochs for trial in search.tuner_.trials} <= {1, 2, 3, 4, 5, 6, 7, 8, 9}


# Several at a time, storage, failures.


def test_threads_train_every_trial_once(data):
    search = search_for(n_jobs=3, max_trials=7).fit(*data)
    assert [trial.number for trial in search.tuner_.trials] == list(range(7))
    alone = search_for(max_trials=7).fit(*data)
    assert search.cv_results_["params"] == alone.cv_results_["params"]
    assert list(search.cv_results_["mean_test_score"]) == list(alone.cv_results_["mean_test_score"])


def test_exception_in_a_thread_is_raised(data):
    def score(estimator, x, y):
        raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        search_for(n_jobs=2, scoring=score, error_score="raise").fit(*data)


def test_stored_search_is_continued_and_complete_results_are_read_back(data, tmp_path):
    arguments = {
        "storage": tmp_path / "tuning.db",
        "name": "iris",
        "scoring": ["accuracy", "f1_macro"],
        "refit": "accuracy",
    }
    first = search_for(max_trials=2, **arguments).fit(*data)
    second = search_for(max_trials=4, **arguments).fit(*data)
    assert second.cv_results_["params"][:2] == first.cv_results_["params"]
    again = search_for(max_trials=4, **arguments).fit(*data)
    for name, column in second.cv_results_.items():
        assert list(again.cv_results_[name]) == list(column), name


@pytest.mark.parametrize(
    ("change", "named"),
    [({"cv": 4}, "folds"), ({"scoring": "f1_macro"}, "scoring"), ({"estimator": LogisticRegression()}, "estimator"),
     ({}, "data")],
)  # fmt: skip
def test_stored_search_of_something_else_is_refused(change, named, data, tmp_path):
    search_for(storage=tmp_path / "tuning.db").fit(*data)
    x = data[0] if change else data[0] + 1
    with pytest.raises(hpo.InvalidArgument, match=f"was made with other .*{named}"):
        search_for(**{"storage": tmp_path / "tuning.db"} | change).fit(x, data[1])


def fails_often(x):
    raise ValueError("on purpose")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_failed_fits_are_nan_and_told(data):
    space = {"solver": hpo.Categorical(["lbfgs", "nonsense"])}
    with pytest.warns(FitFailedWarning, match="failed in fold 0"):
        search = search_for(space=space, strategy=hpo.Grid(), max_trials=None).fit(*data)
    assert sorted(search.cv_results_["state"]) == ["completed", "failed"]
    assert search.best_params_ == {"solver": "lbfgs"}
    assert np.isnan(search.cv_results_["mean_test_score"]).sum() == 1
    with pytest.warns(FitFailedWarning, match="failed in fold 0"):
        search = search_for(space=space, strategy=hpo.Grid(), max_trials=None, error_score=-1).fit(*data)
    assert min(search.cv_results_["mean_test_score"]) == -1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_search_whose_fits_all_fail_is_an_error_with_the_first_as_its_cause(data):
    failing = make_pipeline(FunctionTransformer(fails_often), LogisticRegression())
    with pytest.raises(ValueError, match="All the .* trials failed.*on purpose"):
        search_for(failing, {"logisticregression__C": C["C"]}, max_trials=9).fit(*data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"c": C["C"]}}, "LogisticRegression lacks.*Did you mean 'C'"),
        ({"space": {}}, "space must map names"),
        ({"space": [1]}, "space must map names"),
        ({"space": {"C": [1, 2]}}, "C"),
        ({"strategy": hpo.Hyperband(max_resource=9, pause=True)}, "must not pause"),
        ({"strategy": HYPERBAND}, "LogisticRegression is trained at once"),
        ({"strategy": "random"}, "strategy must be"),
        ({"strategy": HYPERBAND, "estimator": GaussianNB(), "space": {"var_smoothing": C["C"]}}, "trained at once"),
        ({"strategy": HYPERBAND, "estimator": RandomForestClassifier(), "space": {"n_estimators": hpo.Integer(1, 9)}},
         "max_resource is its value"),
        ({"strategy": HYPERBAND, "estimator": SGDClassifier(early_stopping=True), "space": {"alpha": C["C"]}},
         "early_stopping=False"),
        ({"max_trials": 0}, "max_trials must be"),
        ({"name": ""}, "name must be"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named_by_fit(change, message, data):
    with pytest.raises(hpo.InvalidArgument, match=message):
        search_for(**change).fit(*data)


@pytest.mark.parametrize("change", [{"cv": -1}, {"scoring": "nonsense"}, {"refit": "f1", "scoring": ["accuracy"]}])
def test_arguments_of_scikit_learn_have_its_errors(change, data):
    with pytest.raises(ValueError, match=r"cv|scoring|refit|k-fold"):
        search_for(**change).fit(*data)


def test_shuffle_split_and_regression():
    x, y = load_diabetes(return_X_y=True)
    search = search_for(ExtraTreesRegressor(random_state=0), {"min_samples_leaf": hpo.Integer(1, 20)},
                        strategy=HYPERBAND, cv=ShuffleSplit(3, random_state=0), max_trials=4).fit(x, y)  # fmt: skip
    assert search.score(x, y) > 0


SCRIPT = """
    import os, signal, sys
    import hpo_plugins as hpo
    from hpo_plugins.integrations.sklearn import TunedSearchCV
    from sklearn.datasets import load_iris
    from sklearn.svm import SVC

    fits = 0

    class Dying(SVC):
        def fit(self, x, y):
            global fits
            fits += 1
            if len(sys.argv) > 1 and fits == 8:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().fit(x, y)

    x, y = load_iris(return_X_y=True)
    search = TunedSearchCV(Dying(), {"C": hpo.Continuous(0.01, 10)}, strategy=hpo.Random(), max_trials=4, cv=3,
                           storage="tuning.db", random_state=0, refit=False).fit(x, y)
    print(fits, search.cv_results_["mean_test_score"].tolist())
"""


@pytest.mark.process
def test_killed_search_continues_in_its_fold(tmp_path, data):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")

    def run(*arguments):
        command = [sys.executable, str(script), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("die").returncode == -signal.SIGKILL
    ended = run()
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("5 ")  # the seven fits of before are not repeated
    whole = search_for(SVC(), {"C": hpo.Continuous(0.01, 10)}, refit=False).fit(*data)
    assert ended.stdout.strip().endswith(str(whole.cv_results_["mean_test_score"].tolist()))


def test_breast_cancer_needs_few_epochs():
    x, y = load_breast_cancer(return_X_y=True)
    search = search_for(make_pipeline(StandardScaler(), SGDClassifier(random_state=0)),
                        {"sgdclassifier__alpha": hpo.Continuous(1e-6, 1, scale="log")},
                        strategy=hpo.Hyperband(max_resource=27), max_trials=8).fit(x, y)  # fmt: skip
    assert sum(len(fold) for trial in search.tuner_.trials for fold in trial.folds) < 8 * 3 * 27 / 2
