"""The values that ``trial.report`` accepts, and its errors for others."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.coordination import completion


def new_tuner(storage=None, **arguments):
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0, storage=storage, **arguments)


@pytest.fixture
def tuner(storage):
    return new_tuner(storage)


class Tensor:
    """The common interface of all frameworks' tensors of one element."""

    def item(self):
        return 0.25


@pytest.mark.parametrize(
    "value",
    [
        0.25,
        np.float32(0.25),
        np.float64(0.25),
        np.array(0.25),
        np.array([0.25]),
        Fraction(1, 4),
        Decimal("0.25"),
        Tensor(),
    ],
)
def test_every_kind_of_number_is_accepted(tuner, value):
    trial = tuner.ask()
    trial.report(1, {"loss": value, "count": 3, "flag": True})
    assert tuner.trials[0].metrics[1] == {"loss": 0.25, "count": 3.0, "flag": 1.0}
    assert type(tuner.trials[0].curve[1]) is float


def test_torch_tensors_are_accepted(tuner):
    torch = pytest.importorskip("torch")
    tuner.ask().report(np.int64(1), {"loss": torch.tensor(0.25, requires_grad=True)})
    assert tuner.trials[0].curve == {1: 0.25}


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"loss": "0.3"}, r"metrics\['loss'\] must be one number, but got '0.3' of type str"),
        ({"loss": None}, r"metrics\['loss'\] must be one number, but got None of type NoneType"),
        ({"loss": [1.0]}, r"metrics\['loss'\] must be one number, but got \[1.0\] of type list"),
        ({"loss": np.ones(2)}, r"metrics\['loss'\] must be one number"),
        ({"loss": 1j}, r"metrics\['loss'\] must be one number, but got 1j of type complex"),
        ({"loss": 1.0, 3: 1.0}, "metrics must have non-empty strings as names, but got 3"),
        (0.3, "metrics must map names to numbers, but got metrics=0.3"),
    ],
)
def test_bad_metrics_are_named_and_nothing_is_recorded(tuner, metrics, message):
    trial = tuner.ask()
    with pytest.raises(hpo.InvalidReport, match=message):
        trial.report(1, metrics)
    assert tuner.trials[0].epochs == 0
    assert not trial.report(1, {"loss": 1.0})
    trial.end()
    assert tuner.trials[0].state is hpo.TrialState.FAILED  # even if a library has swallowed the error
    assert "InvalidReport: metrics" in tuner.trials[0].error


@pytest.mark.parametrize("value", [None, "resnet", [0.5, 0.25], np.ones(2), 1j])
def test_other_metrics_that_are_no_numbers_are_left_out_with_one_warning(tuner, value, caplog):
    trial = tuner.ask()
    for epoch in (1, 2):
        assert not trial.report(epoch, {"loss": 1.0, "f1": value})
    assert dict(tuner.trials[0].metrics) == {1: {"loss": 1.0}, 2: {"loss": 1.0}}
    assert caplog.text.count("metrics['f1'] must be one number") == 1
    trial.end()
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED


@pytest.mark.parametrize("epoch", [0, -1, 1.5, "1", None, True])
def test_bad_epochs_are_named(tuner, epoch):
    with pytest.raises(hpo.InvalidReport, match="epoch must be a whole number from 1 on"):
        tuner.ask().report(epoch, {"loss": 1.0})


def test_epoch_that_goes_backwards_is_an_error(tuner):
    trial = tuner.ask()
    trial.report(5, {"loss": 1.0})
    with pytest.raises(hpo.InvalidReport, match="must not go backwards, but got epoch=4 after epoch=5 in trial 0"):
        trial.report(4, {"loss": 1.0})
    assert tuner.trials[0].curve == {5: 1.0}


def test_repeated_epoch_counts_once_by_its_last(tuner):
    trial = tuner.ask()
    for value in (3.0, 1.0, 2.0):
        trial.report(1, {"loss": value, f"m{value:.0f}": value})
    assert tuner.trials[0].curve == {1: 2.0}
    assert tuner.trials[0].value == 2.0
    assert dict(tuner.trials[0].metrics) == {1: {"loss": 2.0, "m3": 3.0, "m1": 1.0, "m2": 2.0}}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_objective_that_is_not_finite_fails_the_trial(tuner, value):
    trial = tuner.ask()
    assert not trial.report(1, {"loss": 1.0})
    assert trial.report(2, {"loss": value, "acc": 0.5})
    trial.end()
    (record,) = tuner.trials
    assert record.state is hpo.TrialState.FAILED
    assert record.error == f"loss was {float(value)} at epoch 2"
    assert (record.value, record.curve) == (None, {1: 1.0})
    assert record.metrics[2]["acc"] == 0.5
    assert str(record.metrics[2]["loss"]) == str(float(value))
    assert tuner.ask().number == 1


def test_other_metrics_may_be_nan(tuner):
    trial = tuner.ask()
    assert not trial.report(1, {"loss": 1.0, "grad": math.nan})
    trial.end()
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED


@pytest.mark.parametrize(
    ("reported", "message"),
    [
        (
            {"los": 1.0, "acc": 1.0},
            "'loss' was not reported after the first epoch. Reported: 'acc', 'los'. Did you mean 'los'?",
        ),
        ({"val_loss": 1.0}, "Reported: 'val_loss'. Did you mean 'val_loss'?"),
        ({"LOSS": 1.0}, "Did you mean 'LOSS'?"),
        ({"zzz": 1.0}, "Reported: 'zzz'. Use one of the names"),
        ({}, "No metric was reported."),
    ],
)
def test_missing_metric_is_an_error_with_the_nearest_name(tuner, reported, message):
    with pytest.raises(hpo.MetricNotFound) as caught:
        tuner.ask().report(1, reported)
    assert message in str(caught.value)


def test_objective_may_follow_later_if_announced(tuner):
    trial = tuner.ask()
    assert not trial.report(1, {"acc": 1.0}, objective_follows=True)
    assert not trial.report(2, {"loss": 1.0})
    assert not trial.report(3, {"acc": 1.0})
    trial.end()
    (record,) = tuner.trials
    assert record.curve == {2: 1.0}
    assert record.epochs == 3
    assert list(record.metrics) == [1, 2, 3]


def test_objective_that_never_came_fails_the_trial(tuner):
    trial = tuner.ask()
    trial.report(1, {"acc": 1.0}, objective_follows=True)
    trial.end()
    assert tuner.trials[0].state is hpo.TrialState.FAILED
    assert "'loss' was not reported" in tuner.trials[0].error


def test_silent_training_fails_its_trial_then_the_search(storage):
    tuner = new_tuner(storage, max_trials=9)
    with pytest.raises(hpo.NothingReported, match=r"The first 5 trials ended .* Pass TrialCallback\(trial\)"):
        for _ in tuner:
            pass
    assert [t.state for t in tuner.trials] == [hpo.TrialState.FAILED] * 5
    assert tuner.trials[0].error == "the training ended without a single report of 'loss'"


def test_skipped_configurations_do_not_end_the_search(storage):
    tuner = new_tuner(storage, max_trials=9)
    for trial in tuner:
        trial.fail("left out")
    assert [t.error for t in tuner.trials] == ["left out"] * 9
    with pytest.raises(hpo.NothingReported, match="has a value of 'loss' yet"):
        _ = tuner.best_trial


def test_stopped_training_may_report_on(storage):
    """Lightning obeys min_epochs first: what it still trains is recorded, and the answer stays."""
    tuner = new_tuner(storage, strategy=hpo.Hyperband(max_resource=2), max_trials=2)
    trial = tuner.ask()
    assert [trial.report(epoch, {"loss": 1.0}) for epoch in (1, 2, 3, 4)] == [False, True, True, True]
    trial.end()
    assert (tuner.trials[0].state, tuner.trials[0].epochs) == (hpo.TrialState.COMPLETED, 4)


def test_report_after_the_end_is_refused_with_a_warning(tuner, caplog):
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    trial.end()
    assert not trial.report(2, {"loss": 0.5})
    assert "trial 0 has ended or was taken over" in caplog.text
    assert tuner.trials[0].curve == {1: 1.0}


def test_end_and_fail_after_the_end_change_nothing(tuner):
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    trial.end()
    trial.end()
    trial.fail("late")
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED


numbers = st.one_of(st.floats(), st.integers(-(2**60), 2**60), st.booleans(), st.none(), st.text(max_size=3))


@given(
    st.lists(st.tuples(st.integers(-2, 6), st.dictionaries(st.sampled_from(["loss", "acc", ""]), numbers)), max_size=12)
)
def test_any_reports_leave_a_consistent_record(reports):
    tuner = new_tuner()
    trial = tuner.ask()
    accepted, finite, refused = {}, {}, False
    for epoch, metrics in reports:
        try:
            trial.report(epoch, metrics)
            numbers = {name: value for name, value in metrics.items() if not isinstance(value, str | None)}
            accepted[epoch] = accepted.get(epoch, {}) | numbers
            if math.isfinite(metrics.get("loss", math.nan)):
                finite[epoch] = float(metrics["loss"])
        except hpo.InvalidReport:
            refused = True
    trial.end()
    (record,) = tuner.trials
    assert {epoch: set(names) for epoch, names in record.metrics.items()} == {e: set(m) for e, m in accepted.items()}
    assert record.curve == finite
    assert record.state.is_final
    assert not refused or record.state is hpo.TrialState.FAILED


def paused_tuner(**arguments):
    strategy = hpo.Hyperband(max_resource=9, pause=True, search="random")
    return hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=strategy, max_trials=6, seed=0, **arguments
    )


@pytest.mark.parametrize("reads", [False, True])
def test_loop_that_ignores_its_checkpoint_is_warned_of_once(reads, storage, caplog):
    """It would train from the start, and count its epochs from the pause on."""
    for trial in paused_tuner(storage=storage):
        assert not reads or trial.start_epoch == 0 or trial.resume_from
        for epoch in range(trial.start_epoch + 1, 10):
            stop = trial.report(epoch, {"loss": trial["x"] + 1 / epoch})
            if trial.save_is_due:
                trial.save(lambda path: path.write_text("state"))
            if stop:
                break
    found = [record.getMessage() for record in caplog.records if "has not read" in record.getMessage()]
    assert len(found) == (not reads)


def test_pause_without_checkpoint_is_warned_of_once(caplog):
    for trial in paused_tuner():
        for epoch in range(trial.start_epoch + 1, 10):
            if trial.report(epoch, {"loss": trial["x"] + 1 / epoch}):
                break
    found = [record.getMessage() for record in caplog.records if "trial.save() was not called" in record.getMessage()]
    assert len(found) == 1
    assert "is paused after epoch" in found[0]


def test_reports_after_a_stop_are_warned_of_once(caplog):
    strategy = hpo.Hyperband(max_resource=9, search="random")
    space = {"x": hpo.Continuous(0, 1)}
    for trial in hpo.Tuner(space, hpo.Minimize("loss"), strategy=strategy, max_trials=5, seed=0):
        for epoch in range(1, 10):
            trial.report(epoch, {"loss": trial["x"] + 1 / epoch})
    found = [record.getMessage() for record in caplog.records if "was told to stop" in record.getMessage()]
    assert len(found) == 1
    assert found[0].endswith("end the loop when trial.report() returns True.")


def test_first_trial_that_took_long_without_a_report_ends_the_search(monkeypatch):
    monkeypatch.setattr(completion, "SILENT_SECONDS", -1.0)
    with pytest.raises(hpo.NothingReported, match="The first trial ended without reporting anything"):
        for _ in hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=9, seed=0):
            pass


def test_silent_trial_of_a_study_that_has_reports_ends_no_search(tmp_path, monkeypatch):
    monkeypatch.setattr(completion, "SILENT_SECONDS", -1.0)
    arguments = {"max_trials": 9, "storage": tmp_path / "a.db", "seed": 0}
    trial = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), **arguments).ask()
    trial.report(1, {"loss": 1.0})
    trial.end()
    for _ in (later := hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), **arguments)):
        pass
    assert len(later.trials) == 9


def test_unknown_parameter_is_named_with_the_known():
    trial = hpo.Tuner({"eta": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0).ask()
    with pytest.raises(KeyError, match="no parameter 'etta' here, only 'eta'"):
        trial["etta"]
