"""Numbers with a step, and ordered values."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.space import Space
from hpo_plugins.space.sobol import draw
from hpo_plugins.study.stored import from_json, to_json
from hpo_plugins.surrogate.encoding import InputEncoder

LOSS = hpo.Minimize("loss")
unit = st.floats(0, 1)


@st.composite
def stepped(draw):
    size, start = draw(st.integers(1, 40)), draw(st.integers(1, 50))
    if draw(st.booleans()):
        step = draw(st.integers(1, 20))
        scale = draw(st.sampled_from(["auto", "linear", "log"]))
        return hpo.Integer(start, start + (size - 1) * step, scale, step=step)
    scale = draw(st.sampled_from(["linear", "log", "reverse_log"]))
    return hpo.Continuous(start / 1000, (start + (size - 1) * 10) / 1000, scale, step=0.01)


def values(parameter):
    return [parameter.value_at(position) for position in range(parameter.size)]


def test_values_are_written_as_a_person_writes_them():
    assert values(hpo.Continuous(0, 1, step=0.05)) == [
        0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5,
        0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0,
    ]  # fmt: skip
    assert values(hpo.Continuous(0.1, 0.1 * 3, step=0.1)) == [0.1, 0.2, 0.1 * 3]
    assert values(hpo.Continuous(0, 1, step=1 / 3))[-1] == 1.0
    assert values(hpo.Continuous(1e-5, 3e-5, step=1e-5)) == [1e-5, 2e-5, 3e-5]


def test_values_end_at_or_below_the_upper_bound():
    assert values(hpo.Integer(16, 100, step=16)) == [16, 32, 48, 64, 80, 96]
    assert values(hpo.Continuous(0, 1, step=0.3)) == [0.0, 0.3, 0.6, 0.9]
    assert values(hpo.Integer(5, 5, step=4)) == [5]


@given(stepped(), unit)
def test_decoded_values_are_values(parameter, u):
    assert json.dumps(parameter.from_unit(u)) in map(json.dumps, values(parameter))


@given(stepped())
def test_every_value_comes_back_from_its_coordinate_and_in_order(parameter):
    units = [parameter.to_unit(value) for value in values(parameter)]
    assert [parameter.from_unit(unit) for unit in units] == values(parameter)
    assert units == sorted(set(units))
    assert all(0 < unit < 1 for unit in units)


@given(stepped(), st.lists(unit, min_size=1))
def test_encoder_snaps_as_the_parameter_decodes(parameter, units):
    snapped = InputEncoder(Space({"x": parameter})).snap(np.array(units)[:, None])[:, 0]
    expected = 0.5 if parameter.size == 1 else [parameter.to_unit(parameter.from_unit(u)) for u in units]
    assert snapped == pytest.approx(expected, abs=1e-12)


def test_log_scale_gives_every_decade_its_share():
    parameter = hpo.Integer(1, 1000, "log", step=1)
    counts = np.bincount([len(str(parameter.from_unit(u))) for u in np.linspace(0, 1, 3001)])[1:4]
    assert counts == pytest.approx([1000, 1000, 1000], rel=0.2)


def test_scales_have_their_bins():
    assert hpo.Integer(0, 3, step=1).to_unit(2) == hpo.Integer(0, 3).to_unit(2)
    log, mirrored = hpo.Continuous(0.1, 0.9, "log", step=0.2), hpo.Continuous(0.1, 0.9, "reverse_log", step=0.2)
    assert [mirrored.to_unit(1 - x) for x in values(log)] == pytest.approx([1 - log.to_unit(x) for x in values(log)])


@pytest.mark.parametrize(
    "parameter", [hpo.Ordinal([16, 32, 64, 128]), hpo.Integer(2, 8, step=2), hpo.Continuous(0, 0.75, step=0.25)]
)
def test_surrogate_sees_one_column_in_order(parameter):
    space = Space({"x": parameter})
    encoder = InputEncoder(space)
    points = np.array([space.encode({"x": value}) for value in values(parameter)])
    assert encoder.columns == 1
    assert encoder.inputs(encoder.snap(points))[:, 0] == pytest.approx([1 / 8, 3 / 8, 5 / 8, 7 / 8])
    assert not encoder.continuous
    neighbours = encoder.neighbours(points[0], 16, np.random.default_rng(0))
    assert sorted(space.decode(point)["x"] for point in neighbours) == values(parameter)


def test_ordinal_keeps_order_and_types():
    parameter = hpo.Ordinal(["small", 2, 2.5])
    assert [parameter.from_unit(u) for u in (0, 0.5, 1)] == ["small", 2, 2.5]
    assert parameter.checked("x", np.float64(2.0)) == 2
    assert type(parameter.checked("x", 2.0)) is int
    assert hpo.Ordinal([1, 2]) != hpo.Ordinal([1.0, 2])
    assert hpo.Ordinal([1, 2]) != hpo.Categorical([1, 2])
    assert repr(hpo.Ordinal([1, 2])) == "Ordinal(values=(1, 2))"
    assert repr(hpo.Integer(1, 9, step=2)) == "Integer(low=1, high=9, scale='auto', step=2)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hpo.Integer(1, 9, step=0), r"step must be a whole number of at least 1, but got step=0"),
        (lambda: hpo.Integer(1, 9, step=1.5), r"step must be a whole number"),
        (lambda: hpo.Integer(1, 9, step=True), r"step must be a whole number"),
        (lambda: hpo.Integer(1, 9, step=10), r"step must be at most high - low, 8, but got step=10"),
        (lambda: hpo.Continuous(0, 1, step=0), r"step must be > 0"),
        (lambda: hpo.Continuous(0, 1, step=-0.1), r"step must be > 0"),
        (lambda: hpo.Continuous(0, 1, step=math.nan), r"step must be a finite number"),
        (lambda: hpo.Continuous(0, 1, step="0.1"), r"step must be a finite number"),
        (lambda: hpo.Continuous(0, 1, step=1.5), r"step must be at most high - low, 1"),
        (lambda: hpo.Continuous(0, 1, step=1e-300), r"step must be larger for bounds of 0 and 1"),
        (lambda: hpo.Continuous(1e16, 1e16 + 8, step=0.5), r"step must be larger"),
        (lambda: hpo.Ordinal([]), r"at least one value"),
        (lambda: hpo.Ordinal([1, 1.0]), r"duplicates, but got 1.0 at index 1"),
        (lambda: hpo.Ordinal([1, True]), r"numbers or strings, which have an order, but got True at index 1"),
        (lambda: hpo.Ordinal([None]), r"but got None at index 0. Use Categorical"),
        (lambda: hpo.Ordinal("abc"), r"values must be a list"),
        (lambda: hpo.Ordinal([1, math.inf]), r"values must be finite"),
        (lambda: hpo.Integer(1, 9, step=2).checked("n", 4), r"n must be 1 plus a multiple of step=2, but got n=4"),
        (lambda: hpo.Continuous(0, 1, step=0.1).checked("x", 0.25), r"0 plus a multiple of step=0.1.*0.2 is near"),
        (lambda: hpo.Ordinal([1, 2]).checked("x", 3), r"x must be one of \[1, 2\]"),
        (lambda: hpo.Ordinal([1, 2]).checked("x", True), r"x must be one of \[1, 2\]"),
    ],
)
def test_bad_steps_and_orders_are_named(make, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        make()


def test_conditions_on_ordered_and_stepped_parents():
    space = Space(
        {
            "width": hpo.Ordinal([16, 32]),
            "rate": hpo.Continuous(0, 0.2, step=0.1),
            "x": hpo.Continuous(0, 1, when={"width": 32, "rate": [0.1, 0.2]}),
        }
    )
    drawn = [draw(space, 0, index) for index in range(200)]
    assert all(("x" in p) == (p["width"] == 32 and p["rate"] > 0) for p in drawn)
    with pytest.raises(hpo.InvalidArgument, match=r"'rate' cannot be 0. Write 0.0"):
        Space({"rate": hpo.Continuous(0, 1, step=0.5), "x": hpo.Integer(1, 2, when={"rate": 0})})
    with pytest.raises(hpo.InvalidArgument, match=r"'x' is Continuous. A condition needs .* or a step="):
        Space({"x": hpo.Continuous(0, 1), "y": hpo.Integer(1, 2, when={"x": 0.5})})


def test_json_round_trip_and_what_is_left_out():
    space = Space(
        {"a": hpo.Ordinal([1, "x"]), "b": hpo.Integer(1, 9, step=4), "c": hpo.Continuous(0, 1, "linear", step=0.5)}
    )
    assert from_json(json.loads(json.dumps(to_json(space))), Space) == space
    assert to_json(hpo.Integer(1, 9)) == {"kind": "integer", "low": 1, "high": 9, "scale": "auto"}
    assert to_json(hpo.Ordinal([1, "x"])) == {"kind": "ordinal", "values": [1, "x"]}


def test_grid_takes_listed_values_in_order():
    tuner = hpo.Tuner({"a": hpo.Ordinal([4, 2]), "b": hpo.Integer(0, 6, step=3)}, LOSS, strategy=hpo.Grid())
    for trial in tuner:
        trial.report(1, {"loss": 0.0})
    assert [(t.params["a"], t.params["b"]) for t in tuner.trials] == [(4, 0), (4, 3), (4, 6), (2, 0), (2, 3), (2, 6)]
    with pytest.raises(hpo.InvalidArgument, match=r"Grid needs .* Ordinal\(\[...\]\), give a step="):
        hpo.Tuner({"b": hpo.Integer(0, 6)}, LOSS, strategy=hpo.Grid())


def test_points_are_checked_against_the_step(tmp_path):
    space = {"width": hpo.Integer(16, 64, step=16), "drop": hpo.Continuous(0, 0.5, step=0.1)}
    with pytest.raises(hpo.InvalidArgument, match=r"points_to_evaluate\[0\]: width must be 16 plus a multiple"):
        hpo.Tuner(space, LOSS, points_to_evaluate=[{"width": 20}])
    tuner = hpo.Tuner(space, LOSS, points_to_evaluate=[{"drop": 0.1 * 3}], max_trials=2, storage=tmp_path / "s.db")
    tuner.enqueue({"width": np.int64(48), "drop": 0})
    for trial in tuner:
        trial.report(1, {"loss": 0.0})
    assert tuner.trials[0].params["drop"] == 0.3
    assert tuner.trials[1].params == {"width": 48, "drop": 0.0}
    assert [t.params for t in hpo.Tuner.load(tmp_path / "s.db").trials] == [t.params for t in tuner.trials]


def test_warm_start_over_steps_and_orders():
    def study(space, **arguments):
        tuner = hpo.Tuner(space, LOSS, strategy=hpo.Bayesian(), max_trials=4, seed=0, **arguments)
        for trial in tuner:
            trial.report(1, {"loss": float(trial["n"])})
        return tuner

    parent = study({"n": hpo.Integer(1, 64), "kind": hpo.Categorical(["a", "b"])})
    child = study(
        {"n": hpo.Integer(16, 64, step=16), "kind": hpo.Ordinal(["a", "b"])},
        warm_start=hpo.WarmStart([parent], identical=True),
    )
    assert all(t.params["n"] % 16 == 0 for t in child.trials)
    groups = child.study.parents.trials(child.space, LOSS)
    own = sum(len(group.trials) for group in groups if group.identical)
    assert own == sum(t.params["n"] % 16 == 0 for t in parent.trials)  # the others only guide
    assert sum(len(group.trials) for group in groups) == 4


@pytest.mark.parametrize("strategy", [hpo.Bayesian(), hpo.Hyperband(max_resource=9), hpo.Random()])
def test_search_of_ordered_values_is_shown_everywhere(strategy, tmp_path):
    space = {
        "width": hpo.Ordinal([16, 32, 64, 128]),
        "size": hpo.Ordinal(["s", "m", "l"]),
        "drop": hpo.Continuous(0, 1, step=0.05),
        "n": hpo.Integer(16, 512, "log", step=16),
    }
    tuner = hpo.Tuner(space, LOSS, strategy=strategy, max_trials=30, seed=0, storage=tmp_path / "s.db")
    for trial in tuner:
        for epoch in range(trial.start_epoch + 1, 10):
            if trial.report(epoch, {"loss": 128 / trial["width"] + trial["drop"] / epoch}):
                break
    tuner.to_html(tmp_path / "report.html")
    for kind in ("slice", "parallel", "importance"):
        getattr(tuner.plot, kind)()
    assert tuner.best_trial.params["width"] == 128
    assert len(tuner.to_dataframe()) == 30
