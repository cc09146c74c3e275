"""Constraints between parameters: every strategy draws and proposes valid configurations only."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.space import Space
from hpo_plugins.space.expression import parse
from hpo_plugins.space.sobol import draw
from hpo_plugins.space.valid import Expression, Function
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.study.stored import from_json, to_json

LOSS = hpo.Minimize("loss")
SPACE = {"a": hpo.Continuous(0, 1), "b": hpo.Continuous(0, 1), "kind": hpo.Categorical(["x", "y"])}


def is_ordered(params):
    return params["a"] < params["b"]


def train(tuner):
    for trial in tuner:
        for epoch in range(trial.start_epoch + 1, 10):
            if trial.report(epoch, {"loss": (trial["b"] - trial["a"]) ** 2 + 1 / epoch}):
                break
    return tuner


# The language.


@pytest.mark.parametrize(
    ("text", "params", "expected"),
    [
        ("a < b", {"a": 1, "b": 2}, True),
        ("a < b < 2", {"a": 1, "b": 2}, False),
        ("a + 2 * b - 1 <= (a + b) / 2 + 3", {"a": 1, "b": 2}, True),
        ("not a == b and (a > 1 or b != 2)", {"a": 1, "b": 2}, False),
        ("kind == 'x' or a < 0.5", {"kind": "y", "a": 0.4}, True),
        ("-a < -0.5", {"a": 0.6}, True),
        ("flag or a > 1", {"flag": True, "a": 0}, True),
        ("flag == 1", {"flag": True}, False),
        ("n == 1.0", {"n": 1}, True),
        ("depth == None", {"depth": None}, True),
        ("a < b", {"a": 3}, True),  # b is inactive
        ("a < b and a < 2", {"a": 3}, False),  # what `and` joins counts one by one
        ("not (a < b and a < 2)", {"a": 3}, True),
    ],
)
def test_expressions_mean_what_python_means(text, params, expected):
    assert Expression(text).accepts(params) is expected


@given(st.lists(st.floats(-9, 9), min_size=3, max_size=3))
def test_expressions_agree_with_python(values):
    names = dict(zip("abc", values, strict=True))
    for text in ("a + b * c < a - c", "a < b <= c", "not a > b or c == a", "(a - b) * 2 >= -c / 4"):
        assert Expression(text).accepts(names) is eval(text, {}, names)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"1 to 2000 characters, but has 0"),
        ("a < b" + " " * 3000 + "or a < b", r"1 to 2000 characters"),
        ("a <", r"must be an expression, but got valid='a <'"),
        ("a", r"cannot be computed for .* is neither True nor False"),
        ("a + b", r"'a \+ b' is no comparison"),
        ("a and b + 1", r"'b \+ 1' is no comparison"),
        ("f(a) < 1", r"'f\(a\)' is not allowed. It may contain names"),
        ("a.real < 1", r"'a.real' is not allowed"),
        ("a ** 2 < 1", r"'a \*\* 2' is not allowed"),
        ("a % 2 == 0", r"'a % 2' is not allowed"),
        ("a // 2 == 0", r"is not allowed"),
        ("a[0] < 1", r"is not allowed"),
        ("[a] == [1]", r"is not allowed"),
        ("(lambda: 1) == 1", r"is not allowed"),
        ("(a := 1) < b", r"is not allowed"),
        ("f'{a}' == 'x'", r"is not allowed"),
        ("a if b else 1 < 2", r"is no comparison"),
        ("a in b", r"has another comparison"),
        ("a is None", r"has another comparison"),
        ("b'x' == a", r"is not allowed"),
        ("1j < a", r"is not allowed"),
        ("1e999 > a", r"is not finite"),
        ("a < b; import os", r"must be an expression"),
        ("a = 1", r"must be an expression"),
        ("(" * 500 + "a" + ")" * 500 + "< 1", r"must be an expression"),
        ("a < 'text'", r"cannot be computed for .*'text' is no number"),
        ("'ab' * 3 == a", r"cannot be computed for .*'ab' is no number"),
        ("a / 0 < 1", r"cannot be computed for .*division by zero"),
        ("a < zz", r"names 'zz', but the space has 'a', 'b', 'kind'"),
        ("A < b", r"Did you mean 'a'"),
        ("kind == 'z'", r"compares 'kind' with 'z', but it has the values \['x', 'y'\]"),
        (3, r"valid must be an expression, such as"),
        (["a < b"], r"valid must be an expression, such as"),
        (dict, r"valid must be an expression, such as"),
    ],
)
def test_what_is_no_constraint_is_refused_when_the_tuner_is_made(text, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        hpo.Tuner(SPACE, LOSS, valid=text)


def test_long_expressions_from_a_stranger_are_refused_quickly():
    started = time.perf_counter()
    for text in ("-" * 1999 + "a", "not " * 400 + "a<1", "9" * 1999 + "<a", "+".join(["a"] * 900) + "<1"):
        try:
            Expression(text).accepts({"a": 1.0})
        except hpo.InvalidArgument:
            continue
    assert time.perf_counter() - started < 60


def test_products_of_strings_are_not_made():
    with pytest.raises(hpo.InvalidArgument, match="is no number"):
        Expression("'x' * 1000000000000 == a").accepts({"a": 1})


# The space.


def test_draws_are_the_valid_ones_of_the_same_sequence():
    space = Space(SPACE)
    every = [draw(space, 3, index) for index in range(300)]
    expected = [params for params in every if params["a"] < params["b"]]
    for valid in (Expression("a < b"), Function(is_ordered)):
        found = [draw(space.constrained(valid), 3, index) for index in range(len(expected))]
        assert found == expected


def test_finite_spaces_count_and_enumerate_what_is_valid():
    plain = Space({"n": hpo.Integer(1, 4), "m": hpo.Integer(1, 4), "k": hpo.Integer(1, 2, when={"n": [3, 4]})})
    space = plain.constrained(Expression("n < m"))
    every = [plain.at_index(index) for index in range(plain.size)]
    assert [space.at_index(index) for index in range(space.size)] == [p for p in every if p["n"] < p["m"]]
    drawn = [draw(space, 0, index) for index in range(space.size)]
    assert sorted(map(Space.key, drawn)) == sorted(Space.key(p) for p in every if p["n"] < p["m"])


def test_spaces_with_other_constraints_are_other_spaces():
    space = Space(SPACE)
    first, second = space.constrained(Expression("a < b")), space.constrained(Expression("a > b"))
    assert len({space, first, second, space.constrained(Expression("a < b"))}) == 3
    assert first.constrained(None) == space
    assert "valid='a < b'" in repr(first)


@pytest.mark.parametrize(
    ("space", "valid"),
    [
        (SPACE, "a > 2"),
        (SPACE, "a == b"),
        ({"a": hpo.Integer(1, 3), "b": hpo.Integer(1, 3)}, "a + b > 6"),
        ({"a": hpo.Integer(1, 10**6)}, "a < 0"),
        (SPACE, lambda p: False),
    ],
)
def test_fewer_than_one_valid_draw_in_10_000_is_an_error(space, valid):
    with pytest.raises(hpo.InvalidArgument, match=r"valid must accept at least 1 configuration in 10,000"):
        hpo.Tuner(space, LOSS, valid=valid)


def test_one_valid_configuration_is_enough():
    tuner = train(hpo.Tuner({"a": hpo.Integer(0, 9), "b": hpo.Integer(0, 9)}, LOSS, valid="a + b == 18"))
    assert [t.params for t in tuner.trials] == [{"a": 9, "b": 9}]
    assert tuner._loop.session.limit_reason() == "space exhausted: all 1 configurations have been tried"


def test_constraint_that_leaves_too_few_draws_is_an_error_and_no_endless_loop(monkeypatch):
    monkeypatch.setattr("hpo_plugins.space.sobol._MAX_FRUITLESS", 8)
    space = Space({"a": hpo.Integer(1, 50_001)}, valid=Expression("a <= 25"))
    assert space.size is None
    with pytest.raises(hpo.InvalidArgument, match=r"must leave enough configurations, but 2,048 random draws"):
        draw(space, 0, 25)


# Functions.


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        (lambda p: p["zz"], r"raised KeyError: 'zz' for {'a': .*Inactive parameters are not in"),
        (lambda p: None, r"must return True or False, but it returned None for {'a'"),
        (lambda p: 1, r"it returned 1 for"),
        (lambda: True, r"raised TypeError"),
    ],
)
def test_functions_that_raise_or_return_something_else_are_named(valid, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        hpo.Tuner(SPACE, LOSS, valid=valid)


def test_function_cannot_change_the_configuration():
    def meddles(params):
        params["a"] = 0.5
        return True

    assert draw(Space(SPACE, valid=Function(meddles)), 0, 0) == draw(Space(SPACE), 0, 0)


# Strategies.


@pytest.mark.parametrize(
    "strategy",
    [
        hpo.Random(),
        hpo.Bayesian(),
        hpo.Bayesian(max_resource=9),
        hpo.Bayesian(max_resource=9, pause=True),
        hpo.Hyperband(max_resource=9),
        hpo.Hyperband(max_resource=9, search="random"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("valid", ["a < b", "0.4 < a / (b + 0.1) < 0.41"])
def test_strategies_propose_only_valid_configurations(strategy, valid):
    tuner = train(hpo.Tuner(SPACE, LOSS, strategy=strategy, max_trials=30, seed=0, valid=valid))
    assert len(tuner.trials) == 30
    assert all(Expression(valid).accepts(t.params) for t in tuner.trials)


def test_surrogate_finds_an_optimum_on_the_border_of_the_valid_region():
    tuner = hpo.Tuner(SPACE, LOSS, strategy=hpo.Bayesian(), max_trials=30, seed=0, valid="a + b <= 0.6")
    for trial in tuner:
        trial.report(1, {"loss": (trial["a"] - 0.9) ** 2 + trial["b"] ** 2})
    assert tuner.best_trial.value < 0.1


def test_grid_tries_each_valid_combination_once():
    space = {"a": hpo.Ordinal([1, 2, 3]), "b": hpo.Integer(1, 3, step=1)}
    tuner = train(hpo.Tuner(space, LOSS, strategy=hpo.Grid(), valid="a < b"))
    assert [(t.params["a"], t.params["b"]) for t in tuner.trials] == [(1, 2), (1, 3), (2, 3)]
    with pytest.raises(hpo.InvalidArgument, match=r"max_trials must be the number of combinations, 3, with Grid"):
        hpo.Tuner(space, LOSS, strategy=hpo.Grid(), valid="a < b", max_trials=9)
    many = {name: hpo.Integer(1, 40, step=1) for name in "abc"}
    with pytest.raises(hpo.InvalidArgument, match=r"Grid must count the valid combinations, but 64000 are too many"):
        hpo.Tuner(many, LOSS, strategy=hpo.Grid(), valid="a < b")


def test_finite_space_is_exhausted_by_every_strategy():
    space = {"a": hpo.Integer(1, 6), "b": hpo.Integer(1, 6)}
    for strategy in (hpo.Random(), hpo.Bayesian(), hpo.Hyperband(max_resource=9)):
        tuner = train(hpo.Tuner(space, LOSS, strategy=strategy, seed=1, valid="a + 3 < b"))
        assert sorted((t.params["a"], t.params["b"]) for t in tuner.trials) == [(1, 5), (1, 6), (2, 6)]


# The user's own configurations.


def test_own_configurations_are_checked():
    with pytest.raises(hpo.InvalidArgument, match=r"points_to_evaluate\[1\] must be valid, but {'a': 0.9, 'b': 0.1"):
        points = [{"a": 0.1}, {"a": 0.9, "b": 0.1, "kind": "x"}]
        hpo.Tuner(SPACE, LOSS, valid="a < b", points_to_evaluate=points)
    tuner = hpo.Tuner(SPACE, LOSS, valid="a < b", points_to_evaluate=[{"a": 0.9}, {"b": 0.01}], max_trials=4, seed=0)
    with pytest.raises(hpo.InvalidArgument, match=r"params must be valid, but {'a': 1.0} does not meet valid='a < b'"):
        tuner.enqueue({"a": 1.0})
    tuner.enqueue({"a": 0.999})
    train(tuner)
    assert [t.params["a"] < t.params["b"] for t in tuner.trials] == [True] * 4
    assert [t.point for t in tuner.trials] == [0, 1, 2, None]


# Stored studies.


def test_expression_is_stored_and_compared(tmp_path):
    path = tmp_path / "s.db"
    train(hpo.Tuner(SPACE, LOSS, valid="a < b", max_trials=3, seed=0, storage=path))
    again = hpo.Tuner.load(path)
    assert again.space.valid == Expression("a < b")
    uninterrupted = train(hpo.Tuner(SPACE, LOSS, valid="a < b", max_trials=6, seed=0))
    more = train(hpo.Tuner(SPACE, LOSS, valid="a < b", max_trials=6, storage=path))
    assert [t.params for t in more.trials] == [t.params for t in uninterrupted.trials]
    with pytest.raises(hpo.StudyMismatch, match=r"valid is 'a <= b' \(stored 'a < b'\)"):
        hpo.Tuner(SPACE, LOSS, valid="a <= b", storage=path)
    with pytest.raises(hpo.StudyMismatch, match=r"valid is None \(stored 'a < b'\)"):
        hpo.Tuner(SPACE, LOSS, storage=path)
    with pytest.raises(hpo.InvalidArgument, match=r"made with valid='a < b', and got .* Leave it out"):
        hpo.Tuner.load(path, valid=is_ordered)


def test_function_is_not_stored_and_needed_again(tmp_path):
    path = tmp_path / "s.db"
    tuner = train(hpo.Tuner(SPACE, LOSS, valid=is_ordered, max_trials=3, seed=0, storage=path))
    assert to_json(tuner.study)["valid"] is True
    read = hpo.Tuner.load(path)
    assert read.best_trial.params == tuner.best_trial.params
    with pytest.raises(
        hpo.StudyMismatch, match=r"function as valid=, which is not stored: give the same function again"
    ):
        hpo.Tuner(SPACE, LOSS, max_trials=5, storage=path)
    more = train(hpo.Tuner(SPACE, LOSS, valid=is_ordered, max_trials=5, storage=path))
    assert len(more.trials) == 5
    hpo.Tuner(SPACE, LOSS, valid=is_ordered, max_trials=6, storage=path)
    with pytest.raises(hpo.InvalidArgument, match=r"valid must be given again.*Tuner.load\(..., valid=function\)"):
        train(hpo.Tuner.load(path))
    assert len(train(hpo.Tuner.load(path, valid=is_ordered)).trials) == 6


def test_definition_without_a_constraint_is_written_as_before():
    tuner = hpo.Tuner(SPACE, LOSS, seed=0)
    assert "valid" not in to_json(tuner.study)
    data = json.loads(json.dumps(to_json(hpo.Tuner(SPACE, LOSS, seed=0, valid="a < b").study)))
    assert from_json(data, StudyConfig).space.valid == Expression("a < b")


@pytest.mark.parametrize("damage", [3, False, None, ["a < b"], "__import__('os').system('x') == 0", "a < q"])
def test_damaged_constraints_of_a_file_are_refused(damage):
    data = json.loads(json.dumps(to_json(hpo.Tuner(SPACE, LOSS, seed=0, valid="a < b").study)))
    with pytest.raises(hpo.InvalidArgument, match=r"valid|Expected `str`"):
        from_json(data | {"valid": damage}, StudyConfig)


def test_workers_need_a_function_that_can_be_imported():
    tuner = hpo.Tuner(SPACE, LOSS, valid=lambda p: p["a"] < p["b"], max_trials=2)
    with pytest.raises(hpo.InvalidArgument, match=r"valid must be an expression, or a function that other processes"):
        tuner.run(train, workers=2)


def test_requests_and_several_definitions_refuse_a_constraint():
    tuner = hpo.Tuner(SPACE, LOSS, valid="a < b", max_trials=2)
    with pytest.raises(hpo.InvalidArgument, match=r"tuner must not have a constraint"):
        hpo.sagemaker.request_from_tuner(tuner, job_name="j")


def test_parse_lists_what_it_names():
    first, second = parse("a < b and kind == 'x'")
    assert (first.names, second.names, second.equalities) == ({"a", "b"}, {"kind"}, (("kind", "x"),))
