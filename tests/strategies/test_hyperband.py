import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.strategies.hyperband import _rungs, first_rung_pays


@pytest.mark.parametrize("power", range(1, 13))
def test_no_rung_is_lost_at_exact_powers(power):
    """floor(log(243, 3)) is 4: rungs come from multiplication."""
    assert _rungs(1, 3**power, 3) == tuple(3**k for k in range(power))


@given(st.integers(1, 50), st.integers(1, 300), st.integers(2, 5))
def test_rungs_lie_between_the_resources(least, more, factor):
    strategy = hpo.Hyperband(min_resource=least, max_resource=least + more, reduction_factor=factor)
    rungs = strategy.rungs
    assert rungs[0] == least
    assert all(later == earlier * factor for earlier, later in itertools.pairwise(rungs))
    assert rungs[-1] < least + more <= rungs[-1] * factor


@given(st.integers(2, 5), st.data())
def test_first_rung_pays_if_it_keeps_what_the_configurations_that_it_spares_would_bring(eta, data):
    """With n epochs of the first rung, it tries n / (1 + (eta - 1) / eta) configurations, without it n / eta."""
    order = data.draw(st.permutations(range(4 * eta)))
    pairs = [(float(rank), float(n)) for n, rank in enumerate(order)]
    kept = sum(rank < 4 for rank in order[:4]) / 4
    assert first_rung_pays(pairs, eta) is (kept / (1 + (eta - 1) / eta) >= 1 / eta)


def losses_to(tuner, *losses):
    """Report constant curves, one a trial; return the epochs that each trained."""
    trained = []
    for loss, trial in zip(losses, tuner, strict=False):
        for epoch in range(1, 100):
            if trial.report(epoch, {"loss": loss}):
                break
        trained.append(epoch)
    return trained


def hyperband(max_trials=None, **arguments):
    return hpo.Tuner(
        {"x": hpo.Continuous(0, 1)},
        hpo.Minimize("loss"),
        strategy=hpo.Hyperband(**arguments),
        seed=0,
        max_trials=max_trials,
    )


def test_training_ends_at_max_resource():
    tuner = hyperband(max_resource=9, max_trials=5)
    assert losses_to(tuner, 1.0, 0.9) == [9, 9]
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED
    assert tuner.trials[0].stop_reason == "reached max_resource=9"


def test_nothing_is_judged_before_min_resource():
    tuner = hyperband(min_resource=4, max_resource=16, reduction_factor=2)
    trained = losses_to(tuner, *[float(n) for n in range(12)])
    assert min(trained) == 4
    assert set(trained) <= {4, 8, 16}


def test_the_worse_stop_at_rungs_with_the_reason():
    tuner = hyperband(max_resource=27, max_trials=10)
    trained = losses_to(tuner, *[float(n) for n in range(10)])
    assert trained[0] == 27
    assert trained[1:] == [1] * 9
    assert tuner.trials[1].state is hpo.TrialState.STOPPED
    assert "rung 1: " in tuner.trials[1].stop_reason
    assert "is rank 10 of 10" in tuner.trials[9].stop_reason


def test_the_best_third_continues():
    order = [5.0, 4.0, 6.0, 3.0, 7.0, 4.5, 8.0, 2.0]
    for limit, least in ((None, 0), (4, 1)):  # with few trials to come, the first continues
        tuner = hyperband(max_resource=9, min_resource=2, max_trials=limit)  # rungs 2 and 6
        trained = losses_to(tuner, *order)
        assert len(trained) == (limit or len(order))
        for number, epochs in enumerate(trained):
            rank = sorted(order[: number + 1]).index(order[number]) + 1
            goes_on = rank <= max(least, (number + 1) // 3)
            assert (epochs > 2) is goes_on, number


def test_none_of_many_continues_before_it_is_compared():
    tuner = hyperband(max_resource=27)
    trained = losses_to(tuner, *[float(-n) for n in range(30)])  # each better than all before
    assert trained[:2] == [3, 3]  # the first rung does not judge yet; at the last one, at 9, the first continues
    assert set(trained[2:]) == {27}
    assert "more results are needed before any continues" in tuner.trials[0].stop_reason


@pytest.mark.parametrize("says_something", [True, False])
@pytest.mark.parametrize("search", ["random", "bayesian"])
def test_the_first_rung_judges_if_it_says_something_about_the_next(says_something, search):
    """Losses at epoch 1 either keep their order, or have an order of their own."""
    tuner = hyperband(max_resource=27, search=search)
    trained = []
    for trial in itertools.islice(tuner, 40):
        own, later = (trial.number * factor % 41 for factor in (7, 12))
        for epoch in range(1, 28):
            if trial.report(epoch, {"loss": 100.0 + own if epoch == 1 and not says_something else float(later)}):
                break
        trained.append(epoch)
    assert min(trained[:6]) == 3
    assert (min(trained) == 1) is says_something


@pytest.mark.parametrize(("limit", "least"), [(None, 9), (20, 1)])
def test_every_trial_is_judged_at_the_first_rung_if_few_come_or_it_is_late(limit, least):
    tuner = hyperband(min_resource=least, max_resource=81, max_trials=limit)
    assert losses_to(tuner, 0.0, 1.0, 2.0, 3.0)[1:] == [least] * 3


def test_maximising_is_the_mirror_image(train):
    def trained(objective, sign):
        tuner = hpo.Tuner(
            {"x": hpo.Continuous(0, 1)}, objective, strategy=hpo.Hyperband(max_resource=27), max_trials=20, seed=0
        )
        for trial in tuner:
            for epoch in range(1, 28):
                if trial.report(epoch, {"m": sign * (trial["x"] + 1 / epoch)}):
                    break
        return [(t.epochs, t.state) for t in tuner.trials]

    assert trained(hpo.Minimize("m"), 1) == trained(hpo.Maximize("m"), -1)


def test_rung_is_judged_when_validation_skips_its_epoch():
    tuner = hyperband(max_resource=27, max_trials=2)
    for _ in range(2):
        trial = tuner.ask()
        stopped_at = next((e for e in range(4, 28, 4) if trial.report(e, {"loss": float(trial.number)})), None)
        trial.end()
    first, second = tuner.trials
    assert first.epochs == 24  # the last of its epochs below 27
    assert second.state is hpo.TrialState.STOPPED
    assert stopped_at == 4


def test_completed_trial_counts_at_later_rungs():
    tuner = hyperband(max_resource=27)
    first = tuner.ask()
    first.report(1, {"loss": 0.0})
    first.end()
    assert losses_to(tuner, 1.0, 1.0, 1.0)[1] in (1, 3, 9)
    assert "best 0" in tuner.trials[2].stop_reason


def train_on(tuner, floors, epochs):
    """Train each trial from where it stands, on curves that fall to its floor; return the epochs each trained."""
    trained = {}
    for trial in tuner:
        for epoch in range(trial.start_epoch + 1, epochs + 1):
            trained.setdefault(trial.number, []).append(epoch)
            if trial.report(epoch, {"loss": floors[trial.number] + 1 / epoch}):
                break
    return trained


def test_pause_promotes_the_best_and_trains_no_epoch_twice(storage):
    floors = [(7 * number) % 30 for number in range(30)]
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)},
        hpo.Minimize("loss"),
        strategy=hpo.Hyperband(max_resource=27, pause=True),
        max_trials=30,
        storage=storage,
    )
    trained = train_on(tuner, floors, 27)
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in trained.values())
    assert {t.state for t in tuner.trials} == {hpo.TrialState.COMPLETED, hpo.TrialState.STOPPED}
    assert max(t.attempts for t in tuner.trials) > 1
    # Every trial that waits to the end at a rung is outside the best third of what came there.
    for trial in tuner.trials:
        if trial.state is hpo.TrialState.STOPPED:
            came = [floors[t.number] for t in tuner.trials if t.epochs >= trial.epochs]
            assert sum(floor < floors[trial.number] for floor in came) >= len(came) // 3


def test_last_paused_trial_is_promoted_to_the_end():
    """Too few for a third to be one: the search still ends with a full training run."""
    strategy = hpo.Hyperband(min_resource=2, max_resource=3, pause=True)
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=strategy, max_trials=1)
    assert train_on(tuner, [0], 3) == {0: [1, 2, 3]}
    assert tuner.trials[0].attempts == 2
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED


def test_description_is_the_rung_table():
    text = hpo.Hyperband(min_resource=2, max_resource=54).describe()
    assert [line.split() for line in text.splitlines()[2:]] == [
        [str(rung), f"1/{share}", "of", "all", "trials"] for rung, share in ((2, 3), (6, 9), (18, 27))
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_resource": 0}, "min_resource must be a whole number of at least 1, but got min_resource=0"),
        ({"max_resource": 2.5}, "max_resource must be a whole number"),
        ({"reduction_factor": 1}, "reduction_factor must be a whole number of at least 2"),
        ({"min_resource": 10, "max_resource": 9}, "min_resource=10 and max_resource=9"),
        ({"search": "grid"}, "search must be .*, but got search='grid'"),
        ({"pause": 1}, "pause must be True or False, but got pause=1"),
    ],
)
def test_bad_resources_are_named(arguments, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        hpo.Hyperband(**arguments)


def test_trials_of_an_identical_parent_count_at_the_rungs():
    space, loss = {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss")
    parent = hpo.Tuner(space, loss, strategy=hpo.Random(), max_trials=6, seed=0)
    for trial in parent:
        for epoch in range(1, 4):
            trial.report(epoch, {"loss": 0.0})
    tuner = hpo.Tuner(
        space,
        loss,
        strategy=hpo.Hyperband(max_resource=9),
        max_trials=1,
        warm_start=hpo.WarmStart([parent], identical=True),
    )
    assert train_on(tuner, [5], 9) == {0: [1]}
    assert "rank 7 of 7" in tuner.trials[0].stop_reason


@pytest.mark.parametrize(("limit", "n_random"), [(None, 27), (20, 4), (40, 8), (150, 27)])
def test_surrogate_chooses_after_random_draws(limit, n_random):
    tuner = hyperband(max_resource=27, max_trials=limit)
    random = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Random(), seed=0, max_trials=limit
    )
    losses_to(tuner, *[float(n) for n in range(n_random + 4)])
    losses_to(random, *[float(n) for n in range(n_random + 4)])
    same = [ours.params == theirs.params for ours, theirs in zip(tuner.trials, random.trials, strict=True)]
    assert tuner.trials[0].params == {"x": 0.5}  # the centre comes first
    assert same[1:n_random] == [True] * (n_random - 1)
    assert not all(same[n_random:])  # draws have their turns among them


def test_surrogate_learns_from_trials_that_ended_after_one_epoch():
    from hpo_plugins.modeling.observations import observe

    tuner = hyperband(max_resource=27)
    losses_to(tuner, *[float(n) for n in range(5)])
    observed = observe(tuner.history, 27)
    assert set(observed.trial) == set(range(5))
    trial = tuner.ask()
    trial.report(1, {"loss": 0.0})  # it may still be trained: its first epoch says little
    assert set(observe(tuner.history, 27).trial) == set(range(5))
