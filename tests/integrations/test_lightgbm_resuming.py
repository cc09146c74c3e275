"""LightGBM: a paused or killed training run ends as an uninterrupted one, is refused, or starts over."""

from collections import Counter

import numpy as np
import pytest
from support import expire_lease, save_always

import hpo_plugins as hpo

lightgbm = pytest.importorskip("lightgbm")
from hpo_plugins.integrations.lightgbm import TrialCallback, load_model  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 5))
Y = (X[:, 0] + RNG.normal(size=300) > 0) * 1
CLASSES = np.digitize(X[:, 0] + 0.3 * RNG.normal(size=300), [-0.5, 0.5])
FIXED = {"objective": "binary", "verbosity": -1, "num_threads": 1, "deterministic": True, "min_data_in_leaf": 5}
SPACE = {"learning_rate": hpo.Continuous(0.01, 0.5, scale="log")}
ROUNDS = 9


def tuner_for(metric="v-binary_logloss", *, pause=False, n=9, **arguments):
    strategy = hpo.Hyperband(max_resource=ROUNDS, pause=True, search="random") if pause else hpo.Random()
    given = {"strategy": strategy, "max_trials": n, "seed": 0, "progress": "off"}
    return hpo.Tuner(SPACE, hpo.Minimize(metric), **(given | arguments))


def datasets(labels=Y, scores=None, *, frees=False, **arguments):
    init = (None, None) if scores is None else (scores[:200], scores[200:])
    first = lightgbm.Dataset(X[:200], labels[:200], init_score=init[0], free_raw_data=frees, **arguments)
    second = {name: value for name, value in arguments.items() if name != "position"}
    return first, lightgbm.Dataset(
        X[200:], labels[200:], reference=first, init_score=init[1], free_raw_data=frees, **second
    )


def fit(params, data, rounds=ROUNDS, callbacks=(), **arguments):
    first, second = data
    return lightgbm.train(
        FIXED | params, first, rounds, valid_sets=[second], valid_names=["v"], callbacks=list(callbacks), **arguments
    )


def train(trial, data, params=None, callbacks=(), **arguments):
    given = (params or {}) | trial.params
    return fit(given, data, callbacks=[TrialCallback(trial), *callbacks], init_model=trial.resume_from, **arguments)


def curve_of(record, data, params=None, metric="binary_logloss"):
    """The curve of a trial's configuration, trained without a tuner."""
    log = {}
    fit((params or {}) | record.params, data, record.epochs, callbacks=[lightgbm.record_evaluation(log)])
    return log["v"][metric]


def crash_at(round_):
    def crash(env):
        if env.iteration == round_:
            raise RuntimeError("crash")

    return crash


def killed(tmp_path, monkeypatch, data, after=4, **arguments):
    """Return a tuner whose first trial was killed after some rounds, each of them saved."""
    save_always(monkeypatch)
    first = tuner_for(n=2, storage=tmp_path / "study.db")
    with pytest.raises(RuntimeError, match="crash"):
        train(first.ask(), data, callbacks=[*arguments.pop("callbacks", ()), crash_at(after)], **arguments)
    expire_lease(first, 0)
    return tuner_for(n=2, storage=tmp_path / "study.db")


SCORES = np.linspace(-2, 2, 300)
CASES = {
    "scores": ({}, Y, SCORES, "binary_logloss"),
    "list": ({}, Y, SCORES.tolist(), "binary_logloss"),
    "no scores": ({}, Y, None, "binary_logloss"),
    "classes": (
        {"objective": "multiclass", "num_class": 3}, CLASSES, np.stack([SCORES, -SCORES, 0 * SCORES], axis=1),
        "multi_logloss",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_paused_trials_begin_with_the_scores_that_the_user_gave(case, shares):
    params, labels, scores, metric = CASES[case]
    shared = datasets(labels, scores)
    tuner = tuner_for(f"v-{metric}", pause=True, n=12)
    for trial in tuner:
        train(trial, shared if shares else datasets(labels, scores), params)
    assert max(record.attempts for record in tuner.trials) > 1
    for record in tuner.trials:
        whole = curve_of(record, datasets(labels, scores), params, metric)
        assert np.allclose(list(record.curve.values()), whole, rtol=1e-9)
    for data, own in zip(shared, (slice(200), slice(200, 300)), strict=True):
        given = data.get_init_score() if shares else None
        assert given is None if scores is None or not shares else np.allclose(given, np.asarray(scores)[own])


def test_subsets_begin_with_the_scores_of_their_data():
    def split():
        whole = lightgbm.Dataset(X, Y, init_score=SCORES, free_raw_data=False).construct()
        return whole.subset(list(range(200))), whole.subset(list(range(200, 300)))

    tuner = tuner_for(pause=True)
    for trial in tuner:
        train(trial, split())
    assert max(record.attempts for record in tuner.trials) > 1
    for record in tuner.trials:
        assert np.allclose(list(record.curve.values()), curve_of(record, split()), rtol=1e-9)


def test_killed_trial_goes_on_with_the_scores_that_the_user_gave(tmp_path, monkeypatch):
    tuner = killed(tmp_path, monkeypatch, datasets(scores=SCORES))
    shared = datasets(scores=SCORES)
    for trial in tuner:
        train(trial, shared)
    assert [record.attempts for record in tuner.trials] == [2, 1]
    for record in tuner.trials:
        assert np.allclose(list(record.curve.values()), curve_of(record, datasets(scores=SCORES)), rtol=1e-9)


UNRESUMABLE = {
    "rf": ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}, "random forest"),
    "linear": ({"linear_tree": True}, "linear_tree=True"),
    "costs": ({"cegb_penalty_feature_coupled": [1.0, 2.0, 1.0, 3.0, 1.0]}, "cegb_penalty_feature_coupled"),
    "subset": ({}, "subset of a Dataset.*free_raw_data=False"),
    "position": ({"objective": "lambdarank", "metric": "ndcg", "eval_at": [3]}, "position bias"),
}


def unresumable_data(case):
    if case == "subset":
        whole = lightgbm.Dataset(X, Y)
        return whole.subset(list(range(200))), whole.subset(list(range(200, 300)))
    if case == "position":
        first = lightgbm.Dataset(
            X[:200], Y[:200], group=[20] * 10, position=np.arange(200) % 20, free_raw_data=False
        )  # fmt: skip
        return first, lightgbm.Dataset(X[200:], Y[200:], group=[20] * 5, reference=first, free_raw_data=False)
    return datasets(params={"linear_tree": True} if case == "linear" else None)


@pytest.mark.parametrize("case", UNRESUMABLE)
def test_training_that_cannot_be_resumed_is_not_paused(case):
    params, reason = UNRESUMABLE[case]
    trial = tuner_for("v-ndcg@3" if case == "position" else "v-binary_logloss", pause=True).ask()
    with pytest.raises(hpo.InvalidArgument, match=f"cannot be paused.*{reason}"):
        train(trial, unresumable_data(case), params)


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("case", UNRESUMABLE)
def test_training_that_cannot_be_resumed_starts_over_after_a_kill(case, shares, tmp_path, monkeypatch):
    params, _ = UNRESUMABLE[case]
    save_always(monkeypatch)
    name = "ndcg@3" if case == "position" else "binary_logloss"
    arguments = {"metric": f"v-{name}", "n": 2, "storage": tmp_path / "study.db", "checkpoints": "best"}
    first = tuner_for(**arguments)
    with pytest.raises(RuntimeError, match="crash"):
        train(first.ask(), unresumable_data(case), params, [crash_at(4)])
    expire_lease(first, 0)
    tuner, shared = tuner_for(**arguments), unresumable_data(case)
    models, schedules = {}, []
    for trial in tuner:
        rate = trial["learning_rate"]
        schedule = lightgbm.reset_parameter(learning_rate=lambda n, rate=rate: schedules.append(n) or rate)
        models[trial.number] = train(trial, shared if shares else unresumable_data(case), params, [schedule])
    assert [record.attempts for record in tuner.trials] == [2, 1]
    assert schedules == [*range(ROUNDS), *range(ROUNDS)]
    for record in tuner.trials:
        assert list(record.curve) == list(range(1, ROUNDS + 1))
        assert np.allclose(list(record.curve.values()), curve_of(record, unresumable_data(case), params, name))
        assert models[record.number].num_trees() == ROUNDS
    best = tuner.best_trial
    alone = fit(params | best.params, unresumable_data(case), best.best_epoch)
    assert np.array_equal(load_model(best).predict(X[200:]), alone.predict(X[200:]))


def test_shared_data_without_its_raw_data_is_not_paused():
    tuner, shared = tuner_for(pause=True), datasets(frees=True)
    train(tuner.ask(), shared)
    with pytest.raises(hpo.InvalidArgument, match="cannot be paused.*free_raw_data=False"):
        train(tuner.ask(), shared)


def test_shared_data_without_its_raw_data_starts_over_after_a_kill(tmp_path, monkeypatch):
    tuner = killed(tmp_path, monkeypatch, datasets(frees=True))
    shared = datasets(frees=True)
    fit({}, shared)
    other = tuner_for(n=1)
    for trial in other:
        train(trial, shared)
    for trial in tuner:
        model = train(trial, shared)
    assert [record.attempts for record in tuner.trials] == [2, 1]
    for record in tuner.trials:
        assert list(record.curve.values()) == curve_of(record, datasets())
    with pytest.raises(lightgbm.basic.LightGBMError, match="free_raw_data=False"):
        fit({}, shared, init_model=model)  # a user's own continuation


def test_shared_data_whose_first_training_resumes_serves_the_next_trial(tmp_path, monkeypatch):
    tuner = killed(tmp_path, monkeypatch, datasets(frees=True))
    shared = datasets(frees=True)
    for trial in tuner:
        train(trial, shared)
    assert [record.attempts for record in tuner.trials] == [2, 1]
    for record in tuner.trials:
        assert list(record.curve.values()) == curve_of(record, datasets())


# What LightGBM's own callbacks know.


def stopping(rounds):
    return lightgbm.early_stopping(rounds, verbose=False)


@pytest.mark.parametrize("patience", [2, 8])
def test_early_stopping_at_the_round_of_a_pause_completes_the_trial(patience):
    ends = 1 + patience  # 3 and 9 are rungs
    tuner = tuner_for(pause=True)
    rounds = Counter()
    for trial in tuner:

        def worse(predicted, data, number=trial.number):
            rounds[number] += 1
            return "worse", float(rounds[number]), False

        train(trial, datasets(), {"metric": ["binary_logloss"]}, [stopping(patience)], feval=worse)
    assert set(rounds.values()) <= {1, 3, ends}
    ended = [record for record in tuner.trials if record.epochs == ends]
    assert ended
    assert {record.state for record in ended} == {hpo.TrialState.COMPLETED}


@pytest.mark.parametrize("seed", range(4))
def test_early_stopping_ends_a_paused_trial_where_it_ends_an_uninterrupted_one(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(120, 4))
    y = (x[:, 0] + rng.normal(size=120) > 0) * 1

    def data():
        first = lightgbm.Dataset(x[:80], y[:80], free_raw_data=False)
        return first, lightgbm.Dataset(x[80:], y[80:], reference=first, free_raw_data=False)

    params = {"min_data_in_leaf": 2, "learning_rate": 0.5}
    space = {"num_leaves": hpo.Integer(2, 15)}
    strategy = hpo.Hyperband(max_resource=27, pause=True, search="random")
    tuner = hpo.Tuner(space, hpo.Minimize("v-binary_logloss"), strategy=strategy, max_trials=12, seed=seed)
    for trial in tuner:
        model = train(trial, data(), params, [stopping(2)], rounds=27)
        record = tuner.trials[trial.number]
        whole = fit(params | trial.params, data(), 27, [stopping(2)])
        if record.state is hpo.TrialState.COMPLETED:
            assert model.best_iteration == whole.best_iteration
    for record in tuner.trials:
        whole = {}
        fit(params | record.params, data(), 27, [lightgbm.record_evaluation(whole), stopping(2)])
        expected = whole["v"]["binary_logloss"]
        assert list(record.curve.values()) == expected[: record.epochs]
        assert record.state is not hpo.TrialState.PAUSED or record.epochs < len(expected)


def end_of(tmp_path, monkeypatch, callbacks, rounds, **arguments):
    """Train to the end with every round saved, lose the worker before it ends the trial, and train again."""
    save_always(monkeypatch)
    first = tuner_for(n=1, storage=tmp_path / "study.db")
    whole = train(first.ask(), datasets(), rounds=rounds, callbacks=callbacks(), **arguments)
    expire_lease(first, 0)
    tuner = tuner_for(n=1, storage=tmp_path / "study.db")
    for trial in tuner:
        assert trial.resume_from is not None
        model = train(trial, datasets(), rounds=rounds, callbacks=callbacks(), **arguments)
    return whole, model, tuner.trials[0]


def test_trial_that_is_lost_after_its_last_round_trains_no_other(tmp_path, monkeypatch):
    whole, model, record = end_of(tmp_path, monkeypatch, list, 6)
    assert record.state is hpo.TrialState.COMPLETED
    assert list(record.curve) == list(range(1, 7))
    assert model.num_trees() == 6
    assert model.best_iteration == whole.best_iteration
    assert np.array_equal(model.predict(X), whole.predict(X))


def test_trial_that_is_lost_after_early_stopping_trains_no_other_round(tmp_path, monkeypatch):
    rounds = []

    def worse(predicted, data):
        rounds.append(1)
        return "worse", float(len(rounds)), False

    whole, model, record = end_of(tmp_path, monkeypatch, lambda: [stopping(3)], 9, feval=worse)
    assert record.epochs == 4
    assert record.state is hpo.TrialState.COMPLETED
    assert model.num_trees() == whole.num_trees()
    assert model.best_iteration == whole.best_iteration == 1
    assert model.best_score == whole.best_score


# Phases.


def counting(counts, *key):
    def count(env):
        counts[key] += 1

    return count


@pytest.mark.parametrize("calls", [(4, 5), (3, 6), (1, 8), (3, 3, 3)])
def test_phases_are_trained_to_their_end_before_the_next_begins(calls):
    tuner, counts = tuner_for(pause=True, n=12), Counter()
    for trial in tuner:
        model, data = None, datasets()
        for phase, rounds in enumerate(calls):
            callbacks = [TrialCallback(trial), counting(counts, trial.number, phase)]
            model = fit(trial.params, data, rounds, callbacks, init_model=trial.resume_from or model)
    assert max(record.attempts for record in tuner.trials) > 1
    for record in tuner.trials:
        trained = [counts[record.number, phase] for phase in range(len(calls))]
        assert sum(trained) == record.epochs
        for phase, rounds in enumerate(calls):
            assert trained[phase] in (0, rounds) or not any(trained[phase + 1 :])
        assert record.state is not hpo.TrialState.COMPLETED or trained == list(calls)
    assert any(record.state is hpo.TrialState.COMPLETED for record in tuner.trials)


def test_phase_that_early_stopping_ends_is_continued_from_its_best_round():
    def both(params, callbacks=lambda: (), resume_from=lambda: None):
        data, arguments = datasets(), {"min_data_in_leaf": 2, "num_leaves": 15} | params
        first = fit(arguments, data, 20, [stopping(2), *callbacks()], init_model=resume_from())
        return fit(arguments, data, 6, callbacks(), init_model=resume_from() or first)

    strategy = hpo.Bayesian(max_resource=27, pause=True, cost="epochs")  # measured seconds would decide, too
    tuner = tuner_for(strategy=strategy, n=8)
    for trial in tuner:
        both(trial.params, lambda trial=trial: [TrialCallback(trial)], lambda trial=trial: trial.resume_from)
    assert sum(record.attempts > 1 for record in tuner.trials) > 2
    for record in tuner.trials:
        log = []
        both(record.params, lambda log=log: [lightgbm.record_evaluation(log.append({}) or log[-1])])
        whole = [value for each in log for value in each["v"]["binary_logloss"]]
        assert list(record.curve.values()) == whole[: record.epochs]
        assert record.state is not hpo.TrialState.COMPLETED or record.epochs == len(whole)


def test_phases_of_folds_are_trained_to_their_end(tmp_path):
    tuner, counts = tuner_for(pause=True, n=9), Counter()
    for trial in tuner:
        for fold in trial.folds(2):
            model, data = None, datasets()
            for phase, rounds in enumerate((4, 5)):
                callbacks = [TrialCallback(fold), counting(counts, trial.number, fold.number, phase)]
                model = fit(trial.params, data, rounds, callbacks, init_model=fold.resume_from or model)
    complete = [record for record in tuner.trials if record.state is hpo.TrialState.COMPLETED]
    assert complete
    for record in tuner.trials:
        for fold in (0, 1):
            one, two = (counts[record.number, fold, phase] for phase in (0, 1))
            assert one == 4 or not two
    for record in complete:
        assert [counts[record.number, fold, phase] for fold in (0, 1) for phase in (0, 1)] == [4, 5, 4, 5]


# Checkpoints of other models.


@pytest.mark.parametrize(
    ("params", "columns", "labels"),
    [
        ({"objective": "regression", "metric": "binary_logloss"}, 5, Y),
        ({}, 4, Y),
        ({"objective": "multiclass", "num_class": 3, "metric": "multi_logloss"}, 5, CLASSES),
    ],
)
@pytest.mark.parametrize("shares", [False, True])
def test_checkpoint_of_another_model_leaves_the_trial_as_it_is(params, columns, labels, shares, tmp_path, monkeypatch):
    tuner = killed(tmp_path, monkeypatch, datasets())
    first = lightgbm.Dataset(X[:200, :columns], labels[:200], free_raw_data=False)
    data = first, lightgbm.Dataset(X[200:, :columns], labels[200:], reference=first, free_raw_data=False)
    if shares:
        for trial in tuner_for("v-" + params.get("metric", "binary_logloss"), n=1):
            train(trial, data, params)
    with pytest.raises(hpo.CheckpointError, match="is of another model"):
        for trial in tuner:
            train(trial, data, params)
    again = tuner_for(n=2, storage=tmp_path / "study.db")
    trial = again.ask()
    assert (trial.number, trial.start_epoch) == (0, 4)
    train(trial, datasets())
    trial.end()
    assert list(again.trials[0].curve.values()) == curve_of(again.trials[0], datasets())
