"""What every strategy must do. A new one joins with one line in FACTORIES."""

import json

import pytest
from support import is_value_of

import hpo_plugins as hpo
from hpo_plugins.space import Space
from hpo_plugins.strategies import Strategy
from hpo_plugins.study.stored import from_json, to_json

FINITE = {"a": hpo.Categorical(["x", "y", "z"]), "b": hpo.Categorical([True, 1, 1.0, None])}
FACTORIES = {
    "Grid": hpo.Grid,
    "Random": hpo.Random,
    "Hyperband": lambda: hpo.Hyperband(max_resource=9),
    "Hyperband, random": lambda: hpo.Hyperband(max_resource=9, search="random"),
    "Hyperband, pause": lambda: hpo.Hyperband(max_resource=9, pause=True),
    "Bayesian": hpo.Bayesian,
    "Bayesian, stop": lambda: hpo.Bayesian(max_resource=9),
    "Bayesian, pause": lambda: hpo.Bayesian(max_resource=9, pause=True),
}
every_strategy = pytest.mark.parametrize("make", FACTORIES.values(), ids=FACTORIES)
on_ranges = pytest.mark.parametrize("make", [f for name, f in FACTORIES.items() if name != "Grid"])
random_draws = pytest.mark.parametrize("make", [FACTORIES["Random"], FACTORIES["Hyperband, random"]])


def run(tuner, epochs=9, until=None):
    for trial in tuner:
        if trial.number == until:
            break  # before a report: the trial is given back
        loss = len(json.dumps(trial.params)) + 0.1 * trial.number
        for epoch in range(trial.start_epoch + 1, epochs + 1):
            if trial.report(epoch, {"loss": loss + 1 / epoch}):
                break
    return [t.params for t in tuner.trials]


@every_strategy
def test_finite_space_is_exhausted_without_a_repeat(make):
    tuner = hpo.Tuner(FINITE, hpo.Minimize("loss"), strategy=make(), seed=3)
    configurations = run(tuner)
    assert len(configurations) == len({Space.key(c) for c in configurations}) == 12
    assert tuner.done
    assert tuner.ask() is None
    assert tuner.stop_reason == "space exhausted: all 12 configurations have been tried"


@every_strategy
def test_restart_continues_as_if_never_stopped(make, tmp_path):
    whole = run(hpo.Tuner(FINITE, hpo.Minimize("loss"), strategy=make(), seed=0))
    database = tmp_path / "study.db"
    arguments = {"strategy": make(), "seed": 0, "storage": database}
    for until in (2, 5, 9):
        run(hpo.Tuner(FINITE, hpo.Minimize("loss"), **arguments), until=until)
    assert run(hpo.Tuner(FINITE, hpo.Minimize("loss"), **arguments)) == whole


@on_ranges
def test_seed_fixes_every_suggestion(make, space):
    def configurations(seed):
        return run(hpo.Tuner(space, hpo.Minimize("loss"), strategy=make(), seed=seed, max_trials=8))

    assert configurations(0) == configurations(0)
    assert configurations(0) != configurations(1)


@on_ranges
def test_suggestions_are_inside_the_space(make, space):
    for params in run(hpo.Tuner(space, hpo.Minimize("loss"), strategy=make(), max_trials=20)):
        assert all(is_value_of(space[name], value) for name, value in params.items())


@random_draws
def test_draws_do_not_depend_on_results(make, space):
    """With many workers, too: every trial is asked for before the first reports."""
    sequential = run(hpo.Tuner(space, hpo.Minimize("loss"), strategy=make(), seed=5, max_trials=10))
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=make(), seed=5, max_trials=10)
    assert [tuner.ask().params for _ in range(10)] == sequential
    assert tuner.ask() is None
    assert not tuner.done


@every_strategy
def test_json_round_trip(make):
    strategy = make()
    assert from_json(json.loads(json.dumps(to_json(strategy))), Strategy) == strategy


@every_strategy
def test_description_names_the_strategy(make):
    assert type(make()).__name__ in make().describe()


@on_ranges
def test_budget_is_exact(make, space):
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=make(), max_trials=7)
    assert len(run(tuner)) == 7
    assert [t.number for t in tuner.trials] == list(range(7))
    assert tuner.stop_reason == "max_trials=7 have been started"
