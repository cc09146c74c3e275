"""A training run that repeats an earlier one exactly is stopped; one that is equal by accident is not."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.history import History
from hpo_plugins.records import ReportRow, TrialRow
from hpo_plugins.space import Space
from hpo_plugins.strategies.repeats import MIN_PROVED, N_COMPARED, stop_of_repeat

SPACE = {"x": hpo.Continuous(0, 1)}
LOSS = hpo.Minimize("loss")
STRATEGIES = [
    hpo.Hyperband(max_resource=27),
    hpo.Hyperband(max_resource=27, search="random"),
    hpo.Hyperband(max_resource=27, pause=True),
    hpo.Bayesian(max_resource=27, pause=True),
]


def search(strategy, losses_of, objective=LOSS, max_trials=30, **goals):
    """Train every trial on ``losses_of(params)``, one value per epoch; return the trials."""
    tuner = hpo.Tuner(SPACE, objective, strategy=strategy, seed=0, max_trials=max_trials, **goals)
    for trial in tuner:
        for epoch, loss in list(enumerate(losses_of(trial.params), 1))[trial.start_epoch :]:
            if trial.report(epoch, {"loss": loss, "size": trial.params["x"]}):
                break
    return tuner.trials


def repeats(trials):
    return [trial for trial in trials if (trial.stop_reason or "").startswith("repeats an earlier trial")]


def flat_below(params):
    return [max(params["x"], 0.2) + 1 / epoch for epoch in range(1, 28)]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_where_a_parameter_changes_nothing_few_training_runs_are_paid(strategy):
    points = [{"x": 1 - 0.05 * n} for n in range(10)]
    trials = search(strategy, flat_below, points_to_evaluate=points, max_trials=60)
    flat = [trial for trial in trials if trial.params["x"] <= 0.2]
    assert len(flat) > MIN_PROVED + 2
    assert repeats(trials)
    assert sum(trial.epochs > 3 for trial in flat) <= 2 * (1 + MIN_PROVED)
    assert all(trial.params["x"] <= 0.2 and trial.state is hpo.TrialState.STOPPED for trial in repeats(trials))


PROOF = [[3.0 - epoch / N_COMPARED for epoch in range(N_COMPARED)]] * (1 + MIN_PROVED)
"""Curves that were equal, and stayed so."""
MANY = [[float(n)] for n in range(4, 14)]
"""Different first values."""


def test_the_reason_names_the_earlier_trial():
    history = history_of([*PROOF, *MANY, [2.0, 0.5], [2.0, 0.5]])
    number = len(history) - 1
    assert stop_of_repeat(history, number).reason == (
        f"repeats an earlier trial: its 2 values are exactly those of trial {number - 1}"
    )


def test_equal_values_are_no_proof_that_later_ones_are_equal():
    """A penalty of boosting matters in late rounds only."""
    assert stop_of_repeat(history_of([*MANY, [2.0, 0.5], [2.0, 0.5]]), 11) is None
    late = [[*PROOF[0], 1.5 - n] for n in range(2)]
    history = history_of([*late, *PROOF, *MANY, [2.0, 0.5], [2.0, 0.5]])
    assert stop_of_repeat(history, len(history) - 1) is None
    late = [[2.0, 1.9, 1.8, 1.7, 1.6, 1.5 - n] for n in range(2)]
    assert stop_of_repeat(history_of([*PROOF, *MANY, *late, [2.0, 1.9]]), len(PROOF) + len(MANY) + 2) is None


def test_if_no_parameter_reaches_the_training_nothing_is_stopped():
    """All curves are the same then, and nothing tells how likely that is."""
    assert not repeats(search(hpo.Hyperband(max_resource=27), lambda _: [1 / epoch for epoch in range(1, 28)]))


@pytest.mark.parametrize(
    "goals",
    [
        {"objective": [hpo.Minimize("loss"), hpo.Minimize("size")]},
        {"objective": hpo.Minimize("loss"), "constraints": [hpo.AtMost("size", 0.9)]},
    ],
    ids=["two objectives", "limit"],
)
def test_other_metrics_of_an_equal_curve_may_differ(goals):
    assert not repeats(search(hpo.Hyperband(max_resource=27), flat_below, **goals))


def history_of(curves):
    history = History(Space(SPACE), LOSS)
    for number, losses in enumerate(curves):
        params = {"x": number / len(curves)}
        history.put_trial(TrialRow(number, params, hpo.TrialState.RUNNING, 1, 0, "worker", None, 0.0))
        for epoch, loss in enumerate(losses, 1):
            history.put_report(ReportRow(number, 1, epoch, loss, {"loss": loss}, 0.0))
    return history


def shared(one, other):
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=N_COMPARED + 2), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, N_COMPARED + 2)), min_size=2, max_size=14),
    st.booleans(),
)
def test_it_is_stopped_if_the_study_proves_that_so_many_equal_values_stay_equal(templates, lengths, has_proof):
    curves = [templates[index % len(templates)][:length] for index, length in lengths]
    curves = [*(list(curve) for curve in (PROOF if has_proof else [])), *curves]
    history = history_of(curves)
    seen = [curve[:N_COMPARED] for curve in curves]
    pairs = [(shared(one, other), one, other) for one, other in itertools.combinations(seen, 2)]
    longest = max((n for n, one, other in pairs if n < min(len(one), len(other))), default=0)
    firsts, proved = {}, 0
    for curve in curves:
        start = tuple(curve[:N_COMPARED])
        if len(start) == N_COMPARED and len(set(start)) > 1 and (first := firsts.setdefault(start, curve)) is not curve:
            stays_equal = shared(first, curve) == min(len(first), len(curve))
            proved += stays_equal
            longest = longest if stays_equal else N_COMPARED
    different = len({curve[0] for curve in curves if curve})
    for number, own in enumerate(curves):
        expected = (
            max(2, 2 * longest + 1) <= len(own) <= N_COMPARED
            and proved >= MIN_PROVED
            and different ** len(own) >= 100
            and len(set(own)) > 1
            and any(earlier[: len(own)] == own for earlier in curves[:number])
        )
        assert (stop_of_repeat(history, number) is not None) == expected


def test_of_two_that_run_side_by_side_the_first_goes_on():
    history = history_of([[], [1.0, 0.5], *MANY, *PROOF])
    assert stop_of_repeat(history, 1) is None
    for epoch, loss in enumerate([1.0, 0.5], 1):
        history.put_report(ReportRow(0, 1, epoch, loss, {"loss": loss}, 0.0))
    assert stop_of_repeat(history, 0) is None
    assert stop_of_repeat(history, 1) is not None


def test_the_curve_of_a_failed_trial_is_trained_again():
    history = history_of([[1.0, 0.5], [1.0, 0.5], *MANY, *PROOF])
    assert stop_of_repeat(history, 1) is not None
    history.put_trial(TrialRow(0, {"x": 0.0}, hpo.TrialState.FAILED, 1, 0, "worker", None, 0.0))
    assert stop_of_repeat(history, 1) is None
