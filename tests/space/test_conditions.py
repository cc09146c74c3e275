"""Conditional parameters: ``when={"parent": value}``."""

import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins._fields import evolve
from hpo_plugins.history import History
from hpo_plugins.space import Space
from hpo_plugins.space.sobol import draw
from hpo_plugins.study.stored import from_json, to_json
from hpo_plugins.surrogate.encoding import InputEncoder

OPTIMIZERS = {
    "optimizer": hpo.Categorical(["sgd", "adam", "lion"]),
    "momentum": hpo.Categorical([0.0, 0.9, 0.99], when={"optimizer": "sgd"}),
    "nesterov": hpo.Categorical([True, False], when={"momentum": [0.9, 0.99]}),
    "beta": hpo.Categorical([0.9, 0.95], when={"optimizer": ["adam", "lion"]}),
    "batch": hpo.Categorical([16, 32]),
}
NETWORK = {
    "units_3": hpo.Integer(8, 64, when={"layers": 3}),
    "layers": hpo.Integer(1, 3),
    "units_2": hpo.Integer(8, 64, when={"layers": [2, 3]}),
    "rate": hpo.Continuous(1e-4, 1, "log"),
    "decay": hpo.Continuous(0, 0.1, when={"layers": 3, "kind": "b"}),
    "kind": hpo.Categorical(["a", "b"]),
}
METRIC = hpo.Minimize("loss")


def active_by_definition(space, values):
    """Which parameters are active, by the words of the documentation: the slow twin of ``Conditions``."""

    def is_active(name):
        when = space[name].when or {}
        return all(is_active(parent) and values[parent] in accepted for parent, accepted in when.items())

    return {name for name in space if is_active(name)}


@st.composite
def spaces(draw_value):
    """Finite spaces whose parameters depend on earlier ones, written in any order."""
    parameters = {}
    for number in range(draw_value(st.integers(1, 5))):
        when = {}
        for parent in (
            draw_value(st.lists(st.sampled_from(sorted(parameters)), max_size=2, unique=True)) if number else []
        ):
            values = list(range(parameters[parent].size))
            when[parent] = draw_value(st.lists(st.sampled_from(values), min_size=1, unique=True))
        size = draw_value(st.integers(1, 3))
        kind = draw_value(
            st.sampled_from(
                [lambda n, w: hpo.Integer(0, n - 1, when=w), lambda n, w: hpo.Categorical(range(n), when=w)]
            )
        )
        parameters[f"p{number}"] = kind(size, when or None)
    order = draw_value(st.permutations(sorted(parameters)))
    try:
        return Space({name: parameters[name] for name in order})
    except hpo.InvalidArgument:  # a parameter that is never active
        return Space({"p": hpo.Integer(0, 1)})


@settings(max_examples=300)
@given(spaces())
def test_configurations_are_counted_and_enumerated_once_each(space):
    ranges = {name: [p.value_at(i) for i in range(p.size)] for name, p in space.items()}
    expected = set()
    for values in itertools.product(*ranges.values()):
        flat = dict(zip(ranges, values, strict=True))
        expected.add(Space.key({name: flat[name] for name in active_by_definition(space, flat)}))
    found = [space.at_index(index) for index in range(space.size)]
    assert sorted(map(Space.key, found)) == sorted(expected)
    for configuration in found:
        assert space.checked(configuration) == configuration
        assert space.decode(space.encode(configuration)) == configuration


@given(st.lists(st.floats(0, 1), min_size=len(NETWORK), max_size=len(NETWORK)))
def test_only_active_parameters_are_decoded(point):
    space = Space(NETWORK)
    params = space.decode(point)
    full = {name: p.from_unit(u) for (name, p), u in zip(space.items(), point, strict=True)}
    assert params.keys() == active_by_definition(space, full)
    assert list(params) == [name for name in space if name in params]


@given(st.lists(st.floats(0, 1), min_size=len(NETWORK), max_size=len(NETWORK)))
def test_snapped_points_are_those_of_their_configurations(point):
    space = Space(NETWORK)
    encoder, params = InputEncoder(space), space.decode(point)
    snapped = encoder.snap(np.array([point]))[0]
    np.testing.assert_allclose(snapped, space.encode(params), atol=1e-9)
    assert {
        name for name, active in zip(space, encoder.active(snapped[None])[0], strict=True) if active
    } == params.keys()


def test_inactive_categories_are_equally_far_from_all_values():
    space = Space({"a": hpo.Categorical([0, 1]), "c": hpo.Categorical(list("xyz"), when={"a": 1})})
    encoder = InputEncoder(space)
    inactive = encoder.inputs(encoder.snap(np.array([[0.25, 0.9]])))
    active = encoder.inputs(encoder.snap(np.array([[0.75, (k + 0.5) / 3] for k in range(3)])))
    distances = np.linalg.norm(active - inactive, axis=1)
    np.testing.assert_allclose(distances, distances[0])


def test_grid_has_every_real_combination_once_and_in_order():
    tuner = hpo.Tuner(OPTIMIZERS, METRIC, strategy=hpo.Grid(), progress="off")
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
    found = [trial.params for trial in tuner.trials]
    assert len(found) == 2 * (1 + 2 * 2 + 2 * 2)
    assert found[0] == {"optimizer": "sgd", "momentum": 0.0, "batch": 16}
    assert found[2] == {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "batch": 16}
    assert len(set(map(Space.key, found))) == len(found)
    with pytest.raises(hpo.InvalidArgument, match="number of combinations, 18"):
        hpo.Tuner(OPTIMIZERS, METRIC, strategy=hpo.Grid(), max_trials=72)


@pytest.mark.parametrize(
    "strategy", [hpo.Random(), hpo.Bayesian(), hpo.Bayesian(max_resource=4), hpo.Hyperband(max_resource=4)], ids=repr
)
def test_strategies_exhaust_a_conditional_space_without_repeating(strategy):
    tuner = hpo.Tuner(OPTIMIZERS, METRIC, strategy=strategy, seed=0, progress="off")
    for trial in tuner:
        for epoch in range(trial.start_epoch + 1, 5):
            if trial.report(epoch, {"loss": trial.params.get("momentum", 0.5) / epoch}):
                break
    assert len({Space.key(trial.params) for trial in tuner.trials}) == len(tuner.trials) == 18
    assert "space exhausted" in tuner.stop_reason


def test_large_finite_spaces_are_counted():
    many = {f"p{n}": hpo.Integer(0, 9) for n in range(3_000)}
    assert Space(many).size == 10**3_000
    pairs = {}
    for n in range(40):  # all combinations of the forty first ones would be 10**12
        pairs |= {f"a{n}": hpo.Categorical([0, 1]), f"b{n}": hpo.Integer(1, 3, when={f"a{n}": 1})}
    space = Space(pairs)
    assert space.size == 4**40
    assert space.checked(space.at_index(space.size - 1))["b39"] == 3
    written = Space({name: pairs[name] for name in sorted(pairs)})  # all parents first
    assert written.size == 4**40


def test_random_draws_every_branch_alike():
    space = Space(
        {"a": hpo.Categorical(["x", "y"]), "b": hpo.Continuous(0, 1, when={"a": "x"}), "c": hpo.Continuous(0, 1)}
    )
    draws = [draw(space, 0, index) for index in range(512)]
    b = sorted(params["b"] for params in draws if "b" in params)
    assert len(b) == 256
    assert np.abs(np.array(b) - (np.arange(256) + 0.5) / 256).max() < 0.02


def test_surrogate_uses_conditional_parameters():
    space = {
        "kind": hpo.Categorical(["linear", "tree"]),
        "rate": hpo.Continuous(0, 1, when={"kind": "tree"}),
        "depth": hpo.Integer(1, 9, when={"kind": "tree"}),
        "c": hpo.Continuous(0, 1, when={"kind": "linear"}),
    }

    def loss(params):
        if params["kind"] == "linear":
            return 0.5 + (params["c"] - 0.3) ** 2
        return 0.1 + (params["rate"] - 0.8) ** 2 + (params["depth"] - 7) ** 2 / 30

    tuner = hpo.Tuner(space, METRIC, strategy=hpo.Bayesian(), max_trials=40, seed=0, progress="off")
    for trial in tuner:
        trial.report(1, {"loss": loss(trial.params)})
    assert tuner.best_trial.params["kind"] == "tree"
    assert tuner.best_trial.value < 0.11  # of 40 random draws, the best one has .15 in the mean


def test_stored_and_pickled_spaces_keep_conditions(tmp_path):
    space = Space(NETWORK)
    assert from_json(json.loads(json.dumps(to_json(space))), Space) == space
    assert pickle.loads(pickle.dumps(space)) == space
    assert space != Space(NETWORK | {"units_3": hpo.Integer(8, 64, when={"layers": 2})})
    tuner = hpo.Tuner(NETWORK, METRIC, max_trials=20, seed=0, storage=tmp_path / "a.db", progress="off")
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
    loaded = hpo.Tuner.load(tmp_path / "a.db")
    assert loaded.space == space
    assert [trial.params for trial in loaded.trials] == [trial.params for trial in tuner.trials]
    with pytest.raises(hpo.StudyMismatch, match="when"):
        changed = NETWORK | {"units_3": hpo.Integer(8, 64, when={"layers": 2})}
        hpo.Tuner(changed, METRIC, max_trials=20, seed=0, storage=tmp_path / "a.db")


def test_conditions_are_shown_as_they_are_written():
    assert repr(hpo.Continuous(0.5, 0.99, when={"optimizer": "sgd"})) == (
        "Continuous(low=0.5, high=0.99, scale='auto', when={'optimizer': ['sgd']})"
    )
    assert repr(hpo.Integer(1, 2)) == "Integer(low=1, high=2, scale='auto')"
    given = hpo.Categorical(["a"], when={"k": [True, 1]})
    assert evolve(given) == given
    assert given != hpo.Categorical(["a"], when={"k": [1.0, 1]})


K = hpo.Categorical(["a", "b"])
BAD = {
    "no mapping": lambda: hpo.Continuous(0, 1, when="sgd"),
    "empty": lambda: hpo.Continuous(0, 1, when={}),
    "no values": lambda: hpo.Integer(0, 1, when={"k": []}),
    "twice": lambda: hpo.Integer(0, 1, when={"k": ["a", "a"]}),
    "an object": lambda: hpo.Categorical([1], when={"k": object()}),
    "a name that is a number": lambda: hpo.Categorical([1], when={3: "a"}),
    "unknown parent": lambda: Space({"x": hpo.Continuous(0, 1, when={"k": "a"})}),
    "impossible value": lambda: Space({"k": K, "x": hpo.Continuous(0, 1, when={"k": ["a", "c"]})}),
    "value of another type": lambda: Space({"k": hpo.Integer(0, 3), "x": hpo.Continuous(0, 1, when={"k": 1.0})}),
    "out of bounds": lambda: Space({"k": hpo.Integer(0, 3), "x": hpo.Continuous(0, 1, when={"k": 4})}),
    "continuous parent": lambda: Space({"k": hpo.Continuous(0, 3), "x": hpo.Continuous(0, 1, when={"k": 1.0})}),
    "itself": lambda: Space({"k": hpo.Categorical(["a", "b"], when={"k": "a"})}),
    "a circle": lambda: Space({"a": hpo.Integer(0, 1, when={"b": 1}), "b": hpo.Integer(0, 1, when={"a": 1})}),
    "never active": lambda: Space(
        {"k": K, "x": hpo.Integer(0, 1, when={"k": "a"}), "y": hpo.Integer(0, 1, when={"k": "b", "x": 1})}
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_wrong_conditions_are_refused_when_they_are_made(make):
    with pytest.raises(hpo.InvalidArgument, match=r"when|never be active"):
        make()


def test_configurations_with_inactive_parameters_are_refused():
    space = Space(OPTIMIZERS)
    with pytest.raises(hpo.InvalidArgument, match="'momentum' is inactive while 'optimizer' is 'adam'"):
        space.checked({"optimizer": "adam", "momentum": 0.9, "beta": 0.9, "batch": 16})
    with pytest.raises(hpo.InvalidArgument, match="'nesterov' is missing"):
        space.checked({"optimizer": "sgd", "momentum": 0.9, "batch": 16})


def test_history_of_conditional_space_has_finite_points():
    space = Space(NETWORK)
    history = History(space, METRIC)
    assert np.isfinite(space.encode(space.decode([0.1] * len(space)))).all()
    assert not history.has_configuration(space.decode([0.1] * len(space)))


def test_sagemaker_export_refuses_with_the_name():
    tuner = hpo.Tuner({"k": K, "x": hpo.Continuous(0, 1, when={"k": "a"})}, METRIC, max_trials=3, progress="off")
    with pytest.raises(hpo.InvalidArgument, match="'x' must not be conditional"):
        hpo.sagemaker.request_from_tuner(tuner, job_name="job")
