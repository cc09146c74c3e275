"""Several objectives: the front, choices on it, and that what should not matter does not."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.history.outcomes import row_that_counts
from hpo_plugins.history.pareto import hypervolume, knee, non_dominated, preferred
from hpo_plugins.history.weighted import N_DIRECTIONS, seen_by, weights_of

SPACE = {"width": hpo.Continuous(0, 1), "rate": hpo.Continuous(0, 1)}
LOSS, LATENCY = hpo.Minimize("loss"), hpo.Minimize("latency_ms")
EPOCHS = 9
STRATEGIES = {
    "random": hpo.Random,
    "bayesian": hpo.Bayesian,
    "bayesian, stop": lambda: hpo.Bayesian(max_resource=EPOCHS, cost="epochs"),
    "bayesian, pause": lambda: hpo.Bayesian(max_resource=EPOCHS, cost="epochs", pause=True),
    "hyperband": lambda: hpo.Hyperband(max_resource=EPOCHS, cost="epochs"),
    "hyperband, pause": lambda: hpo.Hyperband(max_resource=EPOCHS, cost="epochs", pause=True),
}


def metrics(params, epoch):
    loss = (1 - params["width"]) ** 2 + abs(params["rate"] - 0.3) + 1 / epoch
    return {"loss": loss, "latency_ms": 10 + 40 * params["width"], "constant": 1.0}


def search(strategy=None, objectives=(LOSS, LATENCY), trials=20, change=lambda metrics: metrics, **arguments):
    tuner = hpo.Tuner(SPACE, list(objectives), strategy=strategy, max_trials=trials, seed=0, **arguments)
    for trial in tuner:
        for epoch in range(trial.start_epoch + 1, EPOCHS + 1):
            if trial.report(epoch, change(metrics(trial.params, epoch))):
                break
    return tuner


def course(tuner):
    return [(t.params, t.state, t.epochs) for t in tuner.trials]


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


@pytest.mark.parametrize("name", STRATEGIES)
def test_best_trials_are_those_that_no_other_one_dominates(name, tmp_path):
    tuner = search(STRATEGIES[name](), storage=tmp_path / "study.db")
    points = {t.number: (t.values["loss"], t.values["latency_ms"]) for t in tuner.trials}
    front = {n for n, point in points.items() if not any(dominates(other, point) for other in points.values())}
    assert {t.number for t in tuner.best_trials} == front
    assert [t.values["loss"] for t in tuner.best_trials] == sorted(t.values["loss"] for t in tuner.best_trials)
    loaded = hpo.Tuner.load(tmp_path / "study.db")
    assert loaded.best_trials == tuner.best_trials
    assert loaded.objectives == (LOSS, LATENCY)


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "random"])
def test_surrogates_and_rungs_gain_over_random(name):
    reference = {"loss": 2, "latency_ms": 55}
    tuner = search(STRATEGIES[name](), trials=30)
    as_long = sum(t.epochs for t in tuner.trials) // EPOCHS
    assert tuner.hypervolume(reference) > search(trials=as_long).hypervolume(reference)


@pytest.mark.parametrize("name", STRATEGIES)
def test_order_and_unit_of_objectives_change_nothing(name):
    whole = course(search(STRATEGIES[name]()))
    assert course(search(STRATEGIES[name](), (LATENCY, LOSS))) == whole
    in_microseconds = lambda known: known | {"latency_ms": 1024 * known["latency_ms"]}  # noqa: E731 - a power of two
    assert course(search(STRATEGIES[name](), change=in_microseconds)) == whole
    negated = lambda known: known | {"latency_ms": -known["latency_ms"]}  # noqa: E731
    assert course(search(STRATEGIES[name](), (LOSS, hpo.Maximize("latency_ms")), change=negated)) == whole


@pytest.mark.parametrize("name", STRATEGIES)
def test_constant_objective_changes_nothing(name):
    tuner = search(STRATEGIES[name](), (LOSS, LATENCY, hpo.Minimize("constant")))
    assert course(tuner) == course(search(STRATEGIES[name]()))
    assert [t.number for t in tuner.best_trials] == [t.number for t in search(STRATEGIES[name]()).best_trials]


def test_limits_and_several_objectives_go_together():
    tuner = search(STRATEGIES["bayesian"](), constraints=[hpo.AtMost("latency_ms", 30)])
    assert tuner.best_trials
    assert all(t.values["latency_ms"] <= 30 for t in tuner.best_trials)


def test_restart_continues_as_if_never_stopped(tmp_path):
    whole = search(STRATEGIES["hyperband"]())
    for until in (3, 11, 20):
        tuner = hpo.Tuner(
            SPACE, [LOSS, LATENCY], strategy=STRATEGIES["hyperband"](), max_trials=20, seed=0,
            storage=tmp_path / "study.db",
        )  # fmt: skip
        for trial in tuner:
            if trial.number == until:
                break
            for epoch in range(trial.start_epoch + 1, EPOCHS + 1):
                if trial.report(epoch, metrics(trial.params, epoch)):
                    break
    assert course(tuner) == course(whole)


def test_best_trial_asks_for_a_preference():
    tuner = search()
    with pytest.raises(hpo.InvalidArgument, match=r"best_trial needs one objective.*'loss', 'latency_ms'.*best\(\{"):
        _ = tuner.best_trial
    assert tuner.best({"loss": 1}).values["loss"] == min(t.values["loss"] for t in tuner.trials)
    assert tuner.best({"latency_ms": 3}).values["latency_ms"] == min(t.values["latency_ms"] for t in tuner.trials)
    assert tuner.best() in tuner.best_trials
    assert tuner.best({"loss": 1, "latency_ms": 1}) in tuner.best_trials


@pytest.mark.parametrize("weights", [{}, {"loss": 0}, {"accuracy": 1}, {"loss": -1}, {"loss": math.nan}, [1, 2], 3])
def test_bad_weights_are_named(weights):
    with pytest.raises(
        hpo.InvalidArgument, match="weights must be a dict of numbers from 0 on, for the metrics 'loss'"
    ):
        search(trials=2).best(weights)


@pytest.mark.parametrize("reference", [{"loss": 1}, {"loss": 1, "latency_ms": math.inf}, 3])
def test_bad_references_are_named(reference):
    with pytest.raises(hpo.InvalidArgument, match="reference must be a dict with a finite number for each of 'loss'"):
        search(trials=2).hypervolume(reference)


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ([], "objective must be Minimize"),
        ([LOSS, "latency_ms"], "objective must be Minimize"),
        ([LOSS, hpo.Maximize("loss")], "must name each metric once, but names 'loss' 2 times"),
        ([LOSS, hpo.Minimize("latency_ms", at="last")], "same at="),
    ],
)
def test_bad_objectives_are_named(objectives, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        hpo.Tuner(SPACE, objectives)


def test_criteria_need_one_objective():
    with pytest.raises(hpo.InvalidArgument, match="stop_when must be empty with several objectives"):
        hpo.Tuner(SPACE, [LOSS, LATENCY], stop_when=[hpo.TargetReached(0.1)])


def test_what_knows_one_objective_refuses_by_name():
    tuner = search(trials=3)
    with pytest.raises(hpo.InvalidArgument, match="one objective"):
        tuner.confirm()
    with pytest.raises(hpo.InvalidArgument, match="one objective"):
        hpo.simulate(tuner)
    with pytest.raises(hpo.InvalidArgument, match="the service knows one objective"):
        hpo.sagemaker.request_from_tuner(tuner, job_name="job")


def test_nan_of_one_objective_fails_the_trial():
    tuner = search(trials=4, change=lambda known: known | {"latency_ms": math.nan})
    assert {t.state for t in tuner.trials} == {hpo.TrialState.FAILED}
    assert tuner.trials[0].error == "latency_ms was nan at epoch 1"
    assert tuner.best_trials == ()
    assert tuner.hypervolume() == 0
    with pytest.raises(hpo.NothingReported, match="No trial counts yet"):
        tuner.best()


def test_objective_that_is_never_reported_is_an_error_after_the_first_run():
    with pytest.raises(hpo.MetricNotFound, match="objective's metric 'latency' was not reported in a whole training"):
        search(objectives=(LOSS, hpo.Minimize("latency")))


@pytest.mark.parametrize("objectives", [(LOSS, LATENCY), (LATENCY, LOSS)])
def test_objective_that_is_measured_once_counts_for_all_epochs(objectives):
    tuner = hpo.Tuner(SPACE, objectives, strategy=STRATEGIES["hyperband"](), max_trials=9, seed=0)
    for trial in tuner:
        trial.record({"latency_ms": metrics(trial.params, 1)["latency_ms"]})
        for epoch in range(1, EPOCHS + 1):
            if trial.report(epoch, {"loss": metrics(trial.params, epoch)["loss"]}):
                break
    assert {t.state.value for t in tuner.trials} <= {"completed", "stopped"}
    assert all(t.values["latency_ms"] == metrics(t.params, 1)["latency_ms"] for t in tuner.trials)
    assert course(tuner) == course(search(STRATEGIES["hyperband"](), trials=9))


def test_front_of_folds_is_of_their_means():
    tuner = hpo.Tuner(SPACE, [LOSS, LATENCY], max_trials=3, seed=0)
    for trial in tuner:
        for fold in trial.folds(2):
            fold.report(1, {"loss": trial.number + fold.number, "latency_ms": 5.0 - trial.number + fold.number})
    assert [t.values for t in tuner.trials] == [{"loss": n + 0.5, "latency_ms": 5.5 - n} for n in range(3)]
    assert len(tuner.best_trials) == 3


def test_checkpoints_of_the_front_are_kept(tmp_path):
    tuner = hpo.Tuner(SPACE, [LOSS, LATENCY], max_trials=8, seed=0, storage=tmp_path / "study.db", checkpoints="best")
    for trial in tuner:
        for epoch in (1, 2):
            trial.report(epoch, metrics(trial.params, epoch))
            if trial.save_is_due:
                trial.save(lambda path: path.write_text("weights"))
    assert all(t.best_checkpoint for t in tuner.best_trials)


def test_record_can_be_pickled():
    record = search(trials=2).best_trials[0]
    assert pickle.loads(pickle.dumps(record)) == record


def test_view_under_weights_is_the_augmented_chebyshev_distance():
    tuner = search(trials=12)
    history = tuner.history
    losses = np.array([[t.values["loss"], t.values["latency_ms"]] for t in tuner.trials])
    front = losses[non_dominated(losses)]
    ideal = losses.min(axis=0)
    extent = np.maximum(front.max(axis=0) - ideal, 0.1 * (np.median(losses, axis=0) - ideal))
    view = seen_by(history, 0, 5)
    first = np.array(weights_of(5, 2))[::-1]  # by the metrics' names: latency_ms comes first
    weighted = first * (losses - ideal) / extent
    expected = weighted.max(axis=1) + 0.05 * weighted.sum(axis=1)
    assert [view.loss(n) for n in range(12)] == pytest.approx(expected.tolist())


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_weights_are_spread_over_the_simplex(count):
    weights = np.array([weights_of(direction, count) for direction in range(N_DIRECTIONS)])
    assert weights.min() > 0
    assert weights.sum(axis=1) == pytest.approx(1, abs=0.1)
    assert weights.mean(axis=0) == pytest.approx(1 / count, abs=0.12)


POINTS = st.integers(1, 4).flatmap(
    lambda m: st.lists(st.lists(st.integers(0, 5), min_size=m, max_size=m), min_size=1, max_size=12)
)


@given(POINTS)
def test_non_dominated_points_are_those_of_the_definition(points):
    found = non_dominated(np.array(points, dtype=float))
    assert found.tolist() == [not any(dominates(other, own) for other in points) for own in points]


@given(POINTS)
def test_hypervolume_counts_the_dominated_cells(points):
    losses = np.array(points, dtype=float)
    cells = np.stack(np.meshgrid(*[np.arange(6)] * losses.shape[1], indexing="ij"), axis=-1).reshape(
        -1, losses.shape[1]
    )
    dominated = (losses[:, None] <= cells[None]).all(axis=2).any(axis=0)
    assert hypervolume(losses, np.full(losses.shape[1], 6.0)) == dominated.sum()


def test_hypervolume_ignores_points_beyond_the_reference():
    losses = np.array([[0.0, 2.0], [1.0, 1.0], [5.0, 0.0]])
    assert hypervolume(losses, np.array([2.0, 3.0])) == 2 * 1 + 1 * 1


def test_knee_and_weights_choose_on_the_front():
    losses = np.array([[0.0, 10.0], [1.0, 2.0], [5.0, 1.0], [9.0, 0.0]])
    assert knee(losses) == 1
    assert preferred(losses, np.array([1.0, 0.0])) == 0
    assert preferred(losses, np.array([0.0, 1.0])) == 3
    assert preferred(losses, np.array([1.0, 1.0])) == 1


def test_last_epoch_that_no_other_one_dominates_counts():
    none = np.zeros((4, 0))
    losses = np.array([[4.0, 1.0], [2.0, 2.0], [1.0, 3.0], [1.5, 4.0]])
    assert row_that_counts(losses, none, is_last=False) == 2
    assert row_that_counts(losses, none, is_last=True) == 3
    assert row_that_counts(np.array([[2.0, 1.0], [1.0, 1.0], [1.0, 1.0]]), np.zeros((3, 0)), is_last=False) == 1
