"""Whatever is done to a request: it is accepted and comes back whole, or refused with the path of what is wrong."""

import ast
import copy
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.sagemaker import request_from_tuner, tuner_from_request

from .examples import REQUESTS, at, in_full, job_name, load

EXAMPLES = [load(path.stem) for path in REQUESTS]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 40_000),
    st.sampled_from([10**30, 15_768_000, 119, 0.0, -0.5, float("nan"), float("inf"), b"x", {1: 2}, {"": ""}, {"x"}]),
    st.sampled_from(
        ["", "Auto", "Hyperband", "Grid", "Enabled", "1", "-1", "1e400", "0.5", "x" * 3000, "a b", "\n", "ü"]
    ),
    st.text(max_size=5),
    st.sampled_from([[], {}, [{}], [[]], ["a", "a"], {"a": "b"}]),
)


def places(value, path=()):
    """All paths of keys in a request."""
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from places(member, (*path, key))


@st.composite
def mutated(draw):
    """A request to which one to three things have been done, at any place of its shape."""
    request = copy.deepcopy(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path in places(request) if path]
        if not paths:
            break
        path = draw(st.sampled_from(paths))
        container, key = at(request, path)
        match draw(st.sampled_from(["remove", "junk", "junk", "add", "double", "move", "rename"])):
            case "remove":
                del container[key]
            case "junk":
                container[key] = copy.deepcopy(draw(JUNK))
            case "add" if isinstance(container, dict):
                container[draw(st.text(max_size=9))] = copy.deepcopy(draw(JUNK))
            case "double" if isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
            case "move":
                other, other_key = at(request, draw(st.sampled_from(paths)))
                container[key] = copy.deepcopy(other[other_key])
            case "rename" if isinstance(container, dict):
                container[f"{key}s"] = container.pop(key)
    return request


STEP = re.compile(r"\.?(\w+)|\[(-?\d+|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")\]")


def named(request, message):
    """The keys of the path at the head of a message, and how many of them the request has."""
    keys, end = [], 0
    while step := STEP.match(message, end):
        keys.append(step[1] or ast.literal_eval(step[2]))
        end = step.end()
    found, value = 0, request
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            break
        found += 1
    return keys, found


@given(mutated())
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_request_round_trips_or_names_its_path(validate, mutant):
    check(validate, mutant)


def check(validate, request):
    before = copy.deepcopy(request)
    try:
        tuner = tuner_from_request(request)
    except hpo.HpoError as error:
        message = str(error)
        assert " must " in message or " is not known" in message or " was not found" in message
        keys, found = named(request, message)
        assert found == len(keys) or "must be given" in message, (message, keys, found)
    else:
        back = request_from_tuner(tuner, job_name=job_name(request))
        assert back == in_full(request)
        validate(back)
    assert repr(request) == repr(before)
