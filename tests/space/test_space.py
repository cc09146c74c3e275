import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import is_value_of

import hpo_plugins as hpo
from hpo_plugins.space import Space
from hpo_plugins.study.stored import from_json, to_json

finite = st.floats(allow_nan=False, allow_infinity=False)
unit = st.floats(0, 1)


@st.composite
def continuous(draw):
    scale = draw(st.sampled_from(["auto", "linear", "log", "reverse_log"]))
    values = {"log": st.floats(1e-300, 1e300), "reverse_log": st.floats(0, 1 - 1e-12)}.get(scale, finite)
    low, high = sorted([draw(values), draw(values)])
    return hpo.Continuous(low, high, scale)


@st.composite
def integer(draw):
    scale = draw(st.sampled_from(["auto", "linear", "log"]))
    low, high = sorted([draw(st.integers(1, 10**9)), draw(st.integers(1, 10**9))])
    return hpo.Integer(low, high, scale)


values = st.one_of(st.text(), st.integers(), finite, st.booleans(), st.none())
categorical = st.lists(values, min_size=1, max_size=8, unique_by=json.dumps).map(hpo.Categorical)
parameter = st.one_of(continuous(), integer(), categorical)


@given(parameter, unit)
def test_decoded_values_are_accepted_and_plain(parameter, u):
    value = parameter.from_unit(u)
    assert is_value_of(parameter, value)
    assert type(value) in (int, float, str, bool, type(None))


@given(continuous())
def test_continuous_bounds_are_exact(parameter):
    assert parameter.from_unit(0.0) == parameter.low
    assert parameter.from_unit(1.0) == parameter.high


@given(integer())
def test_integer_bounds_are_reached(parameter):
    assert parameter.from_unit(0.0) == parameter.low
    assert parameter.from_unit(1.0) == parameter.high


@given(integer(), st.integers(0, 10**9))
def test_integer_round_trip_is_exact(parameter, offset):
    value = parameter.low + offset % (parameter.high - parameter.low + 1)
    assert parameter.from_unit(parameter.to_unit(value)) == value


@given(categorical)
def test_categorical_round_trip_keeps_types(parameter):
    for value in parameter.values:
        back = parameter.from_unit(parameter.to_unit(value))
        assert type(back) is type(value)
        assert back == value


@given(st.sampled_from(["linear", "log", "reverse_log"]), unit)
def test_continuous_round_trip(scale, u):
    low, high = (0.01, 0.9)
    parameter = hpo.Continuous(low, high, scale)
    assert parameter.to_unit(parameter.from_unit(u)) == pytest.approx(u, abs=1e-9)


@given(st.dictionaries(st.text(min_size=1), parameter, min_size=1, max_size=5))
def test_space_json_round_trip(parameters):
    space = Space(parameters)
    back = from_json(json.loads(json.dumps(to_json(space))), Space)
    assert dict(back) == dict(space)
    assert list(back) == list(space)


@given(st.dictionaries(st.text(min_size=1), parameter, min_size=1, max_size=5), st.data())
def test_space_encodes_into_the_unit_cube(parameters, data):
    space = Space(parameters)
    point = np.array([data.draw(unit) for _ in space])
    encoded = space.encode(space.decode(point))
    assert encoded.shape == (len(space),)
    assert np.all((encoded >= 0) & (encoded <= 1))


@pytest.mark.parametrize(
    ("parameter", "scale"),
    [
        (hpo.Continuous(1e-4, 1e-1), "log"),
        (hpo.Continuous(0.1, 1), "linear"),
        (hpo.Continuous(0, 1), "linear"),
        (hpo.Continuous(0.5, 0.9999), "reverse_log"),
        (hpo.Continuous(-1, 1000), "linear"),
        (hpo.Integer(1, 1000), "log"),
        (hpo.Integer(1, 999), "linear"),
        (hpo.Integer(0, 10**6), "linear"),
    ],
)
def test_auto_scale_is_decided_by_the_bounds(parameter, scale):
    assert parameter.resolved_scale == scale


def test_log_scale_gives_every_decade_its_share():
    parameter = hpo.Continuous(1e-3, 1.0, "log")
    assert [round(math.log10(parameter.from_unit(u)), 6) for u in (0, 1 / 3, 2 / 3, 1)] == [-3, -2, -1, 0]


def test_types_tell_categories_and_spaces_apart():
    assert hpo.Categorical([1, True, 1.0, "1"]).values == (1, True, 1.0, "1")
    assert hpo.Categorical([1]) != hpo.Categorical([True])
    assert Space.key({"a": 1}) != Space.key({"a": 1.0}) != Space.key({"a": True})


def test_numpy_scalars_become_python_values():
    parameter = hpo.Categorical([np.int64(1), np.float64(2.5), np.bool_(True), np.str_("x")])
    assert [type(value) for value in parameter.values] == [int, float, bool, str]
    assert hpo.Integer(np.int32(1), np.int64(3)).from_unit(1.0) == 3


def test_size_counts_configurations():
    finite_space = Space({"a": hpo.Integer(1, 3), "b": hpo.Categorical(["xy"] + ["z"]), "c": hpo.Continuous(2, 2)})
    assert finite_space.size == 6
    assert len({Space.key(finite_space.at_index(i)) for i in range(6)}) == 6
    assert Space({"a": hpo.Continuous(0, 1)}).size is None


def test_fixed_values_are_in_configurations_not_coordinates():
    space = Space({"a": hpo.Integer(1, 3)}, {"epochs": "10", "flag": True})
    assert space.decode([0.5]) == {"a": 2, "epochs": "10", "flag": True} == space.at_index(1)
    assert space.encode(space.at_index(1)).shape == (1,)
    assert space.size == 3
    again = from_json(json.loads(json.dumps(to_json(space))), Space)
    assert (dict(again), again.fixed) == (dict(space), space.fixed)
    with pytest.raises(hpo.InvalidArgument, match="'a' must be tuned or fixed, but got both"):
        Space({"a": hpo.Integer(1, 3)}, {"a": 1})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hpo.Continuous(2, 1), "low must be at most high, but got low=2.0 and high=1.0"),
        (lambda: hpo.Continuous(math.nan, 1), "low must be a finite number, but got low=nan"),
        (lambda: hpo.Continuous(0, math.inf), "high must be a finite number"),
        (lambda: hpo.Continuous("0", 1), "low must be a finite number, but got low='0'"),
        (lambda: hpo.Continuous(True, 2), "low must be a finite number, but got low=True"),
        (lambda: hpo.Continuous(0, 1, "log"), "low must be > 0 on a log scale, but got low=0.0"),
        (lambda: hpo.Continuous(0, 1, "reverse_log"), "reverse_log needs 0 <= low and high < 1"),
        (lambda: hpo.Continuous(0, 1, "logarithmic"), "scale must be 'auto', 'linear', 'log' or 'reverse_log'"),
        (lambda: hpo.Integer(1, 8, "reverse_log"), "scale must be 'auto', 'linear' or 'log', but got"),
        (lambda: hpo.Integer(1.0, 8), "low must be a whole number, but got low=1.0. Use Continuous"),
        (lambda: hpo.Integer(1, True), "high must be a whole number, but got high=True"),
        (lambda: hpo.Integer(0, 8, "log"), "low must be > 0 on a log scale"),
        (lambda: hpo.Categorical([]), "values must contain at least one value"),
        (lambda: hpo.Categorical("abc"), "values must be a list, but got values='abc'"),
        (lambda: hpo.Categorical(["a", "b", "a"]), "must not contain duplicates, but got 'a' at index 2"),
        (
            lambda: hpo.Categorical([[1]]),
            r"values must be strings, numbers, booleans or None, but got \[1\] at index 0",
        ),
        (lambda: hpo.Categorical([math.nan]), "values must be finite, but got nan at index 0"),
        (lambda: Space({}), "space must map at least one name"),
        (lambda: Space({1: hpo.Integer(1, 2)}), "non-empty strings as names, but got 1"),
        (lambda: Space({"lr": 0.1}), r"space\['lr'\] must be Continuous, Integer, Ordinal or Categorical, but got 0.1"),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        make()
