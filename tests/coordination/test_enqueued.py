"""The user's own configurations first: ``points_to_evaluate`` and ``Tuner.enqueue``."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.space import Space

SPACE = {
    "rate": hpo.Continuous(1e-4, 1.0, "log"),
    "layers": hpo.Integer(1, 4),
    "optimizer": hpo.Categorical(["sgd", "adam"]),
    "momentum": hpo.Continuous(0.0, 0.99, when={"optimizer": "sgd"}),
}
FINITE = {"a": hpo.Categorical([1, 2, 3]), "b": hpo.Categorical([True, False])}
MINE = {"rate": 1e-3, "layers": 2, "optimizer": "adam"}
METRIC = hpo.Minimize("loss")
STRATEGIES = [
    hpo.Random(),
    hpo.Bayesian(),
    hpo.Bayesian(max_resource=4),
    hpo.Bayesian(max_resource=4, pause=True),
    hpo.Hyperband(max_resource=4),
    hpo.Hyperband(max_resource=4, pause=True, search="random"),
]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)


def train(trial):
    for epoch in range(trial.start_epoch + 1, 5):
        if trial.report(epoch, {"loss": float(trial.params.get("rate", 0.5)) + 1 / epoch}):
            break
    if trial.save_is_due:
        trial.save(lambda path: path.touch())


def tuner_of(space=SPACE, **arguments):
    return hpo.Tuner(space, METRIC, **{"seed": 0, "max_trials": 8, "progress": "off"} | arguments)


@every_strategy
def test_own_configurations_come_first_in_their_order(strategy):
    points = [MINE, {"optimizer": "sgd"}, {"layers": 4, "momentum": 0.5}]
    tuner = tuner_of(strategy=strategy, points_to_evaluate=points)
    tuner.run(train)
    assert len(tuner.trials) == 8  # they are part of max_trials
    assert [trial.point for trial in tuner.trials] == [0, 1, 2, None, None, None, None, None]
    assert tuner.trials[0].params == MINE
    assert tuner.trials[1].params["optimizer"] == "sgd"
    third = tuner.trials[2].params
    assert (third["layers"], third["momentum"], third["optimizer"]) == (4, 0.5, "sgd")  # which momentum needs
    for trial in tuner.trials:
        assert tuner.space.checked(trial.params) == trial.params


@every_strategy
@pytest.mark.parametrize("storage", [None, "a.db"])
def test_finite_space_is_searched_without_repeats(strategy, storage, tmp_path):
    points = [{"a": 2}, {"a": 2, "b": False}, {"b": False}]
    tuner = tuner_of(
        FINITE, strategy=strategy, max_trials=None, points_to_evaluate=points,
        storage=None if storage is None else tmp_path / storage,
    )  # fmt: skip
    tuner.run(train)
    assert len({Space.key(trial.params) for trial in tuner.trials}) == len(tuner.trials) == 6
    assert [trial.point for trial in tuner.trials[:3]] == [0, 1, 2]
    assert "space exhausted" in tuner.stop_reason


def test_grid_skips_what_was_given():
    tuner = tuner_of(FINITE, strategy=hpo.Grid(), max_trials=None, points_to_evaluate=[{"a": 3, "b": True}, {"a": 1}])
    tuner.run(train)
    found = [(trial.params["a"], trial.params["b"]) for trial in tuner.trials]
    assert found[0] == (3, True)
    assert found[1][0] == 1
    rest = [pair for pair in [(a, b) for a in (1, 2, 3) for b in (True, False)] if pair not in found[:2]]
    assert found[2:] == rest


def test_values_that_are_left_out_are_the_strategys():
    plain = tuner_of(strategy=hpo.Random())
    given = tuner_of(strategy=hpo.Random(), points_to_evaluate=[{"layers": 3}])
    plain.run(train)
    given.run(train)
    assert given.trials[0].params == plain.trials[0].params | {"layers": 3}
    assert given.trials[1].params == plain.trials[1].params  # draws depend on the number alone


def test_surrogate_learns_from_own_configurations():
    """The optimum is given: then the surrogate searches near it."""

    def loss(params):
        return (np.log10(params["rate"]) + 3) ** 2 + (params["layers"] - 2) ** 2 + 3 * (params["optimizer"] == "sgd")

    tuner = tuner_of(strategy=hpo.Bayesian(), max_trials=24, points_to_evaluate=[MINE])
    for trial in tuner:
        trial.report(1, {"loss": loss(trial.params)})
    late = [loss(trial.params) for trial in tuner.trials[-8:]]
    assert np.median(late) < np.median([loss(trial.params) for trial in tuner.trials[1:9]])


# While a search runs.


@pytest.mark.parametrize("storage", [None, "a.db"])
def test_enqueued_configurations_come_next(storage, tmp_path):
    tuner = tuner_of(points_to_evaluate=[{"layers": 1}], storage=None if storage is None else tmp_path / storage)
    for trial in tuner:
        train(trial)
        if trial.number == 2:
            tuner.enqueue(MINE)
            tuner.enqueue({"layers": np.int64(4)})
    assert [trial.point for trial in tuner.trials] == [0, None, None, 1, 2, None, None, None]
    assert tuner.trials[3].params == MINE
    assert tuner.trials[4].params["layers"] == 4


ENQUEUE = """
import sys, hpo_plugins as hpo
hpo.Tuner.load(sys.argv[1]).enqueue({"rate": 0.5, "layers": 1, "optimizer": "adam"})
"""


def test_another_process_can_enqueue(tmp_path):
    tuner = tuner_of(storage=tmp_path / "a.db")
    for trial in tuner:
        train(trial)
        if trial.number == 3:
            subprocess.run([sys.executable, "-c", ENQUEUE, str(tmp_path / "a.db")], check=True)
    assert tuner.trials[4].params == {"rate": 0.5, "layers": 1, "optimizer": "adam"}
    assert tuner.trials[4].point == 0
    again = hpo.Tuner.load(tmp_path / "a.db")
    assert [trial.point for trial in again.trials] == [trial.point for trial in tuner.trials]


WORK = """
import sys, hpo_plugins as hpo
from hpo_plugins.space import Continuous
tuner = hpo.Tuner(
    {"rate": Continuous(1e-4, 1.0, "log")}, hpo.Minimize("loss"), max_trials=40, seed=0, storage=sys.argv[1],
    points_to_evaluate=[{"rate": 0.1 + n / 100} for n in range(20)], progress="off",
)
for trial in tuner:
    trial.report(1, {"loss": trial["rate"]})
"""


def test_each_is_handed_out_once_over_all_processes(tmp_path):
    workers = [subprocess.Popen([sys.executable, "-c", WORK, tmp_path / "a.db"]) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    trials = hpo.Tuner.load(tmp_path / "a.db").trials
    assert len(trials) == 40
    assert sorted(trial.point for trial in trials if trial.point is not None) == list(range(20))


@pytest.mark.parametrize("strategy", [hpo.Bayesian(max_resource=27), hpo.Hyperband(max_resource=27)])
def test_own_configuration_need_not_wait_for_others(strategy):
    tuner = tuner_of(strategy=strategy, max_trials=200, points_to_evaluate=[MINE])
    for trial in itertools.islice(tuner, 2):
        for epoch in range(1, 28):
            if trial.report(epoch, {"loss": trial.number + 1 / epoch}):
                break
    assert tuner.trials[0].epochs == 27
    assert tuner.trials[1].epochs < 5


def test_enqueued_configurations_continue_after_a_restart(tmp_path):
    points = [MINE, {"layers": 1}, {"layers": 3}]
    first = tuner_of(storage=tmp_path / "a.db", points_to_evaluate=points)
    train(trial := first.ask())
    trial.end()
    again = tuner_of(storage=tmp_path / "a.db", points_to_evaluate=points)
    again.run(train)
    assert [trial.point for trial in again.trials][:4] == [0, 1, 2, None]
    with pytest.raises(hpo.StudyMismatch, match="points_to_evaluate"):
        tuner_of(storage=tmp_path / "a.db", points_to_evaluate=points[:2])


def test_paused_trial_of_a_point_keeps_its_mark(tmp_path):
    strategy = hpo.Hyperband(max_resource=4, pause=True, search="random")
    tuner = tuner_of(strategy=strategy, storage=tmp_path / "a.db", points_to_evaluate=[{"rate": 0.9}, {"rate": 1e-4}])
    tuner.run(train)
    assert [trial.point for trial in tuner.trials][:2] == [0, 1]
    assert len(tuner.trials) == 8


def test_point_whose_configuration_was_tried_meanwhile_is_skipped(caplog):
    tuner = tuner_of(FINITE, max_trials=None, strategy=hpo.Grid())
    session = tuner._loop.session
    train(trial := tuner.ask())
    trial.end()
    session.store.enqueue({"a": 1, "b": True})  # as another process that has not yet seen trial 0
    session.store.enqueue({"a": 1})
    tuner.run(train)
    assert len(tuner.trials) == 6
    assert tuner.trials[1].params == {"a": 1, "b": False}
    assert "is skipped: it has been tried" in caplog.text


def test_enqueueing_after_the_last_trial_warns(caplog):
    tuner = tuner_of(max_trials=1)
    tuner.run(train)
    tuner.enqueue(MINE)
    assert "will not be tried: max_trials=1 have been started" in caplog.text


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_part_of_a_configuration_is_completed_to_a_configuration(data):
    space = Space(SPACE | {"nested": hpo.Integer(0, 2, when={"optimizer": ["sgd", "adam"], "layers": [2, 3]})})
    units = data.draw(st.lists(st.floats(0, 1), min_size=len(space), max_size=len(space)))
    full = space.decode(units)
    kept = data.draw(st.lists(st.sampled_from(sorted(full)), unique=True))
    part = space.checked_part({name: full[name] for name in kept})
    other = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(space), max_size=len(space))))
    completed = space.complete(part, other)
    assert space.checked(completed) == completed
    assert part.items() <= completed.items()


# Bad input.

BAD = {
    "no list": ({"a": 1}, "must be a list of dicts"),
    "a string": ("a", "must be a list of dicts"),
    "no dicts": ([1], r"points_to_evaluate\[0\] must map"),
    "empty": ([{}], r"points_to_evaluate\[0\] must map"),
    "unknown name": ([MINE, {"rat": 1}], r"points_to_evaluate\[1\]: 'rat' is not in the space"),
    "out of range": ([{"rate": 2.0}], r"points_to_evaluate\[0\]: rate must be between"),
    "wrong type": ([{"layers": "2"}], r"points_to_evaluate\[0\]: layers must be a whole number"),
    "no number": ([{"rate": float("nan")}], r"points_to_evaluate\[0\]: rate must be"),
    "no category": ([{"optimizer": "lion"}], r"points_to_evaluate\[0\]: optimizer must be one of"),
    "inactive": ([{"optimizer": "adam", "momentum": 0.9}], "'momentum' is inactive while 'optimizer' is 'adam'"),
    "twice": ([MINE, dict(MINE)], r"points_to_evaluate\[1\] is the same as points_to_evaluate\[0\]"),
    "too many": ([{"rate": 0.1 + n / 100} for n in range(9)], "at most as many points as max_trials=8, but has 9"),
}


@pytest.mark.parametrize(("points", "message"), BAD.values(), ids=BAD)
def test_wrong_points_are_refused_when_the_tuner_is_made(points, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        tuner_of(points_to_evaluate=points)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "params must map"),
        ({"rat": 1}, "params: 'rat' is not in the space"),
        (MINE, "is enqueued already"),
        ({"layers": 9}, "params: layers must be a whole number between 1 and 4"),
    ],
)
def test_wrong_configurations_are_not_enqueued(given, message):
    tuner = tuner_of(points_to_evaluate=[MINE])
    with pytest.raises(hpo.InvalidArgument, match=message):
        tuner.enqueue(given)
    assert len(tuner._loop.history().enqueued) == 1


def test_values_of_different_types_are_different_points():
    space = {"a": hpo.Categorical([True, 1, 1.0])}
    points = [{"a": True}, {"a": 1}, {"a": 1.0}]
    tuner = tuner_of(space, max_trials=None, points_to_evaluate=points)
    tuner.run(train)
    assert [repr(trial.params["a"]) for trial in tuner.trials] == ["True", "1", "1.0"]


def test_tried_configurations_are_not_enqueued():
    tuner = tuner_of(FINITE, max_trials=None)
    train(trial := tuner.ask())
    trial.end()
    with pytest.raises(hpo.InvalidArgument, match="a trial has tried"):
        tuner.enqueue(trial.params)


def test_damaged_point_is_a_storage_error(tmp_path):
    import sqlite3

    tuner_of(storage=tmp_path / "a.db").enqueue(MINE)
    for text in ("[", "3", json.dumps({"rate": [1]}), json.dumps({"rat": 1})):
        with sqlite3.connect(tmp_path / "a.db") as connection:
            connection.execute("update hpo_points set params = ?", (text,))
        connection.close()
        with pytest.raises(hpo.StorageError):
            hpo.Tuner.load(tmp_path / "a.db").trials  # noqa: B018 - it reads


def test_sagemaker_export_tells_that_points_are_left_out(caplog):
    hpo.sagemaker.request_from_tuner(
        tuner_of({"rate": SPACE["rate"]}, points_to_evaluate=[{"rate": 0.1}]), job_name="a"
    )
    assert "the 1 points_to_evaluate" in caplog.text
