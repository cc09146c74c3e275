import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.history import Curve, History, Ranking
from hpo_plugins.records import Changes, ReportRow, TrialRow, TrialState
from hpo_plugins.space import Space

reports = st.lists(st.tuples(st.integers(1, 30), st.floats(-1e6, 1e6)), min_size=1, max_size=60)


@given(reports)
def test_curve_equals_its_slow_twin(reports):
    curve, twin = Curve(), {}
    for epoch, loss in reports:
        curve.put(epoch, loss, 0.0)
        twin[epoch] = loss
    assert dict(zip(curve.epochs, curve.losses, strict=True)) == dict(sorted(twin.items()))
    for epoch in range(32):
        seen = [loss for e, loss in sorted(twin.items()) if e <= epoch]
        assert curve.loss(epoch, at="best") == min(seen, default=None)
        assert curve.loss(epoch, at="last") == (seen[-1] if seen else None)
        assert curve.running_mean(epoch) == (
            pytest.approx(statistics.fmean(seen), abs=1e-6) if seen and epoch <= max(twin) else None
        )
        assert curve.reached(epoch) == (max(twin) >= epoch)
        assert curve.last_epoch_until(epoch) == max((e for e in twin if e <= epoch), default=None)
        before = max((e for e in twin if e < epoch), default=0)
        assert curve.milestone_passed(epoch, (2, 5, 9)) == max(
            (m for m in (2, 5, 9) if before < m <= epoch), default=None
        )


@given(st.dictionaries(st.integers(1, 30), st.floats(-1e6, 1e6), min_size=1), st.randoms(use_true_random=False))
def test_curve_order_of_epochs_is_irrelevant(losses, random):
    shuffled = list(losses.items())
    random.shuffle(shuffled)
    one, other = Curve(), Curve()
    for epoch, loss in sorted(losses.items()):
        one.put(epoch, loss, 0.0)
    for epoch, loss in shuffled:
        other.put(epoch, loss, 0.0)
    assert list(one.losses) == list(other.losses)
    assert list(one._best) == list(other._best)


def history_with(*values, objective=None):
    history = History(Space({"x": hpo.Continuous(0, 1)}), objective or hpo.Minimize("loss"))
    row = TrialRow(0, {"x": 0.5}, TrialState.RUNNING, 1, 0, "w", 0.0, 0.0)
    rows = [ReportRow(0, 1, e, v, f'{{"loss": {v}}}', 0.0) for e, v in enumerate(values, start=1)]
    changes = Changes(len(rows) + 1, 1, 0.0, [row], rows)
    history.apply(changes)
    return history, changes


def test_applying_changes_twice_is_idempotent():
    history, changes = history_with(3.0, 1.0, 2.0)
    before = history.record(0)
    history.apply(changes)
    assert history.record(0) == before
    assert len(history) == 1


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        (hpo.Minimize("loss"), 1.0),
        (hpo.Minimize("loss", at="last"), 2.0),
        (hpo.Maximize("loss"), 3.0),
        (hpo.Maximize("loss", at="last"), 2.0),
    ],
)
def test_value_is_the_best_or_the_last_epoch(objective, value):
    history, _ = history_with(3.0, 1.0, 2.0, objective=objective)
    assert history.record(0).value == value == objective.value_of(history.record(0).curve)


def test_later_attempt_overrides_epochs_and_keeps_the_others():
    history, _ = history_with(3.0, 1.0, 2.0)
    history.put_trial(TrialRow(0, {"x": 0.5}, TrialState.RUNNING, 2, 1, "w", 0.0, 0.0))
    history.put_report(ReportRow(0, 2, 1, 5.0, '{"loss": 5.0}', 0.0))
    assert history.record(0).curve == {1: 5.0, 2: 1.0, 3: 2.0}
    assert history.record(0).metrics[1] == {"loss": 5.0}
    assert history[0].last_epoch == 1


def test_metrics_keep_what_json_lacks():
    history, _ = history_with()
    history.put_report(ReportRow(0, 1, 1, None, '{"loss": "nan", "grad": "inf"}', 0.0))
    metrics = history.record(0).metrics[1]
    assert metrics["loss"] != metrics["loss"]
    assert metrics["grad"] == float("inf")
    assert history.record(0).curve == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hpo.Minimize(""), "metric must be a non-empty string"),
        (lambda: hpo.Maximize(None), "metric must be a non-empty string, but got metric=None"),
        (lambda: hpo.Minimize("loss", at="first"), "at must be 'best' or 'last', but got at='first'"),
    ],
)
def test_bad_objectives_are_named(make, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        make()


@given(
    st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(-3, 3).map(float)), max_size=40),
    st.lists(st.integers(-3, 3).map(float), max_size=4),
)
def test_ranking_equals_its_slow_twin(changes, others):
    twin = {}
    ranking = Ranking(twin.get, others)
    for trial, number in changes:
        twin[trial] = number
        ranking.update([trial])
        known = {each: value for each, value in twin.items() if value is not None}
        assert len(ranking) == len(known) + len(others)
        for each in range(6):
            assert ranking.of(each) == known.get(each)
            rest = sorted([*others, *(value for other, value in known.items() if other != each)])
            assert list(ranking.without([each])) == rest
            assert ranking.smallest(but=each) == min(rest, default=None)
        assert ranking.rank(0.0) == 1 + sum(value < 0 for value in [*others, *known.values()])


def test_ranking_follows_reports_and_ends():
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0)
    trials = [tuner.ask() for _ in range(3)]

    def best():
        history = tuner.history
        return history.ranking("best", history.loss)

    for number, trial in enumerate(trials):
        assert len(best()) == number
        trial.report(1, {"loss": float(number)})
        trial.report(2, {"loss": -float(number)})
        assert best().of(number) == -float(number)
    trials[2].report(3, {"loss": -9.0})
    assert list(best().without([])) == [-9.0, -1.0, 0.0]
    trials[2].fail("no")
    assert list(best().without([])) == [-1.0, 0.0]


def test_numbers_per_trial_are_as_if_computed_anew():
    """The slow twin: after any changes, the maintained data equal those computed from all trials."""
    from hpo_plugins.history.columns import column
    from hpo_plugins.modeling.observations import Observations, _curve, observe_curves

    rng = np.random.default_rng(0)
    strategy = hpo.Hyperband(max_resource=9, search="random", pause=True)
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=strategy, max_trials=150, seed=0)
    seconds = lambda trial: trial.curve.seconds[-1] if len(trial.curve) else None  # noqa: E731
    for trial in tuner:
        for epoch in range(trial.start_epoch + 1, 10):
            stop = trial.report(epoch, {"loss": rng.random()})
            if rng.random() < 0.05:
                history = tuner.history
                anew = [math.nan if (n := seconds(each)) is None else n for each in history]
                np.testing.assert_array_equal(column(history, "seconds", seconds), anew)
                rows = Observations.of([row for each in history for row in _curve(history, each, 9)])
                for ours, theirs in zip(observe_curves(history, 9), rows, strict=True):
                    np.testing.assert_array_equal(ours, theirs)
                np.testing.assert_array_equal(history.points(), [each.point for each in history])
            if stop:
                break
