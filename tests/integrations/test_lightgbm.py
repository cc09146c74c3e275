import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from support import expire_lease, save_always

import hpo_plugins as hpo

lightgbm = pytest.importorskip("lightgbm")
from hpo_plugins.integrations.lightgbm import TrialCallback  # noqa: E402

FIXED = {"objective": "binary", "num_threads": 1, "num_leaves": 7, "verbosity": -1, "deterministic": True}
SPACE = {"learning_rate": hpo.Categorical([0.3, 1e-6])}
METRIC = "validation-binary_logloss"


@pytest.fixture(scope="module")
def data():
    x, y = load_breast_cancer(return_X_y=True)
    return (x[:400], y[:400]), (x[400:], y[400:])


def tuner_for(metric=METRIC, strategy=None, objective=hpo.Minimize, **arguments):
    return hpo.Tuner(SPACE, objective(metric), **{"strategy": strategy or hpo.Grid(), "seed": 0} | arguments)


def train(trial, data, rounds=12, *, resumes=True, params=None, others=(), **arguments):
    (x, y), valid = data
    dtrain = lightgbm.Dataset(x, y)
    arguments = {"init_model": trial.resume_from} | arguments if resumes else arguments
    return lightgbm.train(
        FIXED | trial.params | (params or {}),
        dtrain,
        rounds,
        valid_sets=[dtrain, lightgbm.Dataset(*valid, reference=dtrain)],
        valid_names=["train", "validation"],
        callbacks=[TrialCallback(trial), *others],
        **arguments,
    )


class Pausing(hpo.Random):
    """Pauses every trial after epoch 5, once."""

    pause = True

    @property
    def pauses(self):
        return True

    @property
    def max_resource(self):
        return 12


def interrupted(tmp_path, monkeypatch, data, after=5, **arguments):
    """Train one trial with a crash after some rounds, and return its first and its second model, and the record."""
    save_always(monkeypatch)
    path = tmp_path / "study.db"
    first = tuner_for(storage=path)

    class Crash(Exception):
        pass

    def crash(env):
        if env.iteration + 1 == after + 1:
            raise Crash

    trial = first.ask()
    with pytest.raises(Crash):
        train(trial, data, **{**arguments, "others": [*arguments.get("others", []), crash]})
    expire_lease(first, 0)
    second = tuner_for(storage=path)
    again = second.ask()
    assert again.number == 0
    assert again.start_epoch == after
    model = train(again, data, **arguments)
    again.end()
    return model, second.trials[0]


def uninterrupted(data, **arguments):
    tuner = tuner_for()
    trial = tuner.ask()
    model = train(trial, data, **arguments)
    trial.end()
    return model, tuner.trials[0]


def test_every_round_is_recorded_with_all_metrics(data):
    tuner = tuner_for()
    for trial in tuner:
        log = {}
        train(trial, data, params={"metric": ["binary_logloss", "auc"]}, others=[lightgbm.record_evaluation(log)])
        record = tuner.trials[trial.number]
        assert list(record.curve.values()) == log["validation"]["binary_logloss"]
        names = {"train-binary_logloss", "train-auc", "validation-binary_logloss", "validation-auc"}
        assert set(record.metrics[1]) == names
    assert [t.epochs for t in tuner.trials] == [12, 12]
    assert {t.state for t in tuner.trials} == {hpo.TrialState.COMPLETED}


def test_stop_returns_the_partial_model_after_a_whole_round(data):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=5))
    trial, log, seen = tuner.ask(), {}, []
    model = train(trial, data, others=[lightgbm.record_evaluation(log), lambda env: seen.append(env.iteration)])
    trial.end()
    assert model.num_trees() == model.best_iteration == 5
    assert seen == [0, 1, 2, 3, 4]
    assert len(log["validation"]["binary_logloss"]) == 5
    assert model.best_score["validation"]["binary_logloss"] == tuner.trials[0].curve[5]


def test_own_early_stopping_beside_it_keeps_working(data):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=80))
    trial = tuner.ask()
    model = train(trial, data, 80, params={"learning_rate": 1.0}, others=[lightgbm.early_stopping(2, verbose=False)])
    trial.end()
    record = tuner.trials[0]
    assert record.state is hpo.TrialState.COMPLETED
    assert record.epochs == model.best_iteration + 2 < 80  # the round that ended it is recorded, too


def test_stopped_training_with_early_stopping_has_its_best_round(data):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=9))
    trial = tuner.ask()
    model = train(trial, data, 80, params={"learning_rate": 2.0}, others=[lightgbm.early_stopping(50, verbose=False)])
    trial.end()
    curve = tuner.trials[0].curve
    assert len(curve) == 9
    assert model.best_iteration in (
        min(curve, key=curve.get),
        1 + np.argmin([m["train-binary_logloss"] for m in tuner.trials[0].metrics.values()]),
    )


def test_continued_training_counts_on(data):
    first = lightgbm.train(FIXED, lightgbm.Dataset(*data[0]), 4)
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=7))
    trial = tuner.ask()
    model = train(trial, data, init_model=first)
    assert list(tuner.trials[0].curve) == [5, 6, 7]
    assert model.num_trees() == 7


def test_second_training_continues_the_trial_and_others_do_not(data):
    tuner = tuner_for(strategy=hpo.Random(), max_trials=1)
    trial = tuner.ask()
    first = train(trial, data, 4)
    second = train(trial, data, 3, init_model=first)
    assert second.num_trees() == 7
    assert list(tuner.trials[0].curve) == list(range(1, 8))
    with pytest.raises(hpo.InvalidReport, match="Another training begins"):
        train(trial, data, 3)


def test_cv_reports_the_mean_and_keeps_the_deviation(data):
    tuner = tuner_for("valid-binary_logloss", strategy=hpo.Hyperband(max_resource=4))
    trial = tuner.ask()
    table = lightgbm.cv(
        FIXED | trial.params, lightgbm.Dataset(*data[0]), 9, nfold=3, callbacks=[TrialCallback(trial)]
    )  # fmt: skip
    record = tuner.trials[0]
    assert list(record.curve.values()) == table["valid binary_logloss-mean"]
    assert len(record.curve) == 4
    assert [record.metrics[e]["valid-binary_logloss-std"] for e in record.curve] == table["valid binary_logloss-stdv"]


def test_cv_refuses_to_be_paused(data):
    trial = tuner_for("valid-binary_logloss", strategy=hpo.Hyperband(max_resource=4, pause=True)).ask()
    with pytest.raises(hpo.InvalidArgument, match="cannot be resumed"):
        lightgbm.cv(FIXED, lightgbm.Dataset(*data[0]), 9, callbacks=[TrialCallback(trial)])


def test_sklearn_classes_take_it_in_fit(data):
    tuner = tuner_for("valid_0-binary_logloss", strategy=hpo.Hyperband(max_resource=4))
    trial = tuner.ask()
    model = clone(lightgbm.LGBMClassifier(n_estimators=9, n_jobs=1, verbosity=-1, **trial.params))
    model.fit(
        *data[0], eval_X=data[1][0], eval_y=data[1][1], callbacks=[TrialCallback(trial)], init_model=trial.resume_from
    )
    trial.end()
    assert model.booster_.num_trees() == 4
    assert list(tuner.trials[0].curve.values()) == model.evals_result_["valid_0"]["binary_logloss"]


@pytest.mark.parametrize("metric", ["validation-binary_loglos", "validation:binary_logloss"])
def test_missing_metric_is_an_error_after_the_first_round(metric, data):
    trial = tuner_for(metric).ask()
    with pytest.raises(hpo.MetricNotFound, match="'validation-binary_logloss'"):
        train(trial, data)


def test_training_without_validation_is_an_error(data):
    trial = tuner_for().ask()
    with pytest.raises(hpo.MetricNotFound, match=METRIC):
        lightgbm.train(FIXED, lightgbm.Dataset(*data[0]), 3, callbacks=[TrialCallback(trial)])


def test_nan_fails_the_trial_and_ends_the_training(data):
    tuner = tuner_for("validation-odd")
    trial = tuner.ask()
    model = train(trial, data, feval=lambda y, d: ("odd", float("nan"), False))
    trial.end()
    assert model.num_trees() == 1
    assert tuner.trials[0].state is hpo.TrialState.FAILED


# Going on.


def test_resumed_training_is_bit_identical(tmp_path, monkeypatch, data):
    model, record = interrupted(tmp_path, monkeypatch, data)
    expected, whole = uninterrupted(data)
    assert record.curve == whole.curve
    assert model.num_trees() == 12
    assert np.array_equal(model.predict(data[1][0]), expected.predict(data[1][0]))


def test_schedules_history_and_early_stopping_go_on(tmp_path, monkeypatch, data):
    def make():
        log = {}
        return log, {
            "rounds": 30,
            "params": {"learning_rate": 1.0},
            "others": [
                lightgbm.reset_parameter(learning_rate=[0.5 + 0.02 * n for n in range(30)]),
                lightgbm.record_evaluation(log),
                lightgbm.early_stopping(6, verbose=False),
            ],
        }

    log, arguments = make()
    model, record = interrupted(tmp_path, monkeypatch, data, after=4, **arguments)
    whole_log, arguments = make()
    expected, whole = uninterrupted(data, **arguments)
    assert record.curve == whole.curve
    assert log == whole_log
    assert model.best_iteration == expected.best_iteration
    assert np.array_equal(model.predict(data[1][0]), expected.predict(data[1][0]))
    assert whole.epochs < 30  # early stopping ended it


def test_draws_of_the_first_rounds_are_not_repeated(tmp_path, monkeypatch, data, caplog):
    sampling = {"params": {"bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.3, "seed": 7}}
    model, record = interrupted(tmp_path, monkeypatch, data, **sampling)
    expected, whole = uninterrupted(data, **sampling)
    assert list(record.curve) == list(whole.curve)
    assert list(record.curve.values())[:5] == list(whole.curve.values())[:5]
    trees = [tree["tree_structure"]["split_feature"] for tree in model.dump_model()["tree_info"]]
    assert trees[5:10] != trees[:5]
    assert "bagging_fraction=0.5" in caplog.text
    assert expected.num_trees() == model.num_trees()


def test_checkpoint_is_a_model_that_lightgbm_reads(tmp_path, monkeypatch, data):
    save_always(monkeypatch)
    tuner = tuner_for(storage=tmp_path / "study.db", checkpoints="keep")
    trial = tuner.ask()
    model = train(trial, data)
    trial.end()
    saved = lightgbm.Booster(model_file=tuner.trials[0].checkpoint)
    assert np.array_equal(saved.predict(data[1][0]), model.predict(data[1][0]))


def test_pandas_categories_survive_a_checkpoint(tmp_path, monkeypatch, data):
    pandas = pytest.importorskip("pandas")
    save_always(monkeypatch)
    (x, y), (xv, yv) = data
    frames = [
        pandas.DataFrame({"a": part[:, 0], "b": pandas.Categorical((part[:, 1] > 18).astype(str))}) for part in (x, xv)
    ]
    tuner = tuner_for(storage=tmp_path / "study.db", checkpoints="keep")
    trial = tuner.ask()
    model = train(trial, ((frames[0], y), (frames[1], yv)))
    trial.end()
    saved = lightgbm.Booster(model_file=tuner.trials[0].checkpoint)
    assert np.array_equal(saved.predict(frames[1]), model.predict(frames[1]))


@pytest.mark.parametrize("pause", [False, True])
def test_forgotten_init_model_is_noticed(pause, tmp_path, monkeypatch, data):
    save_always(monkeypatch)
    strategy = hpo.Hyperband(min_resource=4, max_resource=12, pause=pause, search="random")
    first = tuner_for(storage=tmp_path / "study.db", strategy=strategy)

    def crash(env):
        if env.iteration == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(first.ask(), data, others=[crash])
    expire_lease(first, 0)
    tuner = tuner_for(storage=tmp_path / "study.db", strategy=strategy)
    trial = tuner.ask()
    assert trial.resume_from is not None
    if pause:
        with pytest.raises(hpo.CheckpointError, match="init_model=trial.resume_from"):
            train(trial, data, resumes=False)
    else:
        assert train(trial, data, resumes=False).num_trees() == 12
        assert list(tuner.trials[0].curve) == list(range(1, 13))


def test_phases_that_were_over_train_nothing(tmp_path, monkeypatch, data):
    save_always(monkeypatch)

    def both(trial, others=()):
        first = train(trial, data, 4)
        second = train(trial, data, 5, init_model=trial.resume_from or first, params={"num_leaves": 3}, others=others)
        return first, second

    whole = tuner_for()
    expected = both(whole.ask())

    def crash(env):
        if env.iteration == 6:
            raise RuntimeError

    before = tuner_for(storage=tmp_path / "study.db")
    with pytest.raises(RuntimeError):
        both(before.ask(), [crash])
    expire_lease(before, 0)
    tuner = tuner_for(storage=tmp_path / "study.db")
    trial = tuner.ask()
    models = both(trial)
    trial.end()
    assert tuner.trials[0].curve == whole.trials[0].curve
    assert models[1].num_trees() == 9
    assert np.array_equal(models[1].predict(data[1][0]), expected[1].predict(data[1][0]))


def test_folds_are_averaged_and_racing_ends_them(data):
    tuner = tuner_for(strategy=hpo.Random(), max_trials=2)
    x = np.concatenate([data[0][0], data[1][0]])
    y = np.concatenate([data[0][1], data[1][1]])
    for trial in tuner:
        for fold in trial.folds(3):
            held = np.arange(len(x)) % 3 == fold.number
            train(fold, ((x[~held], y[~held]), (x[held], y[held])), 6)
    for record in tuner.trials:
        assert len(record.folds) == 3
        assert record.curve[6] == pytest.approx(np.mean([fold[6] for fold in record.folds]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tree\n",
        "hpo_plugins:{}\n",
        "hpo_plugins:[[1]]\npandas_categorical:null\n",
        "hpo_plugins:[]\npandas_categorical:null\n",
    ],
)
def test_damaged_checkpoint_is_named(text, tmp_path, monkeypatch, data):
    from pathlib import Path

    save_always(monkeypatch)
    first = tuner_for(storage=tmp_path / "study.db")

    def crash(env):
        if env.iteration == 3:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(first.ask(), data, others=[crash])
    expire_lease(first, 0)
    trial = tuner_for(storage=tmp_path / "study.db").ask()
    path = Path(trial.resume_from)
    good = path.read_text()
    broken = good.replace(good[good.index("hpo_plugins:") :], text) if text else good.replace("hpo_plugins:", "x:")
    path.write_text(broken)
    with pytest.raises(hpo.CheckpointError, match="damaged"):
        train(trial, data, init_model=lightgbm.Booster(model_str=good))


def test_log_is_plain_json(tmp_path, monkeypatch, data):
    save_always(monkeypatch)
    tuner = tuner_for(storage=tmp_path / "study.db", checkpoints="keep")
    trial = tuner.ask()
    train(trial, data, 3)
    trial.end()
    from pathlib import Path

    (line,) = [
        line for line in Path(tuner.trials[0].checkpoint).read_text().splitlines() if line.startswith("hpo_plugins:")
    ]
    log = json.loads(line.partition(":")[2])
    assert [round_[1][2] for round_ in log] == list(tuner.trials[0].curve.values())
