"""Several training definitions in one search."""

import collections
import itertools

import numpy as np
import pytest

import hpo_plugins as hpo
from hpo_plugins.space import DefinitionSpace, Space, TrainingDefinition
from hpo_plugins.strategies import MaxUCB, Strategy
from hpo_plugins.strategies.max_ucb import upper_bounds
from hpo_plugins.study.stored import from_json, to_json

A = TrainingDefinition("a", Space({"x": hpo.Continuous(0, 1)}, {"rounds": "5"}), hpo.Minimize("loss-a"))
B = TrainingDefinition(
    "b", Space({"x": hpo.Continuous(0, 1), "k": hpo.Categorical(["p", 1, True])}), hpo.Minimize("loss-b")
)
SPACE = DefinitionSpace([A, B])
STRATEGIES = {
    "Random": hpo.Random,
    "Bayesian, pausing": lambda: hpo.Bayesian(max_resource=9, pause=True),
    "Hyperband": lambda: hpo.Hyperband(max_resource=9, search="random"),
    "Hyperband, pausing": lambda: hpo.Hyperband(max_resource=9, pause=True, search="random"),
}
every_strategy = pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)


def search(make, space=SPACE, *, worse="b", by=0.3, until=None, **arguments):
    """Search to the end, or until so many trials were handed out."""
    strategy = MaxUCB({name: make() for name in space.definitions})
    tuner = hpo.Tuner(space, A.objective, strategy=strategy, **{"seed": 0, "max_trials": 40} | arguments)
    for handed, trial in enumerate(tuner):
        if handed == until:
            break  # before a report: it is given back
        loss = abs(trial["x"] - 0.3) + (by if trial.definition == worse else 0.0)
        for epoch in range(trial.start_epoch + 1, 10):
            if trial.report(epoch, {trial.objective.metric: loss + 1 / epoch}):
                break
    return tuner


# The space.


@pytest.mark.parametrize(("name", "params"), [("a", {"x": 0.25}), ("b", {"x": 0.75, "k": True})])
def test_configurations_go_to_the_cube_and_back(name, params):
    configuration = SPACE.definitions[name].qualify(SPACE.definitions[name].space.fixed | params)
    assert SPACE.definition_of(configuration) == name
    assert SPACE.params_of(configuration) == SPACE.definitions[name].space.fixed | params
    point = SPACE.encode(configuration)
    assert point.shape == (5,)  # the fixed value is a parameter of one value
    assert SPACE.decode(point) == configuration
    assert Space.key(SPACE.decode(point)) == Space.key(configuration)


def test_coordinates_of_other_definitions_rest():
    assert list(SPACE.encode(A.qualify({"x": 0.0}))) == [0.25, 0.0, 0.5, 0.5, 0.5]


def test_json_round_trip():
    again = from_json(to_json(SPACE), Space)
    assert to_json(again) == to_json(SPACE)
    assert list(again.definitions.values()) != []
    assert to_json(from_json(to_json(B.space), Space)) == to_json(B.space)


def test_finite_unions_are_counted_one_after_the_other():
    first = TrainingDefinition("a", Space({"k": hpo.Categorical(["x", "y"])}), A.objective)
    second = TrainingDefinition("b", Space({"n": hpo.Integer(1, 3)}), A.objective)
    union = DefinitionSpace([first, second])
    assert union.size == 5
    assert SPACE.size is None
    found = [union.at_index(index) for index in range(5)]
    assert len({Space.key(configuration) for configuration in found}) == 5
    assert [union.definition_of(configuration) for configuration in found] == ["a", "a", "b", "b", "b"]
    with pytest.raises(hpo.InvalidArgument, match="index must be from 0 to 4"):
        union.at_index(5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DefinitionSpace([A, A]), r"definitions must have different names, but got \['a', 'a'\]"),
        (lambda: TrainingDefinition("a.b", A.space, A.objective), "name must be a non-empty string without dots"),
        (
            lambda: DefinitionSpace([A, TrainingDefinition("c", A.space, hpo.Maximize("auc"))]),
            "definitions must all minimise or all maximise, .* a: Minimize.*, c: Maximize",
        ),
        (lambda: hpo.Tuner(SPACE, A.objective, strategy=MaxUCB({"a": hpo.Random()})), "must have the definitions"),
        (
            lambda: hpo.Tuner(SPACE, A.objective, strategy=MaxUCB({"a": hpo.Random(), "b": hpo.Grid()})),
            "Grid needs categorical parameters",
        ),
        (
            lambda: hpo.Tuner(
                SPACE,
                A.objective,
                strategy=MaxUCB(dict.fromkeys("ab", hpo.Random())),
                warm_start=[search(hpo.Random)],
            ),
            "warm_start must have parents with one training definition, but 'default' has 2: a, b",
        ),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        make()


# The search.


@every_strategy
def test_trials_have_their_definitions_parameters_and_metric(make, storage):
    tuner = search(make, storage=storage, max_trials=8)
    for record in tuner.trials:
        assert set(record.params) == ({"x", "rounds"} if record.definition == "a" else {"x", "k"})
        assert set(record.metrics[1]) == {f"loss-{record.definition}"}
    assert [t.number for t in tuner.trials] == list(range(8))
    assert f"of {tuner.best_trial.definition!r}, loss-{tuner.best_trial.definition} =" in tuner.summary()


@every_strategy
@pytest.mark.parametrize("worse", ["a", "b"])
def test_the_better_definition_gets_most_trials(make, worse):
    counts = collections.Counter(t.definition for t in search(make, worse=worse, by=1.0).trials)
    assert counts[worse] < 10
    assert sum(counts.values()) == 40


@every_strategy
def test_equal_definitions_share(make):
    counts = collections.Counter(t.definition for t in search(make, by=0.0, max_trials=60).trials)
    assert min(counts.values()) >= 5


@every_strategy
def test_restart_continues_as_if_never_stopped(make, tmp_path):
    whole = search(make).trials
    for until in (5, 12, None):
        again = search(make, storage=tmp_path / "a.db", until=until)
    assert [(t.definition, t.params) for t in again.trials] == [(t.definition, t.params) for t in whole]
    loaded = hpo.Tuner.load(tmp_path / "a.db")
    assert loaded.trials == again.trials
    assert loaded.study == again.study


def test_grids_are_finished_one_and_all():
    space = DefinitionSpace(
        [
            TrainingDefinition("a", Space({"k": hpo.Categorical([1, 2]), "x": hpo.Categorical([0.1])}), A.objective),
            TrainingDefinition("b", Space({"x": hpo.Categorical([0.3, 0.5, 0.7])}), B.objective),
        ]
    )
    tuner = search(hpo.Grid, space, max_trials=None)
    assert tuner.stop_reason == "space exhausted: all 5 configurations have been tried"
    assert collections.Counter(t.definition for t in tuner.trials) == {"a": 2, "b": 3}
    with pytest.raises(hpo.InvalidArgument, match="number of combinations of all definitions, 5, with Grid"):
        search(hpo.Grid, space, max_trials=4)


def test_workers_spread_over_definitions_before_any_result():
    strategy = MaxUCB(dict.fromkeys("ab", hpo.Random()))
    tuner = hpo.Tuner(SPACE, A.objective, strategy=strategy, max_trials=8, seed=0)
    counts = collections.Counter(tuner.ask().definition for _ in range(8))
    assert counts == {"a": 4, "b": 4}


def test_same_spaces_draw_different_configurations():
    space = DefinitionSpace([TrainingDefinition(name, B.space, B.objective) for name in "ab"])
    trials = search(hpo.Random, space, max_trials=10).trials
    assert len({t.params["x"] for t in trials}) == 10


def test_missing_metric_is_named_for_the_definition():
    tuner = hpo.Tuner(SPACE, A.objective, strategy=MaxUCB(dict.fromkeys("ab", hpo.Random())), max_trials=2, seed=0)
    first, second = tuner.ask(), tuner.ask()
    for trial in (first, second):
        with pytest.raises(hpo.MetricNotFound, match=f"'loss-{trial.definition}' was not reported"):
            trial.report(1, {"loss": 1.0})


def test_max_ucb_json_round_trip():
    portfolio = MaxUCB({"a": hpo.Hyperband(max_resource=9), "b": hpo.Random()})
    assert from_json(to_json(portfolio), Strategy) == portfolio
    assert "a: Hyperband" in portfolio.describe()
    assert portfolio.max_resource is None


# The division.


def test_untried_definitions_come_first():
    bounds = upper_bounds({"a": [1.0], "b": []}, {"a": 1, "b": 0})
    assert bounds["b"] > bounds["a"]


def test_scale_and_shift_of_losses_change_nothing():
    rng = np.random.default_rng(0)
    losses = {name: list(rng.normal(size=7)) for name in "abc"}
    counts = {"a": 7, "b": 9, "c": 7}
    moved = {name: [3.0 * loss + 5.0 for loss in of_one] for name, of_one in losses.items()}
    for name, bound in upper_bounds(losses, counts).items():
        assert bound == pytest.approx(upper_bounds(moved, counts)[name])


def test_more_trials_without_a_better_result_lower_the_bound():
    bounds = [
        upper_bounds({"a": [1.0] * count, "b": [0.0, 2.0]}, {"a": count, "b": 2})["a"] for count in (1, 2, 4, 8, 16)
    ]
    assert all(later < earlier for earlier, later in itertools.pairwise(bounds))
