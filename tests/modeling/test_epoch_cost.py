"""The cost of epochs: measured if they take long enough, predicted for untried configurations."""

import numpy as np
import pytest
from support import session_of

import hpo_plugins as hpo
from hpo_plugins.history import History
from hpo_plugins.modeling import epoch_cost
from hpo_plugins.records import Changes, ReportRow, TrialRow, TrialState
from hpo_plugins.space import Space


def made_history(paces, startup=0.0):
    """Trials of three epochs each, at these paces, each after so many seconds of starting up."""
    history = History(Space({"x": hpo.Continuous(0, 1)}), hpo.Minimize("loss"))
    for number, seconds in enumerate(paces):
        row = TrialRow(number, {"x": number / 10}, TrialState.COMPLETED, 1, 0, "w", 0.0, 0.0)
        reports = [ReportRow(number, 1, e, 1.0 / e, {"loss": 1.0 / e}, startup + e * seconds) for e in (1, 2, 3)]
        history.apply(Changes(number + 1, number + 1, 0.0, [row], reports))
    return history


def test_cost_is_seconds_of_training_per_epoch():
    assert epoch_cost.seconds_per_epoch(made_history([2.0, 4.0, 6.0], startup=5.0)) == pytest.approx(
        {0: 2.0, 1: 4.0, 2: 6.0}
    )


def test_epochs_too_fast_to_time_cost_the_same():
    assert epoch_cost.seconds_per_epoch(made_history([1e-4, 4e-4, 9e-4])) == {}
    assert epoch_cost.startup_epochs(made_history([1e-4] * 3, startup=5.0), {}) == 0


@pytest.mark.parametrize(("startup", "epochs"), [(0.0, 0), (0.8, 0), (2.0, 1), (6.0, 4), (30.0, 16)])
def test_startup_is_counted_in_rounded_epochs(startup, epochs):
    history = made_history([2.0] * 4, startup=startup)
    assert epoch_cost.startup_epochs(history, epoch_cost.seconds_per_epoch(history)) == epochs


def test_costs_of_new_configurations_are_predicted():
    """Pace doubles every 0.1: known trials keep their own, new ones follow the trend, inside what was seen."""
    paces = {n: 2.0**n for n in range(8)}
    known = np.arange(8)[:, None] / 10
    points = np.array([[0.3], [0.35], [0.9]])
    found = epoch_cost.relative_epoch_cost(paces, known, points, [3, None, None])
    mean = np.mean(list(paces.values()))
    assert found[0] == pytest.approx(8 / mean)
    assert 4 / mean < found[1] < 24 / mean
    assert found[2] <= 128 / mean + 1e-9


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(
            lambda cost: hpo.Bayesian(max_resource=27, pause=True, cost=cost), id="bayesian", marks=pytest.mark.full
        ),
        pytest.param(lambda cost: hpo.Hyperband(max_resource=27, cost=cost), id="hyperband"),
    ],
)
def test_slow_epochs_are_avoided_when_seconds_count(strategy):
    """Two kinds of training runs, equally good, one ten times slower: most epochs go to the fast one."""

    def slow_epochs(cost, seed):
        clock = [0.0]
        tuner = hpo.Tuner(
            {"x": hpo.Continuous(0, 1), "slow": hpo.Categorical([False, True])},
            hpo.Minimize("loss"),
            strategy=strategy(cost),
            max_trials=30,
            seed=seed,
        )
        session_of(tuner).clock = lambda: clock[0]
        count = {True: 0, False: 0}
        for _ in range(60):
            trial = tuner.ask()
            if trial is None:
                break
            for epoch in range(trial.start_epoch + 1, 28):
                clock[0] += 10.0 if trial["slow"] else 1.0
                count[trial["slow"]] += 1
                if trial.report(epoch, {"loss": abs(trial["x"] - 0.4) + 1 / epoch}):
                    break
            trial.end()
        return count[True] / (count[True] + count[False])

    assert slow_epochs("auto", 0) == slow_epochs("seconds", 0)
    mean = {cost: np.mean([slow_epochs(cost, seed) for seed in range(3)]) for cost in ("seconds", "epochs")}
    assert mean["seconds"] < 0.9 * mean["epochs"]


@pytest.mark.parametrize(("paces", "counts"), [([2.0, 2.1, 2.2, 2.4], False), ([1.0, 2.0, 2.0, 3.0], True)])
def test_seconds_count_if_they_differ(paces, counts):
    seconds = epoch_cost.seconds_per_epoch(made_history(paces))
    assert epoch_cost.counts_seconds("auto", seconds) is counts
    assert epoch_cost.counts_seconds("seconds", seconds)
    assert not epoch_cost.counts_seconds("epochs", seconds)
    assert not epoch_cost.counts_seconds("auto", {})
