import threading

import pytest

import hpo_plugins as hpo

SPACE = {"x": hpo.Continuous(0, 1), "k": hpo.Categorical(["a", "b"]), "n": hpo.Integer(1, 5, when={"k": "b"})}


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "tuning.db"


def tuner_for(storage=None, **arguments):
    given = {"strategy": hpo.Hyperband(max_resource=9), "seed": 0, "storage": storage}
    return hpo.Tuner(SPACE, hpo.Minimize("loss"), **given | arguments)


def test_added_trial_is_as_if_it_had_been_trained(storage):
    tuner = tuner_for(storage, max_trials=2)
    record = tuner.add({"x": 0.25, "k": "b", "n": 3}, {1: 3.0, 2: 1.0, 9: 2.0})
    assert (record.number, record.state, record.value) == (0, hpo.TrialState.COMPLETED, 1.0)
    assert record.curve == {1: 3.0, 2: 1.0, 9: 2.0}
    assert record.metrics[9] == {"loss": 2.0}
    assert tuner.best_trial == record
    assert [trial.number for trial in tuner] == [1]


def test_values_are_epochs_and_one_value_is_a_whole_training(storage):
    tuner = tuner_for(storage)
    assert tuner.add({"x": 0.1, "k": "a"}, [3, 2]).curve == {1: 3.0, 2: 2.0}
    assert tuner.add({"x": 0.2, "k": "a"}, 2).curve == {9: 2.0}
    other = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Maximize("acc"))
    assert other.add({"x": 0.2}, 0.5).curve == {1: 0.5}


def test_value_that_is_not_finite_fails_the_trial(storage):
    record = tuner_for(storage).add({"x": 0.1, "k": "a"}, [3, float("nan")])
    assert record.state is hpo.TrialState.FAILED
    assert record.error == "loss was nan at epoch 2"


def test_strategy_learns_from_added_trials():
    def best(start):
        tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Bayesian(), seed=0)
        for x in start:
            tuner.add({"x": x}, (x - 0.7) ** 2)
        return tuner.ask()["x"]

    assert abs(best([i / 20 for i in range(21)]) - 0.7) < 0.1


def test_other_process_sees_added_trials_as_a_whole(tmp_path):
    tuner, other = tuner_for(tmp_path / "tuning.db"), tuner_for(tmp_path / "tuning.db")
    threads = [
        threading.Thread(target=lambda t=t: [t.add({"x": i / 50, "k": "a"}, [1.0, 2.0]) for i in range(25)])
        for t in (tuner, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.number for record in tuner.trials] == list(range(50))
    assert all(record.curve == {1: 1.0, 2: 2.0} for record in other.trials)
    assert {record.state for record in other.trials} == {hpo.TrialState.COMPLETED}


@pytest.mark.parametrize(
    ("params", "curve", "message"),
    [
        ({"x": 2, "k": "a"}, 1, "x must be between"),
        ({"x": 0.1, "k": "b"}, 1, "'n' is missing"),
        ({"x": 0.1, "k": "a", "n": 2}, 1, "inactive"),
        ({"x": 0.1, "k": "a", "z": 2}, 1, "'z' is not in the space"),
        ({}, 1, "at least one"),
        ("x", 1, "params must map"),
        ({"x": 0.1, "k": "a"}, "1", "must be a number"),
        ({"x": 0.1, "k": "a"}, None, "must be a number"),
        ({"x": 0.1, "k": "a"}, True, "must be a number"),
        ({"x": 0.1, "k": "a"}, [], "at least one value"),
        ({"x": 0.1, "k": "a"}, {0: 1}, "epoch must be a whole number"),
        ({"x": 0.1, "k": "a"}, {1.5: 1}, "epoch must be a whole number"),
        ({"x": 0.1, "k": "a"}, [1, [2]], "must be a number"),
    ],
)
def test_bad_trials_are_refused_and_nothing_is_added(params, curve, message):
    tuner = tuner_for()
    with pytest.raises(hpo.InvalidArgument, match=message):
        tuner.add(params, curve)
    assert tuner.trials == ()
