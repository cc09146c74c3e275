"""Limits on outcomes: which trial is the best, which training runs are stopped, and what the surrogate learns."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from support import history_of

import hpo_plugins as hpo
from hpo_plugins.history.outcomes import row_that_counts
from hpo_plugins.history.weighted import seen_by
from hpo_plugins.modeling.feasibility import feasibility
from hpo_plugins.modeling.model import fit_model

SPACE = {"width": hpo.Continuous(0, 1), "rate": hpo.Continuous(0, 1)}
LIMIT = hpo.AtMost("latency_ms", 20)
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
    """Wider models are better and slower: the best ones within the limit of 20 ms have a width of 0.25."""
    loss = (1 - params["width"]) ** 2 + abs(params["rate"] - 0.3) + 1 / epoch
    return {"loss": loss, "latency_ms": 10 + 40 * params["width"]}


def search(strategy=None, constraints=(LIMIT,), trials=24, train=None, **arguments):
    tuner = hpo.Tuner(
        SPACE, hpo.Minimize("loss"), strategy=strategy, constraints=constraints, max_trials=trials, seed=0, **arguments
    )  # fmt: skip
    for trial in tuner:
        (train or train_all)(trial)
    return tuner


def train_all(trial):
    for epoch in range(trial.start_epoch + 1, EPOCHS + 1):
        if trial.report(epoch, metrics(trial.params, epoch)):
            break


@pytest.mark.parametrize("name", STRATEGIES)
def test_best_trial_is_the_best_that_meets_the_limits(name, tmp_path):
    storage = tmp_path / "study.db"
    tuner = search(STRATEGIES[name](), storage=storage)
    met = [t for t in tuner.trials if t.value is not None and t.values["latency_ms"] <= 20]
    assert met
    best = tuner.best_trial
    assert best.feasible is True
    assert best.value == min(t.value for t in met)
    assert len(met) < 24
    assert tuner.best_trials == (best,)
    assert hpo.Tuner.load(storage, tuner.name).best_trial.number == best.number


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "random"])
def test_surrogate_finds_the_border(name):
    tuner = search(STRATEGIES[name](), trials=32)
    assert 17 < tuner.best_trial.values["latency_ms"] <= 20
    # A training run that does not meet the limit is stopped at once.
    assert all(t.epochs == 1 for t in tuner.trials[16:] if not t.feasible)


def test_grid_and_median_rule_know_limits():
    space = {"width": hpo.Ordinal([0.0, 0.2, 0.4, 0.8]), "rate": hpo.Ordinal([0.1, 0.3])}
    for early_stopping in (None, hpo.MedianRule()):
        tuner = hpo.Tuner(
            space, hpo.Minimize("loss"), strategy=hpo.Grid(), constraints=[LIMIT], early_stopping=early_stopping
        )
        for trial in tuner:
            train_all(trial)
        assert tuner.best_trial.params == {"width": 0.2, "rate": 0.3}


def test_steady_metric_stops_a_run_at_its_first_report():
    tuner = search(trials=12)
    complete = [t.number for t in tuner.trials if t.state is hpo.TrialState.COMPLETED]
    for record in tuner.trials[complete[0] + 1 :]:
        assert record.epochs == (EPOCHS if record.feasible else 1)
        if not record.feasible:
            assert record.state is hpo.TrialState.STOPPED
            assert record.stop_rule == "cannot meet latency_ms <= 20"
            assert f"latency_ms is {record.values['latency_ms']:.6g} at epoch 1" in record.stop_reason


def test_metric_that_is_measured_once_counts_for_all_epochs():
    def once(trial):
        for epoch in range(1, EPOCHS + 1):
            known = metrics(trial.params, epoch)
            if trial.report(epoch, known if epoch == 3 else {"loss": known["loss"]}):
                break

    tuner = search(train=once, trials=10)
    for record in tuner.trials:
        assert record.values["latency_ms"] == metrics(record.params, 1)["latency_ms"]
        assert record.epochs in ((EPOCHS,) if record.feasible else (3, EPOCHS))
    assert sum(record.epochs == 3 for record in tuner.trials) > 3


def test_run_that_comes_to_meet_a_limit_is_not_stopped():
    """A recall that rises to its limit late, from the same values in all trials."""

    def rising(trial):
        for epoch in range(1, EPOCHS + 1):
            recall = 0.2 if epoch <= 3 else 0.2 + 0.75 * (epoch - 3) / 6 - 0.1 * trial.params["rate"]
            if trial.report(epoch, {"loss": 1 / epoch + trial.params["width"], "recall": recall}):
                break

    for strategy in (hpo.Random(), hpo.Bayesian(), hpo.Bayesian(EPOCHS), hpo.Hyperband(max_resource=EPOCHS)):
        tuner = search(strategy, constraints=[hpo.AtLeast("recall", 0.8)], train=rising, trials=15)
        assert not [t.stop_rule for t in tuner.trials if (t.stop_rule or "").startswith("cannot meet")]
        assert tuner.best_trial.feasible


def test_run_that_cannot_come_to_meet_a_limit_is_stopped():
    def rising(trial):
        for epoch in range(1, EPOCHS + 1):
            recall = (0.95 if trial.params["rate"] > 0.5 else 0.4) * (1 - 0.5**epoch)
            if trial.report(epoch, {"loss": 1 / epoch, "recall": recall}):
                break

    tuner = search(hpo.Random(), constraints=[hpo.AtLeast("recall", 0.9)], train=rising, trials=30)
    late = tuner.trials[12:]
    assert {t.epochs for t in late if t.params["rate"] > 0.5} == {EPOCHS}
    stopped = [t for t in late if t.params["rate"] <= 0.5]
    assert {t.stop_rule for t in stopped} == {"cannot meet recall >= 0.9"}
    assert np.mean([t.epochs for t in stopped]) < EPOCHS / 2


def test_metric_that_grows_out_of_its_limit_keeps_the_epochs_that_met_it():
    def growing(trial):
        for epoch in range(1, EPOCHS + 1):
            if trial.report(epoch, {"loss": 1 / epoch + trial.params["width"], "minutes": 2.0 * epoch}):
                break

    tuner = search(constraints=[hpo.AtMost("minutes", 9)], train=growing, trials=8)
    assert {t.best_epoch for t in tuner.trials} == {4}
    assert all(t.feasible for t in tuner.trials)
    assert tuner.best_trial.value == 0.25 + tuner.best_trial.params["width"]


def test_recorded_metric_stops_a_trial_before_its_first_epoch(tmp_path):
    storage = tmp_path / "study.db"
    answers = []

    def recorded(trial):
        answers.append(trial.record({"model_mb": 100 * trial.params["width"]}))
        if not answers[-1]:
            train_all(trial)

    tuner = search(constraints=[hpo.AtMost("model_mb", 30)], train=recorded, storage=storage)
    assert answers == [t.params["width"] > 0.3 for t in tuner.trials]
    for record, stops in zip(tuner.trials, answers, strict=True):
        assert record.recorded == {"model_mb": 100 * record.params["width"]}
        assert record.epochs == (0 if stops else EPOCHS)
        assert record.state is (hpo.TrialState.STOPPED if stops else hpo.TrialState.COMPLETED)
    assert [t.feasible for t in tuner.trials] == [not stops for stops in answers]
    assert tuner.best_trial.values["model_mb"] <= 30
    assert [t.recorded for t in hpo.Tuner.load(storage).trials] == [t.recorded for t in tuner.trials]


def test_recorded_metrics_teach_the_surrogate():
    tuner = search(
        hpo.Bayesian(), constraints=[hpo.AtMost("model_mb", 30)], trials=20,
        train=lambda trial: trial.record({"model_mb": 100 * trial.params["width"]}) or train_all(trial),
    )  # fmt: skip
    assert sum(t.epochs > 0 for t in tuner.trials[10:]) > 7
    assert tuner.best_trial.values["model_mb"] > 25


def test_folds_count_by_their_mean(storage):
    tuner = hpo.Tuner(
        SPACE, hpo.Minimize("loss"), constraints=[hpo.AtLeast("recall", 0.8)], max_trials=4, seed=0, storage=storage
    )
    recalls = [[0.7, 0.95], [0.75, 0.8], [0.9, 0.9], [0.85, 0.7]]
    for trial in tuner:
        for fold, recall in zip(trial.folds(2), recalls[trial.number], strict=True):
            for epoch in (1, 2):
                fold.report(epoch, {"loss": float(trial.number), "recall": recall})
    assert [t.feasible for t in tuner.trials] == [True, False, True, False]
    assert [round(t.values["recall"], 3) for t in tuner.trials] == [0.825, 0.775, 0.9, 0.775]
    assert tuner.best_trial.number == 0


@pytest.mark.parametrize("identical", [True, False])
@pytest.mark.parametrize("name", ["bayesian", "hyperband"])
def test_parents_know_their_metrics(name, identical, tmp_path):
    storage = tmp_path / "study.db"
    parent = hpo.Tuner(SPACE, hpo.Minimize("loss"), strategy=hpo.Random(), max_trials=16, seed=0)
    for trial in parent:
        train_all(trial)
    child = search(
        STRATEGIES[name](), trials=6, warm_start=hpo.WarmStart([parent], identical=identical), storage=storage
    )
    met = [t.value for t in parent.trials if metrics(t.params, 1)["latency_ms"] <= 20]
    own = [t.value for t in child.trials if t.feasible]
    assert child.best_trial.value == min(own + (met if identical else []))
    loaded = hpo.Tuner.load(storage)
    assert loaded.best_trial == child.best_trial
    known = feasibility(fit_model(seen_by(loaded.history, 0, 6), EPOCHS))
    if identical:
        chances = np.exp(known.log_probability(np.array([[0.05, 0.5], [0.9, 0.5]])))
        assert chances[0] > 0.9
        assert chances[1] < 0.1


WORKER = """
import sys
import hpo_plugins as hpo

space = {"width": hpo.Continuous(0, 1), "rate": hpo.Continuous(0, 1)}
tuner = hpo.Tuner(
    space, hpo.Minimize("loss"), strategy=hpo.Hyperband(max_resource=9), max_trials=20, seed=0, storage=sys.argv[1],
    constraints=[hpo.AtMost("latency_ms", 20)], progress="off",
)
for trial in tuner:
    width, rate = trial["width"], trial["rate"]
    for epoch in range(trial.start_epoch + 1, 10):
        loss = (1 - width) ** 2 + abs(rate - 0.3) + 1 / epoch
        if trial.report(epoch, {"loss": loss, "latency_ms": 10 + 40 * width}):
            break
"""


def test_several_processes_share_a_search_with_limits(tmp_path):
    path = tmp_path / "study.db"
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(path)]) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    tuner = hpo.Tuner.load(path)
    assert [t.number for t in tuner.trials] == list(range(20))
    assert tuner.best_trial.values["latency_ms"] <= 20


def test_restart_continues_as_if_never_stopped(tmp_path):
    whole = search(STRATEGIES["hyperband"]())
    for until in (3, 11, 24):
        tuner = hpo.Tuner(
            SPACE, hpo.Minimize("loss"), strategy=STRATEGIES["hyperband"](), constraints=[LIMIT], max_trials=24, seed=0,
            storage=tmp_path / "study.db",
        )  # fmt: skip
        for trial in tuner:
            if trial.number == until:
                break
            train_all(trial)
    assert [t.params for t in tuner.trials] == [t.params for t in whole.trials]
    assert [t.stop_reason for t in tuner.trials] == [t.stop_reason for t in whole.trials]


def test_nothing_feasible_is_told_with_the_nearest():
    tuner = search(constraints=[hpo.AtMost("latency_ms", 9)], trials=6)
    nearest = min(tuner.trials, key=lambda t: t.values["latency_ms"])
    told = f"No feasible trial; nearest is trial {nearest.number}: latency_ms = {nearest.values['latency_ms']:.6g}"
    with pytest.raises(hpo.NothingReported, match=told):
        _ = tuner.best_trial
    assert told in tuner.summary()
    assert tuner.best_trials == ()


def test_nothing_feasible_is_told_if_nothing_was_trained():
    tuner = search(constraints=[hpo.AtMost("model_mb", 1)], trials=7, train=lambda trial: trial.record({"model_mb": 9}))
    assert {t.epochs for t in tuner.trials} == {0}
    with pytest.raises(hpo.NothingReported, match=r"nearest is trial 0: model_mb = 9 \(model_mb <= 1\)"):
        _ = tuner.best_trial


def test_limit_on_a_metric_that_is_never_reported_is_an_error_after_the_first_run(storage):
    tuner = hpo.Tuner(
        SPACE, hpo.Minimize("loss"), constraints=[hpo.AtMost("latency", 20)], max_trials=9, storage=storage
    )
    with pytest.raises(hpo.MetricNotFound, match=r"limited metric 'latency' .*Reported: 'latency_ms', 'loss'.*Did you"):
        for trial in tuner:
            train_all(trial)
    assert [(t.state, t.epochs) for t in tuner.trials] == [(hpo.TrialState.COMPLETED, EPOCHS)]
    assert tuner.trials[0].feasible is None


def test_nan_of_a_limited_metric_does_not_meet_the_limit():
    def broken(trial):
        for epoch in (1, 2):
            trial.report(epoch, {"loss": 1.0, "latency_ms": math.nan if trial.number else 3.0})

    tuner = search(train=broken, trials=3)
    assert [t.feasible for t in tuner.trials] == [True, False, False]
    assert tuner.best_trial.number == 0


def test_objective_may_be_limited():
    tuner = search(hpo.Bayesian(), constraints=[hpo.AtMost("loss", 1.0)], trials=12)
    assert tuner.best_trial.value <= 1.0


def test_two_limits_make_a_range():
    tuner = search(hpo.Bayesian(), constraints=[LIMIT, hpo.AtLeast("latency_ms", 18)], trials=24)
    assert 18 <= tuner.best_trial.values["latency_ms"] <= 20


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (LIMIT, "constraints must be a list of AtMost"),
        ("latency_ms < 3", "constraints must be a list of AtMost"),
        ([hpo.Minimize("a")], "constraints must be a list of AtMost"),
        ([LIMIT, hpo.AtMost("latency_ms", 30)], "latency_ms <= 20 and latency_ms <= 30"),
        ([LIMIT, hpo.AtLeast("latency_ms", 30)], "must leave values to each metric"),
    ],
)
def test_bad_limits_are_named(constraints, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        hpo.Tuner(SPACE, hpo.Minimize("loss"), constraints=constraints)


def test_bad_values_of_limits_are_named():
    with pytest.raises(hpo.InvalidArgument, match="value must be a finite number"):
        hpo.AtMost("latency_ms", math.inf)
    with pytest.raises(hpo.InvalidArgument, match="metric must be a non-empty string"):
        hpo.AtLeast("", 3)


def test_limits_are_part_of_the_definition(tmp_path):
    storage = tmp_path / "study.db"
    search(storage=storage, trials=2)
    with pytest.raises(hpo.StudyMismatch, match="constraints"):
        search(constraints=[hpo.AtMost("latency_ms", 21)], storage=storage, trials=2)
    assert hpo.Tuner.load(storage).constraints == (LIMIT,)


def test_bad_records_are_named():
    tuner = hpo.Tuner(SPACE, hpo.Minimize("loss"), max_trials=1)
    trial = tuner.ask()
    with pytest.raises(hpo.InvalidReport, match="must be one number"):
        trial.record({"model_mb": "3"})
    assert not trial.record({"model_mb": np.float32(3)})
    assert not trial.record({"model_mb": 4, "layers": 2})
    trial.report(1, {"loss": 1})
    trial.end()
    assert tuner.trials[0].recorded == {"model_mb": 4.0, "layers": 2.0}
    assert tuner.trials[0].metrics == {1: {"loss": 1.0}}


def test_violation_grows_from_0_to_1():
    found = hpo.AtMost("a", 10).violation(np.array([9, 10, 15, 1e9, math.inf, math.nan, -math.inf]))
    assert found.tolist() == pytest.approx([0, 0, 1 / 3, 1, 1, 1, 0], abs=1e-6)
    assert hpo.AtLeast("a", 0).violation(np.array([0.0, -1.0])).tolist() == [0, 0.5]


def test_epochs_that_meet_the_limits_count_first():
    losses = np.array([[1.0], [0.5], [0.7]])
    assert row_that_counts(losses, np.zeros((3, 0)), is_last=False) == 1
    assert row_that_counts(losses, np.array([[0.0], [0.2], [0.0]]), is_last=False) == 2
    assert row_that_counts(losses, np.array([[0.3], [0.2], [0.1]]), is_last=False) == 2
    assert row_that_counts(losses, np.array([[0.0], [0.2], [0.1]]), is_last=True) == 2


def test_gradient_of_feasibility_is_its_derivative():
    tuner = search(hpo.Bayesian(), trials=12)
    model = fit_model(seen_by(history_of(tuner), 0, 12), EPOCHS)
    known, points, step = feasibility(model), np.array([[0.2, 0.4], [0.6, 0.7]]), 1e-5
    gradient = known.gradient(points, np.array([0, 1]))
    for column in (0, 1):
        moved = np.eye(2)[column] * step
        slope = (known.log_probability(points + moved) - known.log_probability(points - moved)) / (2 * step)
        assert gradient[:, column] == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_old_definitions_have_no_goals(storage):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("loss"), storage=storage)
    definition = json.dumps(tuner._loop.session.store.definition)
    assert "constraints" not in definition
    assert "further_objectives" not in definition
