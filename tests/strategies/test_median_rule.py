import statistics

import numpy as np
import pytest

import hpo_plugins as hpo


def run(curves, **arguments):
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)},
        hpo.Minimize("loss"),
        strategy=hpo.Random(),
        early_stopping=hpo.MedianRule(**arguments),
    )
    trained = []
    for curve, trial in zip(curves, tuner, strict=False):
        stopped = next((e for e, v in enumerate(curve, start=1) if trial.report(e, {"loss": v})), len(curve))
        trained.append(stopped)
    return trained, tuner.trials


def slow_twin(curves):
    """The guide's words, one by one, on the curves as they were cut."""
    seen, trained = [], []
    for curve in curves:
        for epoch, current in enumerate(curve, start=1):
            averages = [statistics.fmean(c[:epoch]) for c in seen if len(c) >= epoch]
            if averages and current > statistics.median(averages):
                break
        seen.append(curve[:epoch])
        trained.append(epoch)
    return trained


@pytest.mark.parametrize("seed", range(5))
def test_rule_equals_its_slow_twin(seed):
    curves = np.random.default_rng(seed).normal(1, 0.3, (25, 10)).cumsum(axis=1)[:, ::-1].tolist()
    assert run(curves)[0] == slow_twin(curves)


def test_current_value_counts_not_the_best():
    (_, second), trials = run([[1.0, 1.0, 1.0], [0.1, 0.1, 2.0]])
    assert second == 3
    assert trials[1].value == 0.1
    assert trials[1].stop_reason == (
        "median rule: 2 at epoch 3 is worse than 1, the median of the running averages of 1 earlier trials"
    )


def test_value_equal_to_the_median_continues():
    assert run([[1.0, 1.0], [1.0, 1.0]])[0] == [2, 2]


def test_rule_rests_at_first_when_told_to():
    curves = [[1.0] * 6, [1.0] * 6, [2.0] * 6, [2.0] * 6]
    assert run(curves)[0] == [6, 6, 1, 1]
    assert run(curves, min_epochs=4)[0] == [6, 6, 4, 4]
    assert run(curves, min_trials=3)[0] == [6, 6, 6, 1]


def test_rule_beside_hyperband_is_an_error():
    with pytest.raises(hpo.InvalidArgument, match="early_stopping must be None with Hyperband"):
        hpo.Tuner(
            {"x": hpo.Continuous(0, 1)},
            hpo.Minimize("loss"),
            strategy=hpo.Hyperband(max_resource=9),
            early_stopping=hpo.MedianRule(),
        )


@pytest.mark.parametrize("arguments", [{"min_trials": 0}, {"min_epochs": 1.5}])
def test_bad_arguments_are_named(arguments):
    (name,) = arguments
    with pytest.raises(hpo.InvalidArgument, match=f"{name} must be a whole number of at least 1"):
        hpo.MedianRule(**arguments)


def test_identical_parents_are_earlier_trials():
    space, objective = {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss")
    parent = hpo.Tuner(space, objective, max_trials=3)
    for trial in parent:
        trial.report(1, {"loss": float(trial.number)})
    for identical in (True, False):
        warm_start = hpo.WarmStart([parent], identical=identical)
        tuner = hpo.Tuner(space, objective, early_stopping=hpo.MedianRule(), warm_start=warm_start)
        assert tuner.ask().report(1, {"loss": 1.5}) is identical  # the median is 1
